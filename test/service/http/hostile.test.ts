import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Random } from '../../../src/ecg/random.ts';
import type { EvaluatorsHere } from '../../helpers/evaluators-here.ts';
import {
  inferAt,
  keysAt,
  MODEL,
  makePerson,
  OCTETS,
  openEvaluators,
  type Person,
  post,
  put,
  type Running,
  startService,
} from './helpers.ts';

/**
 * How long a client may take here, so that tests need not wait longer; more than evaluations, which are in this very
 * process, hold it up.
 */
const TIMES = { headers: 500, request: 4000, idle: 1500 };
/** Longer than anything here may go unanswered: the times above, and how often they are looked after. */
const ENDS_MS = 6000;

let evaluators: EvaluatorsHere;
let person: Person;
let service: Running;

beforeAll(async () => {
  evaluators = await openEvaluators();
  service = await startService(evaluators, { times: TIMES, requestsPerMinute: 1e6 });
  person = await makePerson(service.manifest);
  await put(keysAt(service, person.hash), person.keys);
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
  person?.[Symbol.dispose]();
  await evaluators?.[Symbol.asyncDispose]();
});

/** What was sent on a connection and what came, until it ended. */
interface Talk {
  text: string;
  ended: Promise<void>;
  socket: Socket;
}

function open(): Talk {
  const socket = connect(service.port, '127.0.0.1');
  const { promise, resolve } = Promise.withResolvers<void>();
  const talk = { text: '', ended: promise, socket };
  socket.on('data', (data) => {
    talk.text += data.toString('latin1');
  });
  socket.on('error', () => {}); // the other end had enough
  socket.on('close', () => resolve());
  return talk;
}

/** Waits for the end of a connection, which must come in time. */
async function ended(talk: Talk): Promise<string> {
  const late = Symbol();
  const first = await Promise.race([talk.ended, wait(ENDS_MS, late)]);
  talk.socket.destroy();
  if (first === late) throw new Error(`still open after ${ENDS_MS} ms: ${talk.text.slice(0, 200)}`);
  return talk.text;
}

function statuses(text: string): number[] {
  return [...text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => Number(status));
}

