import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { wireSizes } from '../../src/ckks/wire/file-sizes.ts';
import { findModel, RemoteClient } from '../../src/client/remote-client.ts';
import { Random } from '../../src/ecg/random.ts';
import { forward } from '../../src/model/forward.ts';
import { MemoryKeys } from '../helpers/memory-keys.ts';
import { randomModel } from '../helpers/random-model.ts';
import { problem, TestService } from '../helpers/test-service.ts';

const model = randomModel({ samples: 256, channels: [4], kernel: 3 });
const random = new Random(1);
const segment = Float32Array.from({ length: 256 }, () => random.normal() / 2);
const { scores } = forward(model, segment);
/** Impatient enough for a test. */
const patience = { backoffMs: 5, giveUpMs: 5000 };
const INFER = 'POST /v1/models/random-1/infer';
const UPLOAD = 'PUT /v1/keys/';

let service: TestService;
let size: number;
const kept = new MemoryKeys();

beforeAll(async () => {
  service = await TestService.start(model);
  size = wireSizes(service.server.manifest).evaluationKeys;
});

afterAll(() => service[Symbol.dispose]());

beforeEach(() => {
  service.log.splice(0);
  service.faults.splice(0);
  service.token = undefined;
});

const connect = (options = {}) => RemoteClient.connect(service.url, { keys: kept, patience, ...options });

function expectRight(decrypted: { scores: number[] }): void {
  expect(decrypted.scores).toHaveLength(4);
  decrypted.scores.forEach((s, c) => {
    expect(Math.abs(s - scores[c])).toBeLessThan(1e-2);
  });
}

