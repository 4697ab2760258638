import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type DownloadOptions, download } from '../../../src/dataset/download/download.ts';
import { getText } from '../../../src/dataset/download/http.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { temporaryFolder } from '../../cli/helpers.ts';
import { FileServer } from './file-server.ts';

const server = await FileServer.start();
const root = temporaryFolder();
const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) >> 3);
const sha256 = createHash('sha256').update(bytes).digest('hex');
const patience = { answerMs: 300, stallMs: 300, backoffMs: 1, attempts: 3 };

let folder = '';
let count = 0;
const path = () => join(folder, 'file');
const get = (options: Partial<DownloadOptions> = {}, name = 'file') =>
  download(`${server.url}${name}`, path(), {
    expected: { sha256 },
    maxBytes: 1e6,
    patience,
    onProgress: (size) => server.cut(size),
    ...options,
  });
const interrupted = new BlindbeatError('INTERRUPTED', 'interrupted');

/** What an earlier call left that was cut off after `size` bytes. */
async function leavePart(size: number): Promise<void> {
  server.files.set('file', { bytes, stops: [size] });
  await expect(get({ patience: { ...patience, attempts: 1 } })).rejects.toMatchObject({
    code: 'ENVIRONMENT',
    message: expect.stringMatching(/(cut|ended early).* are kept in .*file\.part; the same command goes on/),
  });
  expect(readFileSync(`${path()}.part`).equals(bytes.subarray(0, size))).toBe(true);
  server.log.length = 0;
}

beforeEach(async () => {
  folder = join(root, String(count++));
  await mkdir(folder);
  server.files.clear();
  server.files.set('file', { bytes });
  server.log.length = 0;
});

async function expectFile(): Promise<void> {
  expect(readFileSync(path()).equals(bytes)).toBe(true);
  expect(await readdir(folder)).toEqual(['file']);
}

