import { writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { SCOPES, type Scope, tokensIn } from '../../../src/service/tokens.ts';
import type { EvaluatorsHere } from '../../helpers/evaluators-here.ts';
import {
  inferAt,
  keysAt,
  MODEL,
  makePerson,
  OCTETS,
  openEvaluators,
  type Person,
  problemIn,
  put,
  type Running,
  startService,
  temporaryFolder,
} from './helpers.ts';

let evaluators: EvaluatorsHere;
let person: Person;

beforeAll(async () => {
  evaluators = await openEvaluators();
  person = await makePerson(evaluators.models.get(MODEL.name)!.manifest);
});
afterAll(async () => {
  person?.[Symbol.dispose]();
  await evaluators?.[Symbol.asyncDispose]();
});

const bearer = (text: string) => ({ authorization: `Bearer ${text}` });

/** All routes that need a token, and what it must allow. */
const ROUTES: [scope: Scope | 'any', method: string, path: (hash: string) => string][] = [
  ['any', 'GET', () => '/v1/models'],
  ['any', 'GET', () => `/v1/models/${MODEL.name}/manifest`],
  ['keys', 'GET', (hash) => `/v1/keys/${hash}?model=${MODEL.name}`],
  ['keys', 'PUT', (hash) => `/v1/keys/${hash}?model=${MODEL.name}`],
  ['keys', 'DELETE', (hash) => `/v1/keys/${hash}`],
  ['infer', 'POST', (hash) => `/v1/models/${MODEL.name}/infer?keys=${hash}`],
  ['metrics', 'GET', () => '/metrics'],
];

async function statusOf(
  { url }: Running,
  method: string,
  path: string,
  headers: object = {},
): Promise<number> {
  const body = ['PUT', 'POST'].includes(method) ? new Uint8Array(3) : undefined;
  const response = await fetch(url + path, { method, body, headers: { ...(body && OCTETS), ...headers } });
  await response.arrayBuffer();
  return response.status;
}

describe('tokens', () => {
  const folder = temporaryFolder();
  const tokens = tokensIn(folder);
  const texts = {} as Record<Scope | 'both' | 'gone', string>;
  let service: Running;

  beforeAll(async () => {
    for (const scope of SCOPES) texts[scope] = (await tokens.create(scope, [scope], null)).text;
    texts.both = (await tokens.create('both', ['infer', 'keys'], null)).text;
    texts.gone = (await tokens.create('gone', ['admin'], new Date(Date.now() - 1))).text;
    service = await startService(evaluators, { folder, tokens });
  });
  afterAll(() => service?.[Symbol.asyncDispose]());

  test.each(ROUTES)(
    'when a route needs %s (%s), then those without it are refused',
    async (scope, method, path) => {
      const at = path('0'.repeat(64));
      for (const headers of [
        {},
        bearer('nonsense'),
        bearer(texts.gone),
        bearer(`${texts.admin}x`),
        { authorization: texts.admin },
      ])
        expect(await statusOf(service, method, at, headers)).toBe(401);
      for (const own of SCOPES) {
        const allowed = scope === 'any' || own === scope || own === 'admin';
        const status = await statusOf(service, method, at, bearer(texts[own]));
        if (allowed) expect([200, 400, 404]).toContain(status);
        else expect(status).toBe(403);
      }
    },
  );

  test('when somebody has none, then the way to one is told, and health is for everybody', async () => {
    const response = await fetch(`${service.url}/v1/models`);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect(await problemIn(response)).toEqual([401, 'UNAUTHORISED']);
    for (const path of ['/healthz', '/readyz', '/v1/openapi.json', '/docs'])
      expect(await statusOf(service, 'GET', path)).toBe(200);
  });

  test('when keys are sent, then they are of that token alone', async () => {
    const to = keysAt(service, person.hash);
    expect((await put(to, person.keys, bearer(texts.both))).status).toBe(201);
    const foreign = bearer(texts.admin);
    expect(await statusOf(service, 'GET', to.slice(service.url.length), foreign)).toBe(404);
    expect(await problemIn(fetch(to, { method: 'DELETE', headers: foreign }))).toEqual([
      404,
      'KEYS_NOT_FOUND',
    ]);
    const infer = (text: string) =>
      fetch(inferAt(service, person.hash), {
        method: 'POST',
        body: person.request as BodyInit,
        headers: { ...OCTETS, ...bearer(text) },
      });
    expect(await problemIn(infer(texts.admin))).toEqual([404, 'KEYS_NOT_FOUND']);
    expect((await infer(texts.both)).status).toBe(200);
    expect(service.lines.at(-1)).toMatchObject({ token: 'both', status: 200 });
    expect((await put(to, person.keys, foreign)).status).toBe(201); // it has them for itself now
    expect((await fetch(to, { method: 'DELETE', headers: bearer(texts.both) })).status).toBe(204);
    expect(await statusOf(service, 'GET', to.slice(service.url.length), foreign)).toBe(200);
  });

  test('when a token is revoked, then it opens nothing more, and no secret was logged', async () => {
    expect(await statusOf(service, 'GET', '/v1/models', bearer(texts.metrics))).toBe(200);
    await tokensIn(folder).revoke('metrics');
    await vi.waitFor(
      async () => expect(await statusOf(service, 'GET', '/v1/models', bearer(texts.metrics))).toBe(401),
      { timeout: 5000, interval: 100 },
    );
    const log = JSON.stringify(service.lines);
    for (const text of Object.values(texts)) expect(log).not.toContain(text.slice(20));
  });

  test('when the file of tokens is damaged, then nobody gets in until it is mended', async () => {
    const own = temporaryFolder();
    const { text } = await tokensIn(own).create('a', ['infer'], null);
    await using damaged = await startService(evaluators, { folder: own, tokens: tokensIn(own) });
    expect(await statusOf(damaged, 'GET', '/v1/models', bearer(text))).toBe(200);
    writeFileSync(join(own, 'tokens.json'), '{');
    await vi.waitFor(
      async () =>
        expect(await problemIn(fetch(`${damaged.url}/v1/models`, { headers: bearer(text) }))).toEqual([
          503,
          'ENVIRONMENT',
        ]),
      { timeout: 5000, interval: 100 },
    );
  });

  test('when one asks too often, then it waits, and others do not', async () => {
    await using slow = await startService(evaluators, { folder, tokens, requestsPerMinute: 3 });
    const ask = (text: string) => fetch(`${slow.url}/v1/models`, { headers: bearer(text) });
    for (let i = 0; i < 3; i++) expect((await ask(texts.both)).status).toBe(200);
    const refusal = await ask(texts.both);
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(50);
    expect(await problemIn(refusal)).toEqual([429, 'RATE_LIMITED']);
    expect((await ask(texts.infer)).status).toBe(200);
    for (let i = 0; i < 5; i++) expect(await statusOf(slow, 'GET', '/healthz')).toBe(200);
    const strangers = [];
    for (let i = 0; i < 4; i++) strangers.push(await statusOf(slow, 'GET', '/v1/models', bearer('nonsense')));
    expect(strangers).toEqual([401, 401, 401, 429]);
    const forwarded = (from: string, to: Running) =>
      statusOf(to, 'GET', '/v1/models', { 'x-forwarded-for': from });
    expect(await forwarded('192.0.2.1', slow)).toBe(429); // whoever says so is not believed
    await using behind = await startService(evaluators, {
      ...{ folder, tokens, requestsPerMinute: 1, proxies: ['127.0.0.0/8'] },
    });
    const addresses = ['192.0.2.1', '192.0.2.2', '192.0.2.1'];
    const found: number[] = [];
    for (const address of addresses) found.push(await forwarded(address, behind));
    expect(found).toEqual([401, 401, 429]);
  });
});

describe('without tokens', () => {
  test('when a page of another name leads to this machine, then it is refused', async () => {
    await using service = await startService(evaluators);
    const asking = (host: string) =>
      new Promise<number>((resolve, reject) => {
        httpRequest(
          { host: '127.0.0.1', port: service.port, path: '/v1/models', headers: { host } },
          (response) => {
            response.resume();
            resolve(response.statusCode!);
          },
        )
          .on('error', reject)
          .end();
      });
    for (const host of ['localhost', `127.0.0.1:${service.port}`, '[::1]'])
      expect(await asking(host)).toBe(200);
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '10.0.0.1'])
      expect(await asking(host)).toBe(403);
  });

  test('when tokens are made while it runs, then they are needed from then on', async () => {
    const folder = temporaryFolder();
    const tokens = tokensIn(folder);
    await using service = await startService(evaluators, { folder, tokens });
    expect(await statusOf(service, 'GET', '/v1/models')).toBe(200);
    const { text } = await tokensIn(folder).create('first', ['infer'], null);
    await vi.waitFor(async () => expect(await statusOf(service, 'GET', '/v1/models')).toBe(401), {
      timeout: 5000,
      interval: 100,
    });
    expect(await statusOf(service, 'GET', '/v1/models', bearer(text))).toBe(200);
  });
});

describe('pages of other sites', () => {
  const origin = 'https://clinic.example';
  const preflight = ({ url }: Running, from: string) =>
    fetch(`${url}/v1/models/${MODEL.name}/infer?keys=${'0'.repeat(64)}`, {
      method: 'OPTIONS',
      headers: {
        origin: from,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });

  test('when nothing is said, then no page of another site may ask, and headers say what browsers must not do', async () => {
    await using service = await startService(evaluators);
    const response = await fetch(`${service.url}/v1/models`, { headers: { origin } });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect((await preflight(service, origin)).status).toBe(404);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'SAMEORIGIN',
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringContaining("default-src 'self'"),
    });
  });

  test('when a site is named, then its pages may ask, and no others', async () => {
    await using service = await startService(evaluators, { origins: [origin] });
    const allowed = await preflight(service, origin);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-origin')).toBe(origin);
    expect(allowed.headers.get('access-control-allow-headers')).toContain('content-range');
    const other = await preflight(service, 'https://evil.example');
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
    const response = await fetch(`${service.url}/v1/models`, { headers: { origin } });
    expect(response.headers.get('access-control-expose-headers')).toContain('server-timing');
  });
});
