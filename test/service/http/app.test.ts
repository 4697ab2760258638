import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { simulate } from '../../../src/ckks/simulate.ts';
import { parseManifest } from '../../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import type { EvaluatorsHere } from '../../helpers/evaluators-here.ts';
import {
  BUDGET,
  inferAt,
  keysAt,
  MODEL,
  makePerson,
  openEvaluators,
  type Person,
  part,
  post,
  problemIn,
  put,
  type Running,
  startService,
} from './helpers.ts';

let evaluators: EvaluatorsHere;
let person: Person;
let stranger: Person;
let service: Running;

beforeAll(async () => {
  evaluators = await openEvaluators();
  service = await startService(evaluators);
  person = await makePerson(service.manifest);
  stranger = await makePerson(service.manifest);
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
  for (const somebody of [person, stranger]) somebody?.[Symbol.dispose]();
  await evaluators?.[Symbol.asyncDispose]();
});

const json = async (response: Promise<Response>) =>
  (await response).json() as Promise<Record<string, unknown>>;
const modelsAt = () => `${service.url}/v1/models`;

describe('models', () => {
  test('when they are listed, then each has its plan, classes and sizes', async () => {
    expect(await json(fetch(modelsAt()))).toEqual({
      models: [
        {
          id: MODEL.name,
          planHash: service.manifest.planHash,
          classes: MODEL.classes,
          bytes: {
            evaluationKeys: person.keys.length,
            request: person.request.length,
            reply: expect.any(Number),
          },
        },
      ],
    });
  });

  test('when a manifest is asked for, then a client takes it, and its plan is its tag', async () => {
    const url = `${modelsAt()}/${MODEL.name}/manifest`;
    const got = await fetch(url);
    expect(parseManifest(await got.json())).toEqual(service.manifest);
    const etag = got.headers.get('etag')!;
    expect(etag).toBe(`"${service.manifest.planHash}"`);
    const again = await fetch(url, { headers: { 'if-none-match': etag } });
    expect([again.status, await again.text()]).toEqual([304, '']);
  });

  test('when there is no such model, then those that there are are named', async () => {
    const response = await fetch(`${modelsAt()}/%1b%5b31m/manifest`);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    expect(await response.json()).toEqual({
      type: '/docs/problems#NOT_FOUND',
      title: expect.stringMatching(/model/),
      status: 404,
      detail: `there is no model \\u{1b}[31m here, but ${MODEL.name}`,
      code: 'NOT_FOUND',
    });
  });
});

