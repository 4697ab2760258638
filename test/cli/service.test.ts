import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { compile } from '../../src/ckks/planner/compile.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { loadModel } from '../../src/model/files.ts';
import { writeDataset } from '../helpers/dataset.ts';
import { randomModel } from '../helpers/random-model.ts';
import { problem, TestService } from '../helpers/test-service.ts';
import { blindbeat, blindbeatJson, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const model = at('small');
const keys = at('my.keys');
const INFER = 'POST /v1/models/random-1/infer';
const UPLOAD = 'PUT /v1/keys/';
let service: TestService;

beforeAll(async () => {
  await saveSmallModel(model);
  service = await TestService.start(await loadModel(model));
});

afterAll(() => service[Symbol.dispose]());

beforeEach(() => {
  service.log.splice(0);
  service.faults.splice(0);
  service.token = undefined;
});

describe('classify --server', () => {
  test('when an ECG is classified then by one POST, with the class and the scores of a server here', async () => {
    const args = ['classify', '--rhythm', 'af', '--seed', '3'];
    const { code, json } = await blindbeatJson(...args, '--server', service.url, '--keys', keys);
    expect(code).toBe(0);
    expect(service.count(INFER)).toBe(1);
    expect(service.count(UPLOAD)).toBeGreaterThan(0);
    const local = (await blindbeatJson(...args, '--model', model)).json;
    expect([json.class, json.model]).toEqual([local.class, 'random-1']);
    for (const [name, score] of Object.entries<number>(local.scores))
      expect(Math.abs(json.scores[name] - score)).toBeLessThan(1e-2);
    expect(Object.keys(json)).toEqual([
      'model',
      'class',
      'scores',
      'probabilities',
      'ms',
      'bytes',
      'params',
      'peakMemory',
      'warnings',
    ]);
    expect(json.ms).toEqual(
      Object.fromEntries(
        ['keygen', 'upKeys', 'queue', 'loadKeys', 'encrypt', 'server', 'decrypt'].map((k) => [
          k,
          expect.any(Number),
        ]),
      ),
    );
    expect(json.params).toEqual(local.params);
  });

  test('when keys are there then they are used again and not sent', async () => {
    const made = statSync(join(keys, 'evaluation.keys')).mtimeMs;
    const { code, stdout, stderr } = await blindbeat('classify', '--server', service.url, '--keys', keys);
    expect(code).toBe(0);
    expect([service.count(UPLOAD), service.count(INFER)]).toEqual([0, 1]);
    expect(statSync(join(keys, 'evaluation.keys')).mtimeMs).toBe(made);
    expect(stderr).not.toContain('making');
    for (const part of [
      'random-1',
      'synthetic normal',
      'all layers',
      'request',
      'reply',
      'not a medical device',
    ])
      expect(stdout).toContain(part);
    for (const part of ['precision', 'key generation', 'block 1']) expect(stdout).not.toContain(part);
  });

  test('when no folder is named then the keys of the plan are kept in one of the user', async () => {
    const { planHash } = service.server.manifest;
    const before = process.env.XDG_DATA_HOME;
    process.env.XDG_DATA_HOME = at('data');
    try {
      expect((await blindbeat('classify', '--server', service.url)).code).toBe(0);
    } finally {
      if (before === undefined) delete process.env.XDG_DATA_HOME;
      else process.env.XDG_DATA_HOME = before;
    }
    const kept = at('data', 'blindbeat', 'keys', planHash.slice(0, 16));
    expect(readdirSync(kept).sort()).toEqual(['evaluation.keys', 'manifest.json', 'secret.key']);
    if (process.platform !== 'win32') expect(statSync(join(kept, 'secret.key')).mode & 0o077).toBe(0);
  });

  test('when keygen made the folder then its keys serve', async () => {
    const own = at('keygen.keys');
    await blindbeat('keygen', '--model', model, '--out', own);
    const { json } = await blindbeatJson('classify', '--server', service.url, '--keys', own);
    expect(json.ms.keygen).toBeUndefined();
    expect(json.ms.upKeys).toBeGreaterThan(0);
  });

  test('when the ECG cannot be read then no key is made', async () => {
    const none = at('none.keys');
    const { code } = await blindbeat('classify', at('no.csv'), '--server', service.url, '--keys', none);
    expect([code, existsSync(none)]).toEqual([8, false]);
  });

  test('when a token is needed then it comes from a file', async () => {
    service.token = 'blindbeat_secret';
    const args = ['classify', '--server', service.url, '--keys', keys];
    const refused = await blindbeat(...args);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('a token is needed')]);
    writeFileSync(at('token'), 'blindbeat_secret\n', { mode: 0o600 });
    const { code, stdout, stderr } = await blindbeat(...args, '--token-file', at('token'));
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain('blindbeat_secret');
    writeFileSync(at('open-token'), 'blindbeat_secret\n', { mode: 0o644 });
    expect((await blindbeat(...args, '--token-file', at('open-token'))).stderr).toContain('chmod 600');
  });

  test('when the server is busy then the user reads that it is tried again', async () => {
    service.once(INFER, (_, response) => problem(response, 'BUSY', 'too many requests wait'));
    const { code, stderr } = await blindbeat('classify', '--server', service.url, '--keys', keys);
    expect(code).toBe(0);
    expect(stderr).toMatch(/note: .*too many requests wait; trying again in \d+ ms/);
  });

  test.skipIf(process.platform === 'win32')(
    'when others can read the secret key then it says so',
    async () => {
      chmodSync(join(keys, 'secret.key'), 0o644);
      const { code, stderr } = await blindbeat('classify', '--server', service.url, '--keys', keys);
      chmodSync(join(keys, 'secret.key'), 0o600);
      expect([code, stderr]).toEqual([
        0,
        expect.stringMatching(/secret\.key can be read by others .*chmod 600/),
      ]);
    },
  );

  test('when half of the keys is gone then it says which half is there', async () => {
    const half = at('half.keys');
    mkdirSync(half);
    copyFileSync(join(keys, 'secret.key'), join(half, 'secret.key'));
    const { code, stderr } = await blindbeat('classify', '--server', service.url, '--keys', half);
    expect([code, stderr]).toEqual([
      8,
      expect.stringMatching(/half\.keys has .*secret\.key without its other half/),
    ]);
  });

  test('when the keys are of another plan then nothing is sent', async () => {
    const other = at('other.keys');
    await saveSmallModel(at('other'), { channels: [4] });
    await blindbeat('keygen', '--model', at('other'), '--out', other);
    const { code, stderr } = await blindbeat('classify', '--server', service.url, '--keys', other);
    expect([code, stderr]).toEqual([7, expect.stringContaining('was made for plan')]);
    expect([service.count(UPLOAD), service.count(INFER)]).toEqual([0, 0]);
  });

  test('when it is audited then a known recording goes along, and a service that cheats has an exit code', async () => {
    const args = ['classify', '--keys', keys, '--audit', '1', '--server'];
    const { code, json } = await blindbeatJson(...args, service.url);
    expect([code, json.audited, service.count(INFER)]).toEqual([0, true, 2]);
    expect((await blindbeat(...args, service.url)).stdout).toMatch(
      /audit +a known recording .* answered right/,
    );
    const claimed = compile(await loadModel(model));
    const { circuit } = compile(randomModel({ samples: 2048, channels: [4, 8], seed: 2 }));
    using cheat = await TestService.startCompiled({ circuit, plan: claimed.plan });
    const caught = await blindbeat(...args, cheat.url);
    expect([caught.code, caught.stderr]).toEqual([
      11,
      expect.stringContaining(`${cheat.url} answered wrong`),
    ]);
    expect((await blindbeat(...args.with(4, '0'), cheat.url)).code).toBe(0); // nothing else tells
  });

  test.each([
    ['--backend', ['--server', 'http://h', '--backend', 'seal'], /cannot be used with/],
    ['--simulate', ['--server', 'http://h', '--simulate'], /cannot be used with/],
    ['--outputs', ['--server', 'http://h', '--outputs', 'scores+map'], /cannot be used with/],
    ['no server', ['--keys', 'x'], /--keys is for a service/],
    ['no server', ['--token-file', 'x'], /--token-file is for a service/],
    ['no address', ['--server', 'h'], /expected an address/],
  ])('when it is given with %s then the refusal says why', async (_, args, words) => {
    const { code, stderr } = await blindbeat('classify', ...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(words)]);
  });
});

