import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import { parseManifest } from '../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { hexDigest } from '../../src/digest.ts';
import { saveModel } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';
import { blindbeat, blindbeatJson, temporaryFolder } from './helpers.ts';

const BIN = resolve(import.meta.dirname, '../../bin/blindbeat.js');
const MODEL = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 });
const OCTETS = { 'content-type': 'application/octet-stream' };
const folder = temporaryFolder();
const model = join(folder, 'tiny');

beforeAll(async () => {
  await saveModel(MODEL, model);
});

let child: ChildProcess | null = null;
afterEach(() => {
  child?.kill('SIGKILL');
  child = null;
});

/** Starts the command as a shell does; its log lines, and the address once it listens. */
async function serve(...args: string[]) {
  const started = spawn(process.execPath, [BIN, 'serve', '--port', '0', '--models', model, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child = started;
  let words = '';
  started.stderr.setEncoding('utf8').on('data', (text: string) => {
    words += text;
  });
  const lines: { listening?: string; route?: string; evaluator?: string; pid?: number }[] = [];
  const listening = Promise.withResolvers<string>();
  createInterface(started.stdout).on('line', (line) => {
    lines.push(JSON.parse(line));
    const address = lines.at(-1)!.listening;
    if (address) listening.resolve(address);
  });
  const exit = once(started, 'exit').then(([code]) => {
    listening.reject(new Error(`it ended with ${code}: ${words}`));
    return code;
  });
  return { url: await listening.promise, lines, exit, process: started, words: () => words };
}

/** A whole classification over HTTP, after which the same request is sent again as often as is said; all scores. */
async function classify(url: string, headers: Record<string, string> = {}, again = 0): Promise<number[][]> {
  const at = `${url}/v1/models/${MODEL.name}`;
  const got = await fetch(`${at}/manifest`, { headers });
  if (got.status !== 200) throw new Error(`${got.status}: ${await got.text()}`);
  const manifest = parseManifest(await got.json());
  using client = await Client.open(manifest);
  using secret = client.createSecretKey();
  const keys = concat(client.evaluationKeys(secret));
  const send = (method: string, to: string, body: Uint8Array) =>
    fetch(to, { method, body: body as BodyInit, headers: { ...OCTETS, ...headers } });
  const hash = hexDigest(keys);
  expect((await send('PUT', `${url}/v1/keys/${hash}?model=${MODEL.name}`, keys)).status).toBe(201);
  const request = client.encrypt(secret, INPUT);
  const scores = async () => {
    const reply = await send('POST', `${at}/infer?keys=${hash}`, request);
    expect(reply.status).toBe(200);
    const bytes = new Uint8Array(await reply.arrayBuffer());
    return [...client.decrypt(secret, bytes, requestDigest(request)).scores];
  };
  const first = await scores();
  return [first, ...(await Promise.all(Array.from({ length: again }, scores)))];
}

const textOf = async (url: string) => (await fetch(url)).text();

const INPUT = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i / 5));
const CLEAR = [...forward(MODEL, INPUT).scores];

function expectScores(all: number[][]): void {
  for (const scores of all) for (const [c, score] of CLEAR.entries()) expect(scores[c]).toBeCloseTo(score, 2);
}