describe('download', () => {
  test('when all goes well then the file is there, nothing else, and progress was told', async () => {
    const told: number[] = [];
    const bodies: unknown[] = [];
    const result = await get({
      onProgress: (n) => told.push(n),
      onBody: (from, total) => bodies.push([from, total]),
    });
    expect(result).toEqual({ bytes: bytes.length, sha256, status: 'downloaded' });
    await expectFile();
    expect(bodies).toEqual([[0, bytes.length]]);
    expect(told.at(-1)).toBe(bytes.length);
    expect(told).toEqual([...told].sort((a, b) => a - b));
  });

  test('when the right file is there already then nothing is asked of the server', async () => {
    writeFileSync(path(), bytes);
    expect(await get()).toMatchObject({ status: 'there', sha256 });
    expect(server.log).toEqual([]);
  });

  test('when another file has the name then it stays and that is said', async () => {
    writeFileSync(path(), 'mine');
    await expect(get()).rejects.toMatchObject({
      code: 'FILE',
      message: expect.stringMatching(
        `expected SHA-256 ${sha256}; got 4 bytes, SHA-256 [0-9a-f]{64}. Move it`,
      ),
    });
    expect(readFileSync(path(), 'utf8')).toBe('mine');
  });

  test('when the connection is cut twice then the rest is asked for each time', async () => {
    server.files.set('file', { bytes, stops: [100_000, 50_000] });
    const retries: string[] = [];
    const result = await get({ onRetry: (error) => retries.push(error.message) });
    expect(result.status).toBe('downloaded');
    await expectFile();
    expect(server.log.map((line) => line.slice(0, 23))).toEqual([
      'GET file 200',
      'GET file 206 bytes=1000',
      'GET file 206 bytes=1500',
    ]);
    expect(retries).toHaveLength(2);
    expect(retries[0]).toMatch(/cut|ended early/);
  });

  test('when a later call goes on then only the rest is fetched and the whole is checked', async () => {
    await leavePart(120_000);
    const bodies: unknown[] = [];
    expect((await get({ onBody: (from, total) => bodies.push([from, total]) })).status).toBe('resumed');
    await expectFile();
    expect(server.log).toEqual(['GET file 206 bytes=120000-']);
    expect(bodies).toEqual([[120_000, bytes.length]]);
  });

  test('when the part was complete already then it is checked without the server', async () => {
    await leavePart(120_000);
    writeFileSync(`${path()}.part`, bytes);
    expect((await get()).status).toBe('resumed');
    await expectFile();
    expect(server.log).toEqual([]);
  });

  test.each([
    ['does not know Range', { ranges: false }],
    ['has another ETag', { etag: '"2"' }],
  ])('when the server %s then all of it is fetched anew', async (_, served) => {
    await leavePart(120_000);
    server.files.set('file', { bytes, ...served });
    expect((await get()).status).toBe('downloaded');
    await expectFile();
    expect(server.log).toEqual(['GET file 200 bytes=120000-']);
  });

  test('when the server sends another part than was asked for then it begins anew', async () => {
    await leavePart(120_000);
    server.files.set('file', (request, response) => {
      if (!request.headers.range) return response.end(bytes);
      const headers = { 'content-range': `bytes 0-${bytes.length - 1}/${bytes.length}` };
      return response.writeHead(206, headers).end(bytes);
    });
    expect((await get()).status).toBe('downloaded');
    await expectFile();
  });

  test('when the server has less than is here (416) then it begins anew', async () => {
    await leavePart(120_000);
    server.files.set('file', (request, response) =>
      request.headers.range ? response.writeHead(416).end() : response.end(bytes),
    );
    expect((await get()).status).toBe('downloaded');
    await expectFile();
  });

  test('when the part is of another address then it begins anew', async () => {
    await leavePart(120_000);
    server.files.set('other', { bytes });
    expect((await get({}, 'other')).status).toBe('downloaded');
    expect(server.log).toEqual(['GET other 200']);
  });

  test('when the server gives no validator then what was cut off is not kept', async () => {
    server.files.set('file', { bytes, etag: null, stops: [1000] });
    await expect(get({ patience: { ...patience, attempts: 1 } })).rejects.toThrow('Nothing is kept');
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    ['all at once', undefined],
    ['in two goes', 1000],
  ])('when the checksum is wrong, fetched %s, then both are told and nothing is left', async (_, part) => {
    if (part) await leavePart(part);
    const wrong = Uint8Array.from(bytes);
    wrong[200_000] ^= 1;
    server.files.set('file', { bytes: wrong });
    const got = createHash('sha256').update(wrong).digest('hex');
    await expect(get()).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: expect.stringMatching(
        `expected: SHA-256 ${sha256}; got 300000 bytes, SHA-256 ${got}. It was removed. Download it again`,
      ),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    ['another size than expected', { expected: { bytes: 7 } }, /expected 7 bytes, the server has 300000/],
    ['more than is allowed', { maxBytes: 1000 }, /expected at most 1000 bytes, the server has 300000/],
  ])('when the server has %s then the body is not fetched', async (_, options, words) => {
    await expect(get(options)).rejects.toThrow(words);
    expect(await readdir(folder)).toEqual([]);
  });

  test('when the server does not say how much comes and it is too much then it ends there', async () => {
    server.files.set('file', (_, response) => {
      response.write(bytes);
      response.end(bytes);
    });
    await expect(get({ maxBytes: 400_000 })).rejects.toThrow('expected at most 400000 bytes');
    expect(await readdir(folder)).toEqual([]);
  });

  test('when nothing more comes for too long then it is asked again, for the rest', async () => {
    server.files.set('file', { bytes, stops: [100_000] });
    const retries: string[] = [];
    const onRetry = (error: Error) => retries.push(error.message);
    expect((await get({ onProgress: () => {}, onRetry })).status).toBe('downloaded');
    await expectFile();
    expect(retries).toEqual([expect.stringContaining('nothing more came for 0.3 s')]);
  });

  test('when the server never answers then it is given up after the last attempt', async () => {
    let asked = 0;
    server.files.set('file', () => asked++);
    await expect(get()).rejects.toThrow('no answer in 0.3 s');
    expect(asked).toBe(3);
  });

  test.each([
    [404, 'there is no such file (404)', 1],
    [403, 'refuses (403)', 1],
    [407, 'a proxy on the way wants a login (407)', 1],
    [503, 'not available (503)', 3],
    [418, 'the server answers 418', 1],
  ])(
    'when the server answers %i then that is said, in %s, after %i attempts',
    async (status, words, attempts) => {
      server.files.set('file', (_, response) => response.writeHead(status).end('words of the server'));
      await expect(get()).rejects.toMatchObject({
        code: 'ENVIRONMENT',
        message: expect.stringContaining(words),
      });
      expect(server.log).toHaveLength(attempts);
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test('when the server asks to wait then that long is waited', async () => {
    let asked = 0;
    server.files.set('file', (_, response) => {
      if (asked++ === 0) response.writeHead(429, { 'retry-after': '0' }).end();
      else response.end(bytes);
    });
    const waits: number[] = [];
    await get({ onRetry: (_, ms) => waits.push(ms), patience: { ...patience, backoffMs: 60_000 } });
    expect(waits).toEqual([0]);
  });

  test('when a web page comes instead then it is not taken for the file', async () => {
    server.files.set('file', (_, response) =>
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>please log in'),
    );
    await expect(get()).rejects.toThrow('a web page came instead of the file');
    expect(await readdir(folder)).toEqual([]);
  });

  test('when it is interrupted then what came is kept and the next call goes on', async () => {
    const controller = new AbortController();
    server.files.set('file', { bytes, stops: [100_000] });
    const onProgress = (n: number) => n === 100_000 && controller.abort(interrupted);
    await expect(get({ signal: controller.signal, onProgress })).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringMatching(
        /^interrupted\. 100 kB are kept in .*file\.part; the same command goes on/,
      ),
    });
    expect(existsSync(path())).toBe(false);
    server.files.set('file', { bytes });
    expect((await get()).status).toBe('resumed');
    await expectFile();
  });

  test('when it is interrupted while it waits for the next attempt then it ends at once', async () => {
    const controller = new AbortController();
    server.files.set('file', (_, response) => response.writeHead(503).end());
    const getting = get({
      signal: controller.signal,
      patience: { ...patience, backoffMs: 600_000 },
      onRetry: () => setTimeout(() => controller.abort(interrupted), 10),
    });
    await expect(getting).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  test.each([
    ['the folder does not exist', () => join(folder, 'no', 'file'), 'its folder does not exist'],
    ['a part of the path is a file', () => join(import.meta.filename, 'file'), 'no folder'],
    ['a folder has the name', () => folder, 'there is a folder of this name'],
  ])('when %s then nothing is fetched', async (_, target, words) => {
    const getting = download(`${server.url}file`, target(), {
      expected: { sha256 },
      maxBytes: 1e6,
      patience,
    });
    await expect(getting).rejects.toMatchObject({ code: 'FILE', message: expect.stringContaining(words) });
    expect(server.log).toEqual([]);
  });
});

describe('redirects', () => {
  test('when they stay with the server then they are followed, the range with them', async () => {
    await leavePart(120_000);
    server.files.set('real', { bytes });
    server.files.set('file', (_, response) => response.writeHead(302, { location: '/real' }).end());
    expect((await get()).status).toBe('resumed');
    expect(server.log).toEqual(['GET file 302 bytes=120000-', 'GET real 206 bytes=120000-']);
  });

  test('when they lead to another host without https then they are not followed', async () => {
    const other = await FileServer.start();
    other.files.set('file', { bytes });
    server.files.set('file', (_, response) =>
      response.writeHead(301, { location: `${other.url}file` }).end(),
    );
    await expect(get()).rejects.toThrow(`it redirects to ${other.url.slice(0, -1)}, and only https`);
    expect(other.log).toEqual([]);
  });

  test.each([
    ['http://', 'it redirects to what is no address'],
    ['ftp://127.0.0.1/file', 'it redirects to what is no web address'],
  ])('when they lead to %s then that is said, once', async (location, words) => {
    server.files.set('file', (_, response) => response.writeHead(302, { location }).end());
    await expect(get()).rejects.toThrow(words);
    expect(server.log).toHaveLength(1);
  });

  test('when they never end then that is said', async () => {
    server.files.set('file', (_, response) => response.writeHead(302, { location: 'file' }).end());
    await expect(get()).rejects.toThrow('redirects more than 5 times');
  });
});

describe('the network', () => {
  test.each([
    ['refuses the connection', 'http://127.0.0.1:2/', /the connection was refused \(ECONNREFUSED\)/],
    ['does not know the name', 'http://nowhere.invalid/', /nobody here knows|name server does not answer/],
    [
      'has no TLS there',
      () => server.url.replace('http:', 'https:'),
      /encryption is not accepted \(EPROTO\)/,
    ],
  ])('when it %s then plain words say so', async (_, url, words) => {
    const address = typeof url === 'string' ? url : url();
    await expect(getText(address, 100, { patience })).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: expect.stringMatching(words),
    });
  });
});