describe('infer --server', () => {
  const requests = at('requests');
  const replies = at('replies');
  const evaluation = join(keys, 'evaluation.keys');
  const run = (...args: string[]) =>
    blindbeatJson(
      'infer',
      requests,
      '--server',
      service.url,
      '--keys',
      evaluation,
      '--out',
      replies,
      ...args,
    );

  beforeAll(async () => {
    mkdirSync(requests);
    for (const seed of ['1', '2', '3', '4', '5'])
      await blindbeat(
        ...[
          'encrypt',
          '--rhythm',
          'normal',
          '--seed',
          seed,
          '--keys',
          keys,
          '--out',
          join(requests, `r${seed}.bin`),
        ],
      );
    writeFileSync(join(requests, 'notes.txt'), 'five of them');
  });

  test('when a folder is sent then every request gets a reply that its client can decrypt', async () => {
    const { code, json, stderr } = await run('--concurrency', '2');
    expect([code, json.replies, json.repliedBefore]).toEqual([0, 5, 0]);
    expect(stderr).toContain('1 files of');
    expect(service.count(INFER)).toBe(5);
    expect(service.mostAtOnce).toBeLessThanOrEqual(2);
    expect(readdirSync(replies)).toEqual(['r1', 'r2', 'r3', 'r4', 'r5'].map((name) => `${name}.bin.reply`));
    const { json: decrypted } = await blindbeatJson('decrypt', join(replies, 'r2.bin.reply'), '--keys', keys);
    const here = await blindbeatJson('classify', '--seed', '2', '--model', model, '--simulate');
    expect(decrypted.class).toBe(here.json.class);
  });

  test('when some have a reply then only the others are sent', async () => {
    rmSync(join(replies, 'r3.bin.reply'));
    copyFileSync(join(replies, 'r1.bin.reply'), join(replies, 'r4.bin.reply')); // answers another request
    const { json } = await run();
    expect([json.replies, json.repliedBefore]).toEqual([2, 3]);
    expect(service.count(INFER)).toBe(2);
  });

  test('when one request is damaged or refused then the others get their replies, and the exit code tells', async () => {
    rmSync(replies, { recursive: true });
    const damaged = join(requests, 'r2.bin');
    const whole = readFileSync(damaged);
    const bytes = Buffer.from(whole);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(damaged, bytes);
    service.once(INFER, (_, response) => problem(response, 'POISON', 'it ended two evaluators'));
    const { code, json, stderr } = await run('--concurrency', '1');
    writeFileSync(damaged, whole);
    expect([code, json.error.code]).toEqual([10, 'POISON']);
    expect(json.error.message).toMatch(/2 of 5 requests got no reply/);
    expect(stderr).toMatch(/r2\.bin: .*checksum/);
    expect(stderr).toMatch(/r1\.bin: .*it ended two evaluators/);
    expect(readdirSync(replies)).toEqual(['r3', 'r4', 'r5'].map((name) => `${name}.bin.reply`));
  });

  test('when one file is sent then its reply is written', async () => {
    const out = at('one.reply');
    const { code, stdout } = await blindbeat(
      ...['infer', join(requests, 'r1.bin'), '--server', service.url, '--keys', evaluation, '--out', out],
    );
    expect([code, stdout]).toEqual([0, expect.stringMatching(/one\.reply: 1 reply, computed in/)]);
    expect((await blindbeat('decrypt', out, '--keys', keys)).code).toBe(0);
  });

  test('when the service has no model of the plan then it says so', async () => {
    using other = await TestService.start(await loadModel(at('other')));
    const args = ['infer', join(requests, 'r1.bin'), '--server', other.url, '--keys', evaluation];
    const { code, stderr } = await blindbeat(...args, '--out', at('x.reply'));
    expect([code, stderr]).toEqual([7, expect.stringMatching(/has no model of plan \w{12}/)]);
  });
});