describe('RemoteClient', () => {
  test('when a segment is classified then with one POST, and its scores are those of the clear model', async () => {
    const keys = new MemoryKeys();
    const tasks: string[] = [];
    const start = (label: string) => {
      tasks.push(label);
      return { update() {}, [Symbol.dispose]() {} };
    };
    using client = await connect({ keys, start });
    expect(tasks).toEqual(['making evaluation keys', 'sending the keys']);
    expect(client.sentKeyBytes).toBe(size);
    expect(Object.keys(client.steps)).toEqual(['keygen', 'upKeys']);
    service.log.splice(0);
    const { decrypted, steps, queueMs, loadKeysMs } = await client.classify(segment);
    expectRight(decrypted);
    await sleep(5);
    expect(service.log).toEqual([
      expect.stringMatching(/^POST \/v1\/models\/random-1\/infer\?keys=\w{64} 200$/),
    ]);
    expect(steps.server).toBeGreaterThan(0);
    expect([queueMs, loadKeysMs]).toEqual([0.5, 1.25]); // as the server tells
  });

  test('when keys were sent before then they are neither made nor sent', async () => {
    using first = await connect();
    expectRight((await first.classify(segment)).decrypted);
    service.log.splice(0);
    using second = await connect();
    expectRight((await second.classify(segment)).decrypted);
    expect([kept.made, second.sentKeyBytes, service.count(UPLOAD)]).toEqual([1, 0, 0]);
    expect(second.steps).toEqual({});
  });

  test('when the server has forgotten the keys then they are sent again, once, and the answers are right', async () => {
    using client = await connect();
    service.keys.clear();
    const trips = await Promise.all([1, 2, 3].map(() => client.classify(segment)));
    for (const { decrypted } of trips) expectRight(decrypted);
    expect(service.count(`${UPLOAD}`)).toBe(Math.ceil(size / 2 ** 22));
    expect(service.count(INFER)).toBe(6);
  });

  test('when the server loses the keys each time then it is asked twice, and the refusal is told', async () => {
    using client = await connect();
    service.once(INFER, (_, response) => problem(response, 'KEYS_NOT_FOUND', 'no such keys'));
    service.once(INFER, (_, response) => problem(response, 'KEYS_NOT_FOUND', 'no such keys'));
    await expect(client.classify(segment)).rejects.toMatchObject({ code: 'KEYS_NOT_FOUND' });
  });

  test('when a request is refused because evaluators ended with it then the segment is encrypted anew', async () => {
    using client = await connect();
    const refused: string[] = [];
    const refuse = (request: IncomingMessage, response: ServerResponse) =>
      new Promise<void>((resolve) => {
        const digest = createHash('sha256');
        request.on('data', (bytes) => digest.update(bytes));
        request.on('end', () => {
          refused.push(digest.digest('hex'));
          problem(response, 'POISON', 'it ended 2 evaluators');
          resolve();
        });
      });
    for (let k = 0; k < 2; k++) service.once(INFER, refuse);
    expectRight((await client.classify(segment)).decrypted);
    expect(new Set(refused).size).toBe(2);
    for (let k = 0; k < 3; k++) service.once(INFER, refuse);
    await expect(client.classify(segment)).rejects.toMatchObject({ code: 'POISON' });
    expect(new Set(refused).size).toBe(5);
    expect(service.faults).toEqual([]);
  });

  test('when the server is busy then the client waits as long as it says', async () => {
    using client = await connect();
    const waits: number[] = [];
    using patient = await connect({ onRetry: (_: unknown, ms: number) => waits.push(ms) });
    service.once(INFER, (_, response) => {
      response.setHeader('retry-after', '1');
      problem(response, 'BUSY', 'too many requests wait');
    });
    expectRight((await patient.classify(segment)).decrypted);
    expect(waits).toHaveLength(1);
    expect(waits[0]).toBeGreaterThanOrEqual(1000);
    expect(waits[0]).toBeLessThanOrEqual(1250);
    expect(client.sentKeyBytes).toBe(0);
  });

  test('when the server stays busy then the client gives up and tells so', async () => {
    using client = await connect({ patience: { backoffMs: 5, giveUpMs: 50 } });
    service.faults.push((request, response) => {
      if (request.method === 'POST') problem(response, 'BUSY', 'too many requests wait');
      return false;
    });
    const refused = client.classify(segment);
    await expect(refused).rejects.toMatchObject({ code: 'BUSY' });
    await expect(refused).rejects.toThrow(/127\.0\.0\.1:\d+: too many requests wait/);
    expect(service.count(INFER)).toBeGreaterThan(2);
  });

  test('when connections are lost on the way there and back then the answer is right all the same', async () => {
    using client = await connect();
    service.once(INFER, (request) => request.destroy());
    service.once(INFER, (_, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('half');
      setTimeout(() => response.destroy(), 20);
    });
    expectRight((await client.classify(segment)).decrypted);
    await sleep(5);
    expect(service.log.filter((line) => line.endsWith('cut'))).toHaveLength(2);
  });

  test('when it is aborted then it ends with the reason, at once', async () => {
    using client = await connect();
    const controller = new AbortController();
    service.once(INFER, () => setTimeout(() => controller.abort(new Error('enough')), 20));
    await expect(client.classify(segment, { signal: controller.signal })).rejects.toThrow('enough');
    expect(service.count(INFER)).toBeLessThanOrEqual(1);
  });

  test('when it is aborted while it waits to try again then it ends with the reason', async () => {
    const controller = new AbortController();
    using client = await connect({ onRetry: () => controller.abort(new Error('enough')) });
    service.once(INFER, (_, response) => {
      response.setHeader('retry-after', '3');
      problem(response, 'BUSY', 'too many requests wait');
    });
    const started = performance.now();
    await expect(client.classify(segment, { signal: controller.signal })).rejects.toThrow('enough');
    expect(performance.now() - started).toBeLessThan(2500);
  });

  test('when no answer comes in time then the client asks again', async () => {
    using client = await connect({ patience: { ...patience, workMs: 300 } });
    service.once(INFER, () => {});
    expectRight((await client.classify(segment)).decrypted);
  });

  test('when the reply is to another request then it is refused', async () => {
    using client = await connect();
    const replies: ArrayBuffer[] = [];
    await client.classify(segment);
    // What the first request was answered is played back to the second.
    const { fetch } = globalThis;
    globalThis.fetch = async (...args) => {
      const response = await fetch(...args);
      replies.push(await response.arrayBuffer());
      return new Response(replies[0], { status: 200 });
    };
    try {
      await client.classify(segment);
      await expect(client.classify(segment)).rejects.toMatchObject({ code: 'MISMATCH' });
    } finally {
      globalThis.fetch = fetch;
    }
  });

  test('when the answer is longer than a reply then no more of it is read', async () => {
    using client = await connect();
    service.once(INFER, (_, response) => response.end(Buffer.alloc(1 << 20)));
    await expect(client.classify(segment)).rejects.toMatchObject({ code: 'FORMAT' });
  });

  test('when a token is needed then it is sent, and without it the client is not let in', async () => {
    service.token = 'blindbeat_secret';
    await expect(connect()).rejects.toMatchObject({ code: 'UNAUTHORISED' });
    using client = await connect({ token: 'blindbeat_secret' });
    expectRight((await client.classify(segment)).decrypted);
  });
});