describe('proxies', () => {
  test('when one is named but not used then it says how to use it', async () => {
    vi.stubEnv('HTTPS_PROXY', 'http://127.0.0.1:2');
    vi.stubEnv('NODE_USE_ENV_PROXY', '');
    onTestFinished(() => void vi.unstubAllEnvs());
    const getting = getText('http://127.0.0.1:2/', 100);
    await expect(getting).rejects.toThrow('set NODE_USE_ENV_PROXY=1 to use it');
  });

  test.each([
    [407, 'a proxy on the way wants a login (407)'],
    [502, 'a proxy on the way does not let it through (502)'],
  ])('when one answers %i then that is said, once', async (status, words) => {
    let asked = 0;
    const proxy = createServer().on('connect', (_, socket) => {
      asked++;
      socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
    });
    await once(proxy.listen(0, '127.0.0.1'), 'listening');
    const { globalAgent } = https;
    onTestFinished(() => {
      https.globalAgent = globalAgent;
      proxy.close();
    });
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    // What Node makes of NODE_USE_ENV_PROXY=1.
    https.globalAgent = new https.Agent({ proxyEnv: { HTTPS_PROXY: address } });
    const getting = getText('https://nowhere.invalid/', 100, { patience });
    await expect(getting).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: expect.stringContaining(words),
    });
    expect(asked).toBe(1);
  });
});

describe('getText', () => {
  test('when there is one then it is read, when there is none then that is no error', async () => {
    server.files.set('text', (_, response) => response.end('äöü'));
    expect(await getText(`${server.url}text`, 100)).toBe('äöü');
    expect(await getText(`${server.url}none`, 100)).toBe(null);
  });

  test('when it is too long then it is refused', async () => {
    await expect(getText(`${server.url}file`, 100, { patience })).rejects.toThrow('more than the 100 bytes');
  });
});