describe('serve', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'when nothing is said, then it serves this machine, and %s leaves nothing behind',
    async (signal) => {
      const before = readdirSync(tmpdir());
      const { url, lines, exit, process: served, words } = await serve();
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
      await vi.waitFor(() =>
        expect(words()).toContain(`${MODEL.name} at ${url}, for whoever is on this machine`),
      );
      expectScores(await classify(url));
      const workers = lines.map(({ pid }) => pid).filter((pid) => pid !== undefined);
      expect(workers.length).toBeGreaterThan(0);
      served.kill(signal);
      served.kill(signal); // as npx does, which passes on what the terminal told both
      expect(await exit).toBe(0);
      expect(lines.map(({ route }) => route).filter(Boolean)).toEqual([
        '/v1/models/:id/manifest',
        '/v1/keys/:hash',
        '/v1/models/:id/infer',
      ]);
      for (const pid of workers) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
      const left = readdirSync(tmpdir()).filter(
        (name) => /^blindbeat-\w{6}$/.test(name) && !before.includes(name),
      );
      expect(left).toEqual([]);
    },
  );

  test('when an evaluator is killed, then no request is lost', async () => {
    const { url, lines, exit, process: served } = await serve('--workers', '2', '--threads', '1');
    // Once the first answer is out, one of two that work on the others; a second one would make the request suspect.
    const killing = setInterval(() => {
      if (!lines.some(({ route }) => route?.endsWith('/infer'))) return;
      clearInterval(killing);
      process.kill(lines.find(({ evaluator }) => evaluator === 'opened')!.pid!, 'SIGKILL');
    }, 10);
    const scores = await classify(url, {}, 30);
    expectScores(scores);
    expect(scores).toHaveLength(31);
    expect(lines.some(({ evaluator }) => evaluator === 'ended')).toBe(true);
    served.kill('SIGTERM');
    expect(await exit).toBe(0);
  });

  test('when it is told to end, then requests that it has are answered, and no more are taken', async () => {
    const { url, lines, exit, process: served } = await serve('--threads', '1');
    const answering = classify(url, {}, 12);
    const waiting = async () =>
      Number(/^blindbeat_jobs_waiting (\d+)/m.exec(await textOf(`${url}/metrics`))![1]);
    await vi.waitFor(async () => expect(await waiting()).toBeGreaterThan(9), {
      timeout: 20_000,
      interval: 5,
    });
    served.kill('SIGTERM');
    await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(503), { interval: 5 });
    expectScores(await answering);
    expect(await exit).toBe(0);
    expect(lines.filter(({ route }) => route?.endsWith('/infer'))).toHaveLength(13);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow(/fetch failed/);
  });

  test('when there are tokens and a folder, then keys stay there and whoever has a token may ask', async () => {
    const data = join(folder, 'data');
    const { stdout, stderr, code } = await blindbeat('token', 'create', 'ward 3', '--data-dir', data);
    expect([code, stderr]).toEqual([0, expect.stringContaining('ward 3 may infer, keys')]);
    const config = join(folder, 'service.json');
    writeFileSync(
      config,
      JSON.stringify({ host: 'localhost', port: 1, dataDir: data, workers: 1, threads: 1 }),
    );
    const { url, exit, process: served } = await serve('--config', config, '--json');
    expect(readdirSync(data).sort()).toEqual(['keys', 'tokens.json']);
    await expect(classify(url)).rejects.toThrow(/^401/);
    expectScores(await classify(url, { authorization: `Bearer ${stdout.trim()}` }));
    served.kill('SIGTERM');
    expect(await exit).toBe(0);
    const [owner] = readdirSync(join(data, 'keys'));
    expect(readdirSync(join(data, 'keys', owner))).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.keys$/)]);
  });

  test('when it has a certificate, then it speaks HTTPS, and with another key it does not start', async () => {
    const [cert, key, other] = ['cert.pem', 'key.pem', 'other.pem'].map((name) => join(folder, name));
    const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' });
    const pair = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-noenc',
      '-subj',
      '/CN=localhost',
    ];
    openssl('req', '-x509', ...pair, '-keyout', key, '-out', cert, '-days', '2');
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-out', other);
    const { url, exit, process: served } = await serve('--tls-cert', cert, '--tls-key', key);
    expect(url).toMatch(/^https:/);
    const status = new Promise((resolve, reject) => {
      get(`${url}/healthz`, { ca: readFileSync(cert), checkServerIdentity: () => undefined }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on('error', reject);
    });
    expect(await status).toBe(200);
    served.kill('SIGTERM');
    expect(await exit).toBe(0);
    const { code, stderr } = await blindbeat(
      'serve',
      '--models',
      model,
      '--tls-cert',
      cert,
      '--tls-key',
      other,
    );
    expect([code, stderr]).toEqual([2, expect.stringContaining('are no certificate and its key')]);
  });

  test('when others could reach it without tokens, then it does not start', async () => {
    for (const host of ['0.0.0.0', '::', 'example.org']) {
      const { code, stderr } = await blindbeat('serve', '--models', model, '--host', host, '--port', '0');
      expect([code, stderr]).toEqual([2, expect.stringMatching(/without tokens everybody.*token create/s)]);
    }
  });

  test('when its address is taken, then it says so and leaves no process', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const { code, stderr, stdout } = await blindbeat('serve', '--models', model, '--port', `${port}`);
    expect([code, stderr]).toEqual([10, expect.stringMatching(/port \d+: it is taken/)]);
    const pids = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).pid);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    server.close();
  });

  test.each([
    ['one half of a certificate', ['--tls-cert', 'x.pem'], /belong together/],
    [
      'a certificate that is not there',
      ['--tls-cert', '/no/x.pem', '--tls-key', '/no/y.pem'],
      /no such file/,
    ],
    ['a model that is not there', ['--models', 'nothing'], /no model "nothing"/],
    ['settings that are not there', ['--config', '/no/where.json'], /no such file/],
  ])('when it is given %s, then it does not start', async (_, args, words) => {
    const { code, stderr } = await blindbeat('serve', '--port', '0', '--models', model, ...args);
    expect([2, 8]).toContain(code);
    expect(stderr).toMatch(words);
  });

  test.each([
    ['{', /is no JSON/],
    ['[]', /settings: expected an object/],
    ['{"prot": 80}', /prot: expected no such setting, got 80|prot: expected no such setting/],
    ['{"port": 70000}', /port: expected a whole number from 0 to 65535, got 70000/],
    ['{"proxies": ["10.0.0.0/33"]}', /proxies\[0\]: expected an IP address/],
    ['{"origins": ["https://a.example/path"]}', /origins\[0\]: expected an origin/],
    ['{"tls": {"cert": "a"}}', /tls\.key: expected a text/],
  ])('when the settings are %s, then all that is wrong is told', async (content, words) => {
    const config = join(folder, 'wrong.json');
    writeFileSync(config, content);
    const { code, stderr } = await blindbeat('serve', '--config', config);
    expect([code, stderr]).toEqual([2, expect.stringMatching(words)]);
  });
});

