import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ProcessTransport } from '../../src/client/process-transport.ts';
import { Session } from '../../src/client/session.ts';
import { loadModel } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import { saveSmallModel, temporaryFolder } from '../cli/helpers.ts';
import { UNWATCHED } from '../helpers/local-server.ts';

const folder = temporaryFolder();
const model = join(folder, 'small');

beforeAll(async () => {
  await saveSmallModel(model);
});

/** A server process that does `code` when it gets its first message. */
async function serverThat(code: string): Promise<string> {
  const path = join(folder, `${Math.random()}.mjs`);
  await writeFile(path, `process.on('message', () => { ${code} });`);
  return path;
}

describe('ProcessTransport', () => {
  test('when the model is missing then the error is that of the same process', async () => {
    using server = ProcessTransport.start();
    await expect(server.open(join(folder, 'nobody'), { outputs: 'scores' })).rejects.toMatchObject({
      code: 'FILE',
      message: expect.stringContaining('no model'),
    });
  });

  test('when more keys are sent than the plan has then the server refuses', async () => {
    using server = ProcessTransport.start();
    const { plan } = await server.open(model, { outputs: 'scores' });
    await server.sendKeys(new Uint8Array(plan.bytes.evaluationKeys));
    await server.sendKeys(new Uint8Array(1));
    await expect(server.loadKeys()).rejects.toMatchObject({ code: 'FORMAT' });
  });

  test('when requests, keys and turns are wrong then each is refused and the next good one is answered', async () => {
    using server = ProcessTransport.start();
    const early = { code: 'USAGE', message: expect.stringContaining('no model yet') };
    await expect(server.infer(new Uint8Array(9))).rejects.toMatchObject(early);
    await expect(server.loadKeys()).rejects.toMatchObject(early);
    const { plan } = await server.open(model, { outputs: 'scores', threads: 1 });
    const { manifest, bytes } = plan;
    await expect(server.open(model, {})).rejects.toMatchObject({ code: 'USAGE' });
    await expect(server.infer(new Uint8Array(9))).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('no keys yet'),
    });
    await server.sendKeys(new Uint8Array(bytes.evaluationKeys));
    await expect(server.loadKeys()).rejects.toMatchObject({ code: 'FORMAT' });
    const watch = { ...UNWATCHED, signal: new AbortController().signal };
    using session = await Session.open(server, manifest, watch);
    for (const size of [0, 9, bytes.request])
      await expect(server.infer(new Uint8Array(size))).rejects.toMatchObject({ code: 'FORMAT' });
    const segment = Float32Array.from({ length: 2048 }, (_, i) => 0.8 * Math.sin(i / 7));
    const { decrypted } = await session.classify(segment);
    const { scores } = forward(await loadModel(model), segment);
    for (const [c, score] of decrypted.scores.entries())
      expect(Math.abs(score - scores[c])).toBeLessThan(1e-2);
  });

  test('when the process answers with an error of no known code then it is a fault', async () => {
    const code = "process.send({ type: 'error', code: 'toString', message: 'x' })";
    using server = ProcessTransport.start(await serverThat(code));
    await expect(server.open(model, {})).rejects.toThrow('in the server process: x');
  });

  test.each([
    ['no time', {}, /ms: expected a number/],
    ['a negative time', { ms: -1 }, /ms: expected a number of at least 0/],
    ['keys of half a byte', { ms: 1, bytes: 0.5 }, /bytes: expected a whole number/],
    ['keys of more than there is memory', { ms: 1, bytes: 2 ** 33 }, /bytes: expected a whole number/],
  ])('when the process tells of %s then it is not believed', async (_, told, words) => {
    const answer = JSON.stringify({ type: 'loaded', ...told });
    using server = ProcessTransport.start(await serverThat(`process.send(${answer})`));
    await expect(server.loadKeys()).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringMatching(words),
    });
  });

  test.each([
    ['is killed', "process.kill(process.pid, 'SIGKILL')", 'ENVIRONMENT', /memory/],
    [
      'crashes',
      "process.stderr.write('out of ink'); process.exit(3)",
      'INTERNAL',
      /exit code 3[\s\S]*out of ink/,
    ],
    ['is interrupted', "process.kill(process.pid, 'SIGINT')", 'INTERRUPTED', /interrupted/],
    ['throws', "throw new Error('no more paper')", 'INTERNAL', /no more paper/],
  ])('when the process %s then its client is told', async (_, code, expected, words) => {
    using server = ProcessTransport.start(await serverThat(code));
    const opening = server.open(model, { outputs: 'scores' });
    await expect(opening).rejects.toMatchObject({ code: expected, message: expect.stringMatching(words) });
    await expect(server.infer(new Uint8Array())).rejects.toMatchObject({ code: expected });
  });

  test('when the client is interrupted then the server ends with it', async () => {
    const controller = new AbortController();
    using server = ProcessTransport.start(await serverThat('setInterval(() => {}, 1000)'));
    const opening = server.open(model, { outputs: 'scores' }, { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
  });
});

describe('bin/blindbeat.js', () => {
  /** Runs the launcher as a shell does; `onStderr` sees what it says. */
  function launch(
    args: string[],
    onStderr: (text: string, child: ReturnType<typeof spawn>) => void = () => {},
  ) {
    return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
      const child = spawn(process.execPath, ['bin/blindbeat.js', ...args]);
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (data) => {
        stdout += data;
      });
      child.stderr.on('data', (data) => {
        stderr += data;
        onStderr(stderr, child);
      });
      child.on('close', (code) => resolve({ code, stdout, stderr }));
    });
  }

  test('when Ctrl-C is pressed then it ends with 130 and without a result', async () => {
    const { code, stdout, stderr } = await launch(
      ['classify', '--model', model, '--outputs', 'scores+map'],
      (text, child) => text === 'starting the server\n' && child.kill('SIGINT'),
    );
    expect(code).toBe(130);
    expect(stderr).toContain('interrupted');
    expect(stdout).toBe('');
  });

  test('when keygen is interrupted then older keys stay as they were and nothing is left over', async () => {
    const out = join(folder, 'my.keys');
    const args = ['keygen', '--model', model, '--out', out, '--force'];
    expect(await launch(args)).toMatchObject({ code: 0 });
    const content = async () => {
      const names = (await readdir(out)).sort();
      return Promise.all(names.map(async (name) => [name, hash('sha256', await readFile(join(out, name)))]));
    };
    const before = await content();
    const { code, stderr } = await launch(
      args,
      (text, child) => text.endsWith('making evaluation keys\n') && child.kill('SIGINT'),
    );
    expect(code).toBe(130);
    expect(stderr).toContain('interrupted');
    expect(before).toHaveLength(3);
    expect(await content()).toEqual(before);
  });

  test('when it is started then it runs the sources and passes the exit code on', async () => {
    expect(await launch(['--version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+/),
    });
    expect(await launch(['nonsense'])).toMatchObject({ code: 2 });
  });
});