describe('keys', () => {
  const got = (hash = person.hash) => fetch(keysAt(service, hash));

  test('when they go up in parts, then each answer says how far they are, and the last that they are there', async () => {
    const { keys, hash } = stranger;
    expect(await problemIn(got(hash))).toEqual([404, 'KEYS_NOT_FOUND']);
    const to = keysAt(service, hash);
    const first = await put(to, ...part(keys, 0, 1_000_000));
    expect([first.status, await first.json()]).toEqual([202, { received: 1_000_000 }]);
    const wrong = await put(to, ...part(keys, 500_000, 1_500_000));
    expect([wrong.status, await wrong.json()]).toEqual([
      409,
      expect.objectContaining({ code: 'MISMATCH', received: 1_000_000 }),
    ]);
    expect(await json(got(hash))).toMatchObject({
      hash,
      size: keys.length,
      received: 1_000_000,
      complete: false,
    });
    const last = await put(to, ...part(keys, 1_000_000, keys.length));
    const stored = {
      hash,
      size: keys.length,
      received: keys.length,
      complete: true,
      expires: expect.any(String),
    };
    expect([last.status, await last.json()]).toEqual([201, stored]);
    expect(await json(got(hash))).toEqual(stored);
    const again = await put(to, keys);
    expect([again.status, await again.json()]).toEqual([200, stored]);
  });

  test('when they are deleted, then evaluators forget them too', async () => {
    const to = keysAt(service, stranger.hash);
    await put(to, stranger.keys);
    const gone = await fetch(to, { method: 'DELETE' });
    expect([gone.status, await gone.text()]).toEqual([204, '']);
    expect(evaluators.forgotten).toContain(stranger.hash);
    expect(await problemIn(got(stranger.hash))).toEqual([404, 'KEYS_NOT_FOUND']);
    expect(await problemIn(fetch(to, { method: 'DELETE' }))).toEqual([404, 'KEYS_NOT_FOUND']);
    expect(await problemIn(post(inferAt(service, stranger.hash), stranger.request))).toEqual([
      404,
      'KEYS_NOT_FOUND',
    ]);
  });

  test.each<[string, () => [Uint8Array, Record<string, string>], [number, string]]>([
    ['another length', () => [person.keys.subarray(1), {}], [400, 'FORMAT']],
    ['a byte more', () => [Buffer.concat([person.keys, new Uint8Array(1)]), {}], [413, 'TOO_LARGE']],
    [
      'a range that is none',
      () => [person.keys.subarray(0, 9), { 'content-range': 'bytes 0-8' }],
      [400, 'USAGE'],
    ],
    [
      'a range of another total',
      () => [person.keys.subarray(0, 9), { 'content-range': 'bytes 0-8/9' }],
      [400, 'FORMAT'],
    ],
    [
      'a range beyond the end',
      () => [new Uint8Array(9), { 'content-range': `bytes 0-${person.keys.length}/${person.keys.length}` }],
      [413, 'TOO_LARGE'],
    ],
    [
      'a range that is not the length',
      () => [new Uint8Array(9), { 'content-range': `bytes 0-9/${person.keys.length}` }],
      [400, 'FORMAT'],
    ],
    ['another address', () => [damaged(person.keys), {}], [400, 'FORMAT']],
    ['another kind of body', () => [person.keys, { 'content-type': 'text/plain' }], [415, 'USAGE']],
  ])('when an upload has %s, then it is refused', async (_, make, refusal) => {
    const [bytes, headers] = make();
    const before = service.keys.load;
    expect(await problemIn(put(keysAt(service, '0'.repeat(64)), bytes, headers))).toEqual(refusal);
    expect(service.keys.load).toEqual(before);
  });

  function damaged(keys: Uint8Array): Uint8Array {
    const bytes = keys.slice();
    bytes[5000] ^= 1;
    return bytes;
  }
});