describe('token', () => {
  const data = join(folder, 'tokens');

  test('when tokens are made, listed and revoked, then each is shown once', async () => {
    const made = await blindbeatJson(
      'token',
      'create',
      'a',
      '--scopes',
      'metrics',
      '--days',
      '2',
      '--data-dir',
      data,
    );
    expect(made.json).toMatchObject({ name: 'a', scopes: ['metrics'], token: expect.stringMatching(/^bb_/) });
    expect(Date.parse(made.json.expires) - Date.now()).toBeGreaterThan(1.9 * 24 * 3_600_000);
    await blindbeat('token', 'create', 'b', '--data-dir', data);
    const { stdout } = await blindbeat('token', 'list', '--data-dir', data);
    expect(stdout).toMatch(/a +metrics +20\d\d-/);
    expect(stdout).toMatch(/b +infer,keys +never/);
    const listed = await blindbeatJson('token', 'list', '--data-dir', data);
    expect(listed.stdout).not.toContain(made.json.token.slice(20));
    expect(listed.json.tokens[0]).not.toHaveProperty('hash');
    expect((await blindbeat('token', 'revoke', made.json.id, '--data-dir', data)).stdout).toContain(
      'a opens nothing more',
    );
    expect((await blindbeatJson('token', 'revoke', 'b', '--data-dir', data)).json).toMatchObject({
      name: 'b',
    });
    expect((await blindbeat('token', 'list', '--data-dir', data)).stdout).toBe('no tokens\n');
    expect(JSON.parse(readFileSync(join(data, 'tokens.json'), 'utf8')).tokens).toEqual([]);
  });

  test.each([
    [['create'], /which token/],
    [['revoke', 'nobody'], /no token nobody/],
    [['create', 'x', '--scopes', 'root'], /some of infer, keys/],
    [['burn', 'x'], /Allowed choices/],
  ])('when it is asked to %j, then it says what is wrong', async (args, words) => {
    const { code, stderr } = await blindbeat('token', ...args, '--data-dir', join(folder, 'none'));
    expect([code, stderr]).toEqual([2, expect.stringMatching(words)]);
    expect(existsSync(join(folder, 'none', 'tokens.json'))).toBe(false);
  });
});