describe('deleting keys', () => {
  test('when keys are deleted then neither the service nor the storage has them, and the next are new', async () => {
    const keys = new MemoryKeys();
    using client = await connect({ keys });
    const { hash } = (await keys.load())!.evaluationKeys;
    expect(service.keys.has(hash)).toBe(true);
    await client.deleteKeys();
    expect([service.keys.has(hash), await keys.load()]).toEqual([false, null]);
    await expect(client.classify(segment)).rejects.toMatchObject({ code: 'INTERNAL' }); // it was disposed
    using next = await connect({ keys });
    expectRight((await next.classify(segment)).decrypted);
    expect(keys.made).toBe(2);
  });
});

describe('sending keys', () => {
  test('when the connection is lost in the middle then only the rest is sent', async () => {
    const keys = new MemoryKeys();
    service.once(UPLOAD, async (request) => {
      const { pathname } = new URL(request.url!, 'http://here');
      const [piece] = await once(request, 'data');
      service.keys.set(pathname.split('/').at(-1)!, piece);
      request.socket.destroy();
    });
    using client = await connect({ keys });
    expectRight((await client.classify(segment)).decrypted);
    expect(client.sentKeyBytes).toBeLessThan(size);
    await sleep(5);
    const asked = service.log.filter((line) => line.includes('/v1/keys/'));
    expect(asked.map((line) => [line.split(' ')[0], line.split(' ')[2]].join(' '))).toEqual([
      ...['GET 404', 'PUT cut', 'GET 200', 'PUT 201'],
    ]);
  });

  test('when another run sends the same keys then this one goes on behind it', async () => {
    const keys = new MemoryKeys();
    service.once(UPLOAD, async (request, response) => {
      const { pathname } = new URL(request.url!, 'http://here');
      const received = Number(request.headers['content-length']) - 1000;
      const pieces: Buffer[] = await request.toArray();
      service.keys.set(pathname.split('/').at(-1)!, Buffer.concat(pieces).subarray(0, received));
      problem(response, 'MISMATCH', 'from elsewhere', { received });
    });
    using client = await connect({ keys });
    expect(client.sentKeyBytes).toBe(1000);
    expectRight((await client.classify(segment)).decrypted);
  });

  test('when an earlier run was ended in the middle then the next goes on from there', async () => {
    const keys = new MemoryKeys();
    const controller = new AbortController();
    service.once(UPLOAD, async (request) => {
      const { pathname } = new URL(request.url!, 'http://here');
      const [piece] = await once(request, 'data');
      service.keys.set(pathname.split('/').at(-1)!, piece);
      controller.abort(new Error('enough'));
    });
    await expect(connect({ keys, signal: controller.signal })).rejects.toThrow('enough');
    const hash = (await keys.load())!.evaluationKeys.hash;
    const received = service.keys.get(hash)!.length;
    expect(received).toBeGreaterThan(0);
    using client = await connect({ keys });
    expect([keys.made, client.sentKeyBytes]).toEqual([1, size - received]);
    expectRight((await client.classify(segment)).decrypted);
  });

  test('when the server stands still while it says to go on then the client does not go round in circles', async () => {
    service.keys.clear();
    service.faults.push((request, response) => {
      if (request.method === 'PUT') problem(response, 'MISMATCH', 'from elsewhere', { received: 1 });
      return false;
    });
    await expect(connect()).rejects.toMatchObject({ code: 'MISMATCH' });
    expect(service.count(UPLOAD)).toBe(2);
  });

  test.each([
    ['it has more than the file', { received: 2 ** 40, complete: false }],
    ['it has all and is not complete', { complete: false }],
    ['it has something else', { hash: '0'.repeat(64) }],
  ])('when the server tells what cannot be, %s, then it is refused', async (_, claim) => {
    service.once('GET /v1/keys/', (request, response) => {
      const hash = new URL(request.url!, 'http://here').pathname.split('/').at(-1);
      const answer = { hash, size, received: size, complete: true, ...claim };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
    });
    await expect(connect()).rejects.toMatchObject({ code: 'FORMAT' });
  });
});