describe('inference', () => {
  beforeAll(async () => {
    await put(keysAt(service, person.hash), person.keys);
  });

  test('when a request is sent, then one answer has the scores and how long it took', async () => {
    const answer = await post(inferAt(service, person.hash), person.request);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/octet-stream');
    expect(answer.headers.get('server-timing')).toMatch(
      /^queue;dur=[\d.]+, load;dur=[1-9][\d.]*, evaluate;dur=[1-9][\d.]*$/,
    );
    const reply = new Uint8Array(await answer.arrayBuffer());
    const { scores } = person.client.decrypt(person.secret, reply, requestDigest(person.request));
    const samples = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i / 5));
    const clear = simulate(compile(MODEL, BUDGET), samples).scores;
    for (const [c, score] of [...scores].entries()) expect(score).toBeCloseTo(clear[c], 2);
    expect(service.lines.at(-1)).toEqual({
      level: 30,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      id: answer.headers.get('request-id'),
      method: 'POST',
      route: '/v1/models/:id/infer',
      status: 200,
      bytes: { in: person.request.length, out: reply.length },
      ms: expect.any(Number),
      queueMs: expect.any(Number),
      loadKeysMs: expect.any(Number),
      evaluateMs: expect.any(Number),
    });
  });

  test.each<[string, (request: Uint8Array) => Uint8Array, [number, string]]>([
    ['that is cut off', (r) => r.subarray(0, -1), [400, 'FORMAT']],
    ['with more behind it', (r) => Buffer.concat([r, r]), [413, 'TOO_LARGE']],
    ['with a changed byte', (r) => r.with(5000, r[5000] ^ 1), [400, 'FORMAT']],
    ['of nothing', () => new Uint8Array(), [400, 'FORMAT']],
    ['of garbage', (r) => r.map(() => 7), [400, 'FORMAT']],
    ['under other keys', () => stranger.request, [409, 'MISMATCH']],
  ])('when a request %s is sent, then no evaluator hears of it', async (_, change, refusal) => {
    const { jobs } = evaluators;
    expect(await problemIn(post(inferAt(service, person.hash), change(person.request)))).toEqual(refusal);
    expect(evaluators.jobs).toBe(jobs);
  });

  test.each<[string, Error, [number, string], RegExp]>([
    ['too many wait', new BlindbeatError('BUSY', 'eight wait'), [503, 'BUSY'], /eight wait/],
    ['it ends them', new BlindbeatError('POISON', 'it ended two'), [422, 'POISON'], /ended two/],
    ['no keys fit', new BlindbeatError('ENVIRONMENT', 'no room'), [503, 'ENVIRONMENT'], /no room/],
    [
      'they are broken',
      new TypeError('secret /path/of/mine'),
      [500, 'INTERNAL'],
      /log, under request [0-9a-f-]{36}$/,
    ],
    ['they lack a file', new BlindbeatError('FILE', '/path/of/mine'), [500, 'FILE'], /log, under request/],
  ])(
    'when evaluators refuse because %s, then the client hears what is its business',
    async (_, error, refusal, words) => {
      evaluators.next = () => Promise.reject(error);
      const response = await post(inferAt(service, person.hash), person.request);
      const problem = (await response.clone().json()) as { detail: string };
      expect(await problemIn(response)).toEqual(refusal);
      expect(problem.detail).toMatch(words);
      expect(problem.detail).not.toContain('mine');
      expect(response.headers.get('retry-after')).toBe(refusal[0] === 503 ? '1' : null);
      if (refusal[0] === 500) expect(JSON.stringify(service.lines)).toContain('/path/of/mine');
    },
  );

  test('when a client goes away, then its job hears of it, and nobody else does', async () => {
    const controller = new AbortController();
    const given = Promise.withResolvers<AbortSignal>();
    const { promise: never, reject } = Promise.withResolvers<never>();
    evaluators.next = ({ signal }) => {
      given.resolve(signal!);
      signal!.addEventListener('abort', () => reject(signal!.reason));
      return never;
    };
    const lost = fetch(inferAt(service, person.hash), {
      method: 'POST',
      body: person.request as BodyInit,
      headers: { 'content-type': 'application/octet-stream' },
      signal: controller.signal,
    });
    const signal = await given.promise;
    expect(signal.aborted).toBe(false);
    controller.abort();
    await expect(lost).rejects.toThrow(/abort/);
    await expect(never).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect((await post(inferAt(service, person.hash), person.request)).status).toBe(200);
    expect(signal.aborted).toBe(true);
  });

  test('when a caller or all have too many under way, then more are refused at once', async () => {
    await using small = await startService(evaluators, { bodies: { perCaller: 2, all: 8 } });
    await put(keysAt(small, person.hash), person.keys);
    const { promise, reject } = Promise.withResolvers<never>();
    const held: Promise<[number, string]>[] = [];
    while (held.length < 2) {
      evaluators.next = () => promise;
      held.push(problemIn(post(inferAt(small, person.hash), person.request)));
      while (evaluators.next) await wait(1);
    }
    expect(await problemIn(post(inferAt(small, person.hash), person.request))).toEqual([429, 'RATE_LIMITED']);
    reject(new BlindbeatError('BUSY', 'later'));
    expect(await Promise.all(held)).toEqual([
      [503, 'BUSY'],
      [503, 'BUSY'],
    ]);
    expect((await post(inferAt(small, person.hash), person.request)).status).toBe(200);
  });
});

