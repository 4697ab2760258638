import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { wireSizes } from '../../../src/ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../../src/ckks/wire/manifest.ts';
import type { FromWorker } from '../../../src/service/evaluators/messages.ts';
import { Worker } from '../../../src/service/evaluators/worker.ts';
import { temporaryFolder } from '../../cli/helpers.ts';
import { randomModel } from '../../helpers/random-model.ts';

const folder = temporaryFolder();
let manifest: ParsedManifest;
beforeAll(() => {
  manifest = compile(randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 })).plan.manifest;
});

const JOB = { model: 'random-5', keys: '0'.repeat(64), keyFile: '', request: new Uint8Array(1) };

/** Opens a process that answers every type of message by this code. */
async function open(answers: Record<string, string>, deadlineMs = 5000): Promise<Worker> {
  const module = join(folder, `${Math.random()}.mjs`);
  const cases = Object.entries(answers).map(([type, code]) => `case '${type}': ${code}; break;`);
  await writeFile(
    module,
    `const send = (message) => process.send(message);
    process.on('message', ({ type }) => { switch (type) { ${cases.join('\n')} } });`,
  );
  const content = { models: ['one'], compile: {}, server: {} };
  return Worker.open(content, { deadlineMs, module, signal: new AbortController().signal });
}

const say = (...messages: object[]) =>
  messages.map((message) => `send(${JSON.stringify(message)})`).join(';');
const opened = (change: object = {}) =>
  say({ type: 'opened', models: [{ manifest, keyBytes: 1000, ...change }] });
const reply = (change: object = {}) => {
  const answer = { type: 'reply', loadKeysMs: 1, evaluateMs: 2, layers: [{ name: 'one', ms: 1 }], ...change };
  const { reply } = wireSizes(manifest);
  return `send({ reply: new Uint8Array(${reply}), ...${JSON.stringify(answer)} })`;
};

describe('Worker', () => {
  test('when a process says what it should, then it is believed', async () => {
    const loaded = say({ type: 'loaded', keys: [JOB.keys] });
    const alive = say({ type: 'alive' });
    using worker = await open({ open: opened(), evaluate: `${alive}; ${loaded}; ${reply()}` });
    expect([...worker.models]).toEqual([['random-5', { manifest, keyBytes: 1000 }]]);
    expect([worker.free, worker.has(JOB.keys)]).toEqual([true, false]);
    const evaluation = worker.evaluate(JOB);
    expect([worker.free, worker.has(JOB.keys), worker.loadedKeys]).toEqual([false, true, 0]);
    const outcome = await evaluation;
    expect(outcome).toMatchObject({ loadKeysMs: 1, evaluateMs: 2, layers: [{ name: 'one', ms: 1 }] });
    expect([worker.free, worker.has(JOB.keys), worker.loadedKeys]).toEqual([true, true, 1]);
  });

  test.each([
    ['no model', () => say({ type: 'opened', models: [] }), /0 models where 1 were to be opened/],
    ['keys of no bytes', () => opened({ keyBytes: 0 }), /keyBytes: expected a whole number/],
    ['a manifest that is none', () => opened({ manifest: {} }), /not a usable manifest/],
    ['a manifest with another hash', () => opened({ manifest: { ...manifest, samples: 32 } }), /manifest/],
    ['something else', () => say({ type: 'reply' }), /type: expected opened/],
    ['a word', () => say('alive' as unknown as object), /message: expected an object/],
    ['a type of no message', () => say({ type: 'toString' }), /type: expected opened/],
    ['an error without a code', () => say({ type: 'error', message: 'ink' }), /in the server process: ink/],
    ['a refusal', () => say({ type: 'error', code: 'MODEL', message: 'paper' }), /paper/],
    ['nothing and ends', () => 'process.exit(3)', /exit code 3/],
  ])('when a process that should open says %s, then it is of no use', async (_, code, words) => {
    await expect(open({ open: code() })).rejects.toThrow(words);
  });

  test.each([
    ['a short reply', () => reply({ reply: 'x' }), /reply: expected a reply of \d+ bytes/],
    ['a negative time', () => reply({ evaluateMs: -1 }), /evaluateMs: expected a number of at least 0/],
    ['no stages', () => reply({ layers: 7 }), /layers: expected a list/],
    ['that it is open', () => opened(), /type: expected reply/],
    [
      'keys that are no hash',
      () => say({ type: 'loaded', keys: ['x'] }),
      /keys\[0\]: expected 64 characters/,
    ],
    ['an error of an unknown code', () => say({ type: 'error', code: 'toString', message: 'ink' }), /: ink/],
    ['an error of ours', () => say({ type: 'error', code: 'INTERNAL', message: 'ink' }), /ink/],
    ['nothing', () => '', /no sign of life for 0.3 s and was killed/],
  ])('when a process that should evaluate says %s, then it is killed', async (_, code, words) => {
    using worker = await open({ open: opened(), evaluate: code() }, 300);
    await expect(worker.evaluate(JOB)).rejects.toThrow(words);
    expect((await worker.ended).message).toMatch(words);
    expect([worker.free, worker.failure === null]).toEqual([false, false]);
    await worker.closed;
    await expect(worker.evaluate(JOB)).rejects.toThrow(words);
    await worker.forget(JOB.keys);
  });

  test('when a process refuses, then it stays', async () => {
    const refusal = say({ type: 'error', code: 'MISMATCH', message: 'not yours' });
    using worker = await open({ open: opened(), evaluate: refusal });
    for (let k = 0; k < 2; k++)
      await expect(worker.evaluate(JOB)).rejects.toMatchObject({ code: 'MISMATCH', message: 'not yours' });
    expect(worker.free).toBe(true);
  });

  test('when a process answers what nobody asked, then it is killed', async () => {
    const late: FromWorker = { type: 'error', code: 'MISMATCH', message: 'not yours' };
    using worker = await open({ open: opened(), evaluate: `${reply()}; ${say(late)}` });
    await worker.evaluate(JOB);
    expect((await worker.ended).message).toMatch(/an answer that nobody waits for/);
  });

  test('when a process shows that it lives, then it has the time that it needs', async () => {
    const slowly = `let k = 0; const beat = setInterval(() => {
      ${say({ type: 'alive' })};
      if (++k === 8) { clearInterval(beat); ${reply()} } }, 100)`;
    using worker = await open({ open: opened(), evaluate: slowly }, 500);
    const started = performance.now();
    await worker.evaluate(JOB);
    expect(performance.now() - started).toBeGreaterThan(600);
  });
});