/** Bytes of a request. */
function rawRequest(
  method: string,
  target: string,
  headers: Record<string, string | number>,
  body: Uint8Array = new Uint8Array(),
) {
  const lines = [`${method} ${target} HTTP/1.1`, `Host: 127.0.0.1:${service.port}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body]);
}

const target = (url: string) => url.slice(service.url.length);

/** Others are served as before, and nothing of the hostile is left. */
async function expectUnharmed(): Promise<void> {
  const answer = await post(inferAt(service, person.hash), person.request);
  expect(answer.status, answer.ok ? '' : await answer.clone().text()).toBe(200);
  await answer.arrayBuffer();
  expect(await fetch(`${service.url}/healthz`).then(({ status }) => status)).toBe(200);
}

describe('slow clients', () => {
  test('when headers come too slowly, then the connection ends, and others are served meanwhile', async () => {
    const talks = Array.from({ length: 50 }, open);
    const dripping = talks.map(async ({ socket, ended }) => {
      let over = false;
      ended.then(() => {
        over = true;
      });
      socket.write('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n');
      for (let i = 0; !over && i < 100; i++) {
        socket.write(`X-${i}: y\r\n`);
        await wait(100);
      }
    });
    await expectUnharmed();
    for (const talk of talks) expect(statuses(await ended(talk))).toEqual([408]);
    await Promise.all(dripping);
  });

  test('when a body stands still, then it is refused, and what came of keys stays', async () => {
    const { hash } = person;
    const other = await makePerson(service.manifest);
    const talk = open();
    const length = { ...OCTETS, 'Content-Length': other.keys.length };
    talk.socket.write(
      rawRequest('PUT', target(keysAt(service, other.hash)), length, other.keys.subarray(0, 200_000)),
    );
    const request = open();
    const all = { ...OCTETS, 'Content-Length': person.request.length };
    request.socket.write(
      rawRequest('POST', target(inferAt(service, hash)), all, person.request.subarray(0, 1000)),
    );
    await expectUnharmed();
    expect(statuses(await ended(talk))).toEqual([499]);
    expect(statuses(await ended(request))).toEqual([499]);
    const found = await fetch(keysAt(service, other.hash));
    expect(await found.json()).toMatchObject({ received: 200_000, complete: false });
    other[Symbol.dispose]();
  });

  test('when a body comes drop by drop, then the request ends in time', async () => {
    const talk = open();
    const all = { ...OCTETS, 'Content-Length': person.request.length };
    talk.socket.write(rawRequest('POST', target(inferAt(service, person.hash)), all));
    let over = false;
    talk.ended.then(() => {
      over = true;
    });
    for (let i = 0; !over && i < 100; i++) {
      talk.socket.write('x');
      await wait(100);
    }
    expect(over).toBe(true);
    expect(statuses(talk.text)).toEqual([408]);
    await expectUnharmed();
  });

  test('when a client cuts its request off, then nothing hangs', async () => {
    const { jobs } = evaluators;
    const all = { ...OCTETS, 'Content-Length': person.request.length };
    const whole = rawRequest('POST', target(inferAt(service, person.hash)), all, person.request);
    for (const length of [10, 100, 300, 5000, whole.length - 1]) {
      const talk = open();
      talk.socket.end(whole.subarray(0, length));
      for (const status of statuses(await ended(talk))) expect([400, 499]).toContain(status);
      const gone = open();
      gone.socket.write(whole.subarray(0, length), () => gone.socket.resetAndDestroy());
      await ended(gone);
    }
    expect(evaluators.jobs).toBe(jobs);
    await expectUnharmed();
  });
});

describe('large and odd requests', () => {
  test('when a body has no end, then it is refused when it is too long', async () => {
    const talk = open();
    talk.socket.write(
      rawRequest('POST', target(inferAt(service, person.hash)), {
        ...OCTETS,
        'Transfer-Encoding': 'chunked',
      }),
    );
    const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536), Buffer.from('\r\n')]);
    let over = false;
    talk.ended.then(() => {
      over = true;
    });
    let sent = 0;
    for (; !over && statuses(talk.text).length === 0 && sent < 400; sent++) {
      talk.socket.write(chunk);
      await wait(2);
    }
    expect(statuses(talk.text)).toEqual([413]);
    expect(sent).toBeLessThan(100);
    talk.socket.destroy();
    await expectUnharmed();
  });

  test('when a long body is announced, then it is refused before it comes', async () => {
    for (const [method, url] of [
      ['PUT', keysAt(service, '0'.repeat(64))],
      ['POST', inferAt(service, person.hash)],
    ]) {
      const talk = open();
      talk.socket.write(rawRequest(method, target(url), { ...OCTETS, 'Content-Length': 1e12 }));
      await vi.waitFor(() => expect(statuses(talk.text)).toEqual([413]), { timeout: 2000 });
      talk.socket.destroy();
    }
  });

  const PATHS = [
    '/v1/keys/../../../../etc/passwd?model=random-5',
    '/v1/keys/..%2f..%2f..%2f..%2fetc%2fpasswd?model=random-5',
    '/v1/keys/%2e%2e/%2e%2e/tokens.json?model=random-5',
    '/v1/keys/%00?model=random-5',
    '/v1/keys/%ff%fe?model=random-5',
    '/v1/keys/%?model=random-5',
    `/v1/keys/${'0'.repeat(64)}/../../../package.json?model=random-5`,
    `/v1/keys/${'0'.repeat(64)}?model=..%2f..`,
    `/v1/keys/${'0'.repeat(64)}?model=__proto__`,
    `/v1/keys/${'0'.repeat(64)}?model=random-5&model=random-5`,
    `/v1/keys/${'A'.repeat(64)}?model=random-5`,
    '/v1/models/__proto__/manifest',
    '/v1/models/constructor/manifest',
    '/v1/models/..%2f..%2fmodels/manifest',
    `/v1/models/${'x'.repeat(10_000)}/manifest`,
    '/docs/static/../../../../package.json',
    '/docs/static/..%2f..%2f..%2f..%2fpackage.json',
    '/docs/static/%2e%2e/%2e%2e/%2e%2e/package.json',
    '//etc/passwd',
    'http://evil.example/v1/keys',
    '*',
    `/${'a/'.repeat(7000)}`,
    `/?${'x'.repeat(100_000)}`,
  ];

  test.each(PATHS.map((path) => [path.slice(0, 60), path]))(
    'when %s is asked for, then nothing is there',
    async (_, path) => {
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const talk = open();
        talk.socket.write(
          rawRequest(method, path, { Connection: 'close', ...(method === 'PUT' && { 'Content-Length': 0 }) }),
        );
        const text = await ended(talk);
        const found = statuses(text);
        // Who sends 100 kB of headers may be cut off before it reads why.
        if (path.length < 50_000) expect(found, method).toHaveLength(1);
        for (const status of found) expect([400, 403, 404, 405, 414, 415, 431]).toContain(status);
        expect(text).not.toMatch(/root:|"name": "blindbeat"|node_modules/);
      }
    },
  );
});

describe('mutated requests', () => {
  /** MUTATIONS=10000 npx vitest run test/service/http/hostile.test.ts */
  const COUNT = Number(process.env.MUTATIONS ?? 3000);
  const AT_ONCE = 16;
  const GIVES_UP_MS = 100;

  test('when thousands come, then each is answered or ended, none with 500, and nothing grows', {
    timeout: 300_000,
  }, async () => {
    const random = new Random(18);
    const pick = (count: number) => Math.floor(random.next() * count);
    const zeros = '0'.repeat(64);
    const seeds = [
      rawRequest('GET', '/v1/models', { Accept: 'application/json', Connection: 'close' }),
      rawRequest('GET', `/v1/models/${MODEL.name}/manifest`, { 'If-None-Match': '"x"' }),
      rawRequest('GET', target(keysAt(service, person.hash)), {
        Authorization: `Bearer bb_${'0'.repeat(16)}_${'A'.repeat(43)}`,
      }),
      rawRequest('DELETE', `/v1/keys/${zeros}`, {}),
      rawRequest(
        'PUT',
        target(keysAt(service, zeros)),
        { ...OCTETS, 'Content-Length': 9000, 'Content-Range': `bytes 0-8999/${person.keys.length}` },
        person.keys.subarray(0, 9000),
      ),
      rawRequest(
        'POST',
        target(inferAt(service, person.hash)),
        { ...OCTETS, 'Content-Length': person.request.length },
        person.request,
      ),
      rawRequest(
        'POST',
        target(inferAt(service, person.hash)),
        { ...OCTETS, 'Transfer-Encoding': 'chunked' },
        Buffer.from('3\r\nabc\r\n0\r\n\r\n'),
      ),
      rawRequest('GET', '/docs/static/index.html', { Range: 'bytes=0-5' }),
      rawRequest('GET', '/metrics', { 'Accept-Encoding': 'gzip' }),
    ];
    const words = [
      '\r\n',
      '\0',
      '%00',
      '../',
      'Content-Length: 5\r\n',
      'Transfer-Encoding: chunked\r\n',
      'Expect: 100-continue\r\n',
      'Upgrade: websocket\r\nConnection: Upgrade\r\n',
      '99999999999999999999',
      '-1',
      '\u00ff',
      'HTTP/1.0',
      'HTTP/2.0',
      'HEAD ',
      'CONNECT ',
      'bytes 5-1/2',
    ];
    const mutate = (bytes: Buffer): Buffer => {
      const head = Math.min(bytes.length, bytes.indexOf('\r\n\r\n') + 40);
      let out = bytes;
      for (let edits = 1 + pick(3); edits > 0; edits--) {
        const at = pick(Math.min(head, out.length));
        const how = pick(6);
        if (how === 0) out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + pick(8))]);
        else if (how === 1)
          out = Buffer.concat([
            out.subarray(0, at),
            Buffer.from(words[pick(words.length)], 'latin1'),
            out.subarray(at),
          ]);
        else if (how === 2)
          out = Buffer.concat([out.subarray(0, at), out.subarray(at, at + pick(60)), out.subarray(at)]);
        else if (how === 3) out = out.subarray(0, at);
        else {
          out = Buffer.from(out);
          if (at < out.length) out[at] = how === 4 ? pick(256) : out[at] ^ (1 << pick(8));
        }
      }
      return out;
    };
    const counts = new Map<number, number>();
    const one = async () => {
      const bytes = mutate(seeds[pick(seeds.length)]);
      const talk = open();
      talk.socket.write(bytes);
      // Who waits for more than will come is told the end after a while; at once it would be the end of all work.
      await Promise.race([talk.ended, once(talk.socket, 'data').catch(() => {}), wait(GIVES_UP_MS)]);
      talk.socket.end();
      const found = statuses(await ended(talk));
      for (const status of found) counts.set(status, (counts.get(status) ?? 0) + 1);
      for (const status of found)
        expect(status < 500, `${status} for ${bytes.subarray(0, 400).toString('latin1')}`).toBe(true);
    };
    const run = async (count: number) => {
      let left = count;
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          while (left-- > 0) await one();
        }),
      );
    };
    await run(500);
    const before = service.keys.load;
    await run(COUNT - 500);
    expect(service.keys.load.files).toBeLessThanOrEqual(before.files + 8);
    for (const status of [200, 400, 404]) expect(counts.get(status), `${status}`).toBeGreaterThan(20);
    expect(service.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
    await expectUnharmed();
  });
});