describe('operation', () => {
  test('when it lives and is ready, then it says so', async () => {
    expect(await json(fetch(`${service.url}/healthz`))).toEqual({ status: 'ok' });
    expect(await json(fetch(`${service.url}/readyz`))).toEqual({ status: 'ok' });
    evaluators.ready = false;
    const response = await fetch(`${service.url}/readyz`);
    evaluators.ready = true;
    expect([response.status, await response.json()]).toEqual([503, { status: 'not ready' }]);
  });

  test('when figures are asked for, then answers, bytes, steps and keys are in them, and no hash', async () => {
    await fetch(`${service.url}/v1/keys/${'1'.repeat(64)}?model=${MODEL.name}`);
    const response = await fetch(`${service.url}/metrics`);
    const text = await response.text();
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(text).toMatch(
      /^blindbeat_requests_total\{method="GET",route="\/v1\/keys\/:hash",status="404"\} \d+$/m,
    );
    expect(text).toMatch(/^blindbeat_evaluation_seconds_count\{model="random-5",step="evaluate"\} \d+$/m);
    expect(text).toMatch(/^blindbeat_evaluators 1$/m);
    expect(text).toMatch(new RegExp(`^blindbeat_stored_key_bytes ${service.keys.load.bytes}$`, 'm'));
    expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
    for (const foreign of [person.hash, '1'.repeat(64)]) expect(text).not.toContain(foreign);
  });

  test('when all is logged, then no hash, address, key or host of a client is in it', () => {
    const log = JSON.stringify(service.lines);
    expect(service.lines.length).toBeGreaterThan(20);
    for (const foreign of [
      person.hash,
      stranger.hash,
      person.secret.keyId,
      '127.0.0.1',
      MODEL.name,
      'undici',
    ])
      expect(log).not.toContain(foreign);
  });
});

describe('its description', () => {
  interface Described {
    paths: Record<string, Record<string, { parameters?: object[]; requestBody?: object; responses: object }>>;
  }

  test('when OpenAPI is asked for, then every route is in it with what it takes and gives', async () => {
    const { paths } = (await json(fetch(`${service.url}/v1/openapi.json`))) as unknown as Described;
    const routes = Object.entries(paths).flatMap(([path, of]) =>
      Object.keys(of).map((method) => `${method} ${path}`),
    );
    expect(routes.sort()).toEqual([
      'delete /v1/keys/{hash}',
      'get /healthz',
      'get /metrics',
      'get /readyz',
      'get /v1/keys/{hash}',
      'get /v1/models',
      'get /v1/models/{id}/manifest',
      'post /v1/models/{id}/infer',
      'put /v1/keys/{hash}',
    ]);
    const { put: upload, get } = paths['/v1/keys/{hash}'];
    expect(upload.parameters).toContainEqual({
      in: 'path',
      name: 'hash',
      required: true,
      schema: { type: 'string', minLength: 64, maxLength: 64, pattern: '^[0-9a-f]*$' },
    });
    expect(upload.parameters).toContainEqual(
      expect.objectContaining({ in: 'header', name: 'content-range' }),
    );
    expect(Object.keys(paths['/v1/keys/{hash}'].delete.responses)).toContain('204');
    expect(Object.keys(upload.responses)).toEqual([
      '200',
      '201',
      '202',
      '400',
      '401',
      '403',
      '404',
      '409',
      '413',
      '503',
    ]);
    expect(get.responses).toMatchObject({
      200: { content: { 'application/json': { schema: { properties: { complete: { type: 'boolean' } } } } } },
      404: {
        content: { 'application/problem+json': { schema: { required: expect.arrayContaining(['code']) } } },
      },
    });
    const infer = paths['/v1/models/{id}/infer'].post;
    const octets = {
      content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
    };
    expect(infer.requestBody).toMatchObject(octets);
    expect(infer.responses).toMatchObject({ 200: octets });
  });

  test('when the pages are opened, then they are there, and scripts come from here alone', async () => {
    const page = await fetch(`${service.url}/docs`);
    expect(await page.text()).toContain('swagger');
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'self'/);
    expect(page.headers.get('content-security-policy')).not.toMatch(/script-src[^;]*unsafe-inline/);
    const problems = await fetch(`${service.url}/docs/problems`);
    expect(await problems.text()).toContain('id="KEYS_NOT_FOUND"');
    expect(problems.headers.get('content-type')).toContain('text/html');
  });
});