describe('findModel', () => {
  test('when there is one model then it need not be named', async () => {
    const found = await findModel(`${service.url}/`, { patience });
    expect(found.model.id).toBe('random-1');
    expect(found.manifest).toEqual(service.server.manifest);
  });

  test('when no model has the name or the plan then the refusal names those that there are', async () => {
    const nobody = findModel(service.url, { model: 'nobody', patience });
    await expect(nobody).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(nobody).rejects.toThrow(/no model nobody.*random-1/);
    await expect(findModel(service.url, { planHash: '0'.repeat(64), patience })).rejects.toMatchObject({
      code: 'MISMATCH',
    });
  });

  test('when a list or a manifest is not sound then nothing of it is used', async () => {
    const say = (what: string, text: string) =>
      service.once(what, (_, response) => response.setHeader('content-type', 'application/json').end(text));
    say('GET /v1/models', '{"models": [{"id": "x"}]}');
    await expect(findModel(service.url, { patience })).rejects.toMatchObject({ code: 'FORMAT' });
    say('GET /v1/models', '<html>');
    await expect(findModel(service.url, { patience })).rejects.toMatchObject({ code: 'FORMAT' });
    say('GET /v1/models/', JSON.stringify({ ...service.server.manifest, samples: 128 }));
    await expect(findModel(service.url, { patience })).rejects.toMatchObject({ code: 'FORMAT' });
  });

  test('when the manifest is of another plan than the list says then it is refused', async () => {
    using other = await TestService.start(randomModel({ samples: 256, channels: [4], kernel: 3, seed: 2 }));
    const text = JSON.stringify(other.server.manifest);
    service.once('GET /v1/models/', (_, response) =>
      response.setHeader('content-type', 'application/json').end(text),
    );
    await expect(findModel(service.url, { patience })).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  test('when nobody listens then the refusal says so at once', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((done) => closed.close(done));
    const started = performance.now();
    await expect(findModel(`http://127.0.0.1:${port}`)).rejects.toThrow(
      /connection was refused.*ECONNREFUSED/,
    );
    await expect(findModel('http://127.0.0.1:1')).rejects.toThrow(/bad port/); // one that fetch does not take
    expect(performance.now() - started).toBeLessThan(400);
  });

  test('when the address leads elsewhere then the client does not follow', async () => {
    service.once('GET', (_, response) =>
      response.writeHead(301, { location: 'https://elsewhere.example/' }).end(),
    );
    await expect(findModel(service.url, { patience })).rejects.toThrow(
      /leads elsewhere to https:\/\/elsewhere\.example/,
    );
  });

  test.each([
    ['ftp://host/', /expected an address/],
    ['host:80', /expected an address/],
    ['http://me:secret@host/', /give a token instead/],
  ])('when the address is %s then it is refused', async (url, words) => {
    await expect(findModel(url)).rejects.toThrow(words);
  });

  test('when a proxy answers for the service then its status is told', async () => {
    service.once('GET', (_, response) => response.writeHead(403).end('<html>'));
    await expect(findModel(service.url, { patience })).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('when a refusal carries a code that is not its own then the status counts', async () => {
    service.once('GET', (_, response) => {
      response.writeHead(404, { 'content-type': 'application/problem+json' });
      response.end(JSON.stringify({ code: 'INTERRUPTED', detail: 'gone\u001b[31m' }));
    });
    const refused = findModel(service.url, { patience });
    await expect(refused).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(refused).rejects.toThrow(/gone\?\[31m/);
  });
});
