import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { type EvaluationKeys, Server } from '../../src/ckks/server.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import { Random } from '../../src/ecg/random.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { KeyCache, type KeyLease } from '../../src/service/key-cache.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 });

function refused(code: ErrorCode, words: RegExp) {
  return expect.objectContaining({ code, message: expect.stringMatching(words) });
}

/** A client's files. */
interface Files {
  keyId: string;
  keys: Uint8Array;
  request: Uint8Array;
}

/** Room for three clients, and five of them. */
describe('a cache of keys', () => {
  let server: Server;
  const clients: Files[] = [];
  /** The clients whose files were opened, in order. */
  let opened: number[] = [];

  beforeAll(async () => {
    const compiled = compile(model, { keyBudget: 2.2e6 });
    const probe = await Server.open(compiled, { threads: 1 });
    const { keyBytes } = probe;
    probe[Symbol.dispose]();
    server = await Server.open(compiled, { threads: 2, keyMemory: 3 * keyBytes });
    using client = await Client.open(server.manifest);
    for (let c = 0; c < 5; c++) {
      using secret = client.createSecretKey();
      const keys = concat(client.evaluationKeys(secret));
      clients.push({ keyId: secret.keyId, keys, request: client.encrypt(secret, new Float32Array(64)) });
    }
    using keys = server.loadKeys(clients[0].keys);
    server.evaluate(clients[0].request, keys); // what is made once, is made
  });
  afterAll(() => server[Symbol.dispose]());

  /** Opens a client's file, which comes in two pieces. */
  function source(c: number): () => AsyncGenerator<Uint8Array> {
    return async function* () {
      opened.push(c);
      const { keys } = clients[c];
      yield keys.subarray(0, 1000);
      await new Promise(setImmediate);
      yield keys.subarray(1000);
    };
  }

  function lease(cache: KeyCache, c: number): Promise<KeyLease> {
    const { keyId } = clients[c];
    return cache.lease(keyId, source(c), { keyId });
  }

  async function use(cache: KeyCache, ...list: number[]): Promise<void> {
    for (const c of list) {
      using leased = await lease(cache, c);
      server.evaluate(clients[c].request, leased.keys);
    }
  }

  const here = (cache: KeyCache) => cache.names.map((id) => clients.findIndex(({ keyId }) => keyId === id));

  /** Runs with a new cache, of which nothing must be left. */
  async function withCache(run: (cache: KeyCache) => Promise<void>): Promise<void> {
    opened = [];
    const before = [server.memoryInUse, server.liveHandles];
    {
      using cache = new KeyCache(server);
      await run(cache);
    }
    expect([server.memoryInUse, server.liveHandles]).toEqual(before);
  }

  test('when there is no room, then the least recently used is dropped and loaded again', () =>
    withCache(async (cache) => {
      await use(cache, 0, 1, 2, 0, 0, 1);
      expect(opened).toEqual([0, 1, 2]);
      await use(cache, 3);
      expect(here(cache)).toEqual([0, 1, 3]);
      await use(cache, 2);
      expect(here(cache)).toEqual([1, 3, 2]);
      expect(opened).toEqual([0, 1, 2, 3, 2]);
    }));

  test('when keys are in use, then they stay, and when all are then others are refused', () =>
    withCache(async (cache) => {
      const first = await lease(cache, 0);
      await use(cache, 1, 2, 3, 4);
      expect(here(cache)).toEqual([0, 3, 4]);
      const more = [await lease(cache, 3), await lease(cache, 4)];
      await expect(lease(cache, 1)).rejects.toEqual(refused('ENVIRONMENT', /no room/));
      expect(opened).toEqual([0, 1, 2, 3, 4]);
      expect(here(cache)).toEqual([0, 3, 4]);
      server.evaluate(clients[0].request, first.keys);
      first[Symbol.dispose]();
      first[Symbol.dispose]();
      await use(cache, 1);
      expect(here(cache)).toEqual([3, 4, 1]);
      for (const held of more) held[Symbol.dispose]();
    }));

  test('when an evaluation is running, then its keys are not dropped', () =>
    withCache(async (cache) => {
      await use(cache, 1, 2);
      const loads: Promise<KeyLease>[] = [];
      {
        using mine = await lease(cache, 0);
        server.evaluate(clients[0].request, mine.keys, () => {
          if (loads.length === 0) loads.push(lease(cache, 3));
        });
        await expect(loads[0]).rejects.toEqual(refused('USAGE', /in the middle of another call/));
        using _third = await lease(cache, 3);
        expect(here(cache)).toEqual(expect.arrayContaining([0, 3]));
        server.evaluate(clients[0].request, mine.keys);
      }
    }));

  test('when two ask for the same keys at the same time, then these are loaded once', () =>
    withCache(async (cache) => {
      const [a, b, c] = await Promise.all([lease(cache, 0), lease(cache, 1), lease(cache, 0)]);
      expect(opened.sort()).toEqual([0, 1]);
      expect(a.keys).toBe(c.keys);
      a[Symbol.dispose]();
      await use(cache, 2, 3, 4);
      expect(here(cache)).toContain(0); // of two leases one is still out
      for (const held of [b, c]) held[Symbol.dispose]();
    }));

  test('when keys are forgotten, then those that nobody has are freed at once, the others when they come back', () =>
    withCache(async (cache) => {
      await use(cache, 0);
      const [held, free] = [await lease(cache, 1), server.memoryInUse];
      cache.forget(clients[0].keyId);
      expect(free - server.memoryInUse).toBe(server.keyBytes);
      cache.forget(clients[0].keyId);
      cache.forget(clients[1].keyId);
      const loading = lease(cache, 2);
      cache.forget(clients[2].keyId);
      expect(here(cache)).toEqual([]);
      server.evaluate(clients[1].request, held.keys);
      await use(cache, 1); // another copy, beside the one that is out
      expect(opened).toEqual([0, 1, 2, 1]);
      const before = server.memoryInUse;
      held[Symbol.dispose]();
      (await loading)[Symbol.dispose]();
      expect(before - server.memoryInUse).toBe(2 * server.keyBytes);
      expect(here(cache)).toEqual([1]);
    }));

  test('when a forgotten load fails, then keys of the same name that came after it stay', () =>
    withCache(async (cache) => {
      const line = Promise.withResolvers<void>();
      async function* broken() {
        await line.promise;
        yield clients[0].keys.subarray(0, 50_000);
        throw new Error('the line is dead');
      }
      const failing = cache.lease(clients[0].keyId, broken);
      cache.forget(clients[0].keyId);
      await use(cache, 0);
      line.resolve();
      await expect(failing).rejects.toThrow('the line is dead');
      expect(here(cache)).toEqual([0]);
    }));

  test('when a load fails, then all who wait hear of it, and the next one loads anew', () =>
    withCache(async (cache) => {
      const reason = new Error('the line is dead');
      async function* broken() {
        yield clients[0].keys.subarray(0, 50_000);
        throw reason;
      }
      const failed = [cache.lease(clients[0].keyId, broken), cache.lease(clients[0].keyId, source(0))];
      for (const attempt of failed) await expect(attempt).rejects.toBe(reason);
      const { keyId } = clients[0];
      await expect(cache.lease(keyId, source(1), { keyId })).rejects.toEqual(
        refused('MISMATCH', /belongs to key pair/),
      );
      expect(here(cache)).toEqual([]);
      await use(cache, 0);
      expect(here(cache)).toEqual([0]);
    }));

  test('when the cache is disposed, then keys in use are freed when they come back', async () => {
    const before = server.memoryInUse;
    const cache = new KeyCache(server);
    await use(cache, 0);
    const held = await lease(cache, 1);
    const coming = lease(cache, 2);
    cache[Symbol.dispose]();
    const late = await coming;
    server.evaluate(clients[1].request, held.keys);
    held[Symbol.dispose]();
    late[Symbol.dispose]();
    expect(server.memoryInUse).toBe(before);
    await expect(lease(cache, 0)).rejects.toEqual(refused('USAGE', /disposed/));
  });

  test('when a thousand clients come and go, then memory stays as it is', async () => {
    const random = new Random(17);
    const pick = (count: number) => Math.floor(random.next() * count);
    const held: (EvaluationKeys | Disposable)[] = [];
    const grow = vi.spyOn(WebAssembly.Memory.prototype, 'grow');
    const before = server.memoryInUse;
    let loads = 0;
    const comeAndGo = (until: number) => {
      for (; loads < until; loads++) {
        while (!server.hasKeyRoom) held.splice(pick(held.length), 1)[0][Symbol.dispose]();
        const c = pick(clients.length);
        const { keys, request } = clients[c];
        if (pick(2) === 0) {
          const upload = server.receiveKeys();
          upload.write(keys.subarray(0, pick(keys.length)));
          held.push(upload); // it never ends
          continue;
        }
        const loaded = server.loadKeys(keys);
        held.push(loaded);
        if (pick(20) === 0) server.evaluate(request, loaded);
      }
      for (const keys of held.splice(0)) keys[Symbol.dispose]();
    };
    comeAndGo(50);
    grow.mockClear();
    comeAndGo(1000);
    expect(grow).not.toHaveBeenCalled();
    grow.mockRestore();
    expect(server.memoryInUse).toBe(before);
  });
});