describe('evaluate --server', () => {
  const data = at('data-set');

  beforeAll(() => {
    const { mv } = synthesise({ rhythm: 'af', seconds: 12, rate: 300, seed: 1 }).leads[0];
    writeDataset(data, [
      ...['N', 'A', 'O', '~'].map((label, i): [string, string, Float64Array] => [
        `P${i}`,
        label,
        mv.map((x) => x * (1 + i / 9)),
      ]),
      ['P9', 'N', new Float64Array(4000)],
    ]);
  });

  test('when records are evaluated by a service then they agree with the clear model', async () => {
    const args = ['evaluate', '--model', model, '--data', data, '--split', 'all', '--encrypted', '5'];
    const { code, json } = await blindbeatJson(
      ...args,
      ...['--server', service.url, '--keys', keys, '--concurrency', '2'],
    );
    expect(code).toBe(0);
    expect(json.encrypted).toMatchObject({
      records: 5,
      compared: 4,
      sameClass: 4,
      service: service.url,
      setupMs: {},
    });
    expect(json.encrypted.maxError).toBeGreaterThan(0);
    expect(json.encrypted.maxError).toBeLessThan(1e-2);
    expect(json.encrypted.results.map((r: { id: string }) => r.id)).toEqual(['P0', 'P1', 'P2', 'P3', 'P9']);
    expect(json.encrypted.backend).toBeUndefined();
    expect(json.command).toMatch(/--encrypted 5 --server URL$/);
    expect(service.count(INFER)).toBe(4);
    const { stdout } = await blindbeat(...args, '--server', service.url, '--keys', keys);
    expect(stdout).toContain(`computed by ${service.url}`);
    expect(stdout).toContain('made before');
  });

  test('when the service has another network of that name then the two are not compared', async () => {
    await saveSmallModel(at('same-name'), { channels: [4] });
    const { code, stderr } = await blindbeat(
      ...['evaluate', '--model', at('same-name'), '--data', data, '--split', 'all', '--encrypted', '1'],
      ...['--server', service.url, '--keys', keys],
    );
    expect([code, stderr]).toEqual([7, expect.stringContaining('another network of the name random-1')]);
  });
});
