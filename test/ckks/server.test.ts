import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { BACKENDS, type BackendName } from '../../src/ckks/evaluator/backend.ts';
import { WasmMemory } from '../../src/ckks/evaluator/fast/kernels/memory.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { SecretKey } from '../../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, Server } from '../../src/ckks/server.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { BlindbeatError, type ErrorCode } from '../../src/errors.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 256, channels: [4], kernel: 3, seed: 5 });
const other = randomModel({ samples: 256, channels: [8], kernel: 3, seed: 6 });
const segment = Float32Array.from({ length: 256 }, (_, i) => 0.7 * Math.sin(i / 5));

/** A server and one client of it, whose request must be answered rightly whatever others do. */
class Pair implements Disposable {
  readonly server: Server;
  readonly client: Client;
  readonly secret: SecretKey;
  readonly file: Uint8Array;
  readonly request: Uint8Array;
  readonly #model: Model;

  private constructor(model: Model, server: Server, client: Client) {
    this.#model = model;
    this.server = server;
    this.client = client;
    this.secret = client.createSecretKey();
    this.file = concat(client.evaluationKeys(this.secret));
    this.request = client.encrypt(this.secret, segment);
  }

  static async open(model: Model, backend: BackendName): Promise<Pair> {
    const server = await Server.open(compile(model, { backend }), { threads: 2 });
    return new Pair(model, server, await Client.open(server.manifest));
  }

  /** The largest difference between decrypted and clear scores. */
  error(keys: EvaluationKeys): number {
    const { scores } = this.client.decrypt(
      this.secret,
      this.server.evaluate(this.request, keys),
      requestDigest(this.request),
    );
    return Math.max(...scores.map((s, c) => Math.abs(s - forward(this.#model, segment).scores[c])));
  }

  /** What is in use of memory that is freed by hand. */
  get use(): number[] {
    return [this.server.memoryInUse, this.server.liveHandles];
  }

  [Symbol.dispose](): void {
    this.server[Symbol.dispose]();
    this.client[Symbol.dispose]();
  }
}

function refused(code: ErrorCode, words: RegExp) {
  return expect.objectContaining({ code, message: expect.stringMatching(words) });
}

describe.each(BACKENDS)('keys and servers, backend %s', (backend) => {
  let own: Pair;
  let sibling: Pair;
  let stranger: Pair;
  let keys: EvaluationKeys;

  beforeAll(async () => {
    own = await Pair.open(model, backend);
    sibling = await Pair.open(model, backend);
    stranger = await Pair.open(other, backend);
    keys = own.server.loadKeys(own.file);
    own.server.evaluate(own.request, keys); // what is made once, is made
  });
  afterAll(() => {
    for (const pair of [own, sibling, stranger]) pair[Symbol.dispose]();
  });

  const attacks: [string, () => EvaluationKeys][] = [
    ['another server of this plan loaded them', () => sibling.server.loadKeys(own.file)],
    [
      'another server of another plan loaded them',
      () => ({ ...stranger.server.loadKeys(stranger.file), keyId: keys.keyId }),
    ],
    [
      'they are disposed',
      () => {
        const gone = own.server.loadKeys(own.file);
        gone[Symbol.dispose]();
        gone[Symbol.dispose]();
        return gone;
      },
    ],
    ['they are made up', () => ({ keyId: keys.keyId, bytes: keys.bytes, [Symbol.dispose]() {} })],
  ];
  test.each(attacks)('when %s, then keys are refused and the next good request is right', (_, attack) => {
    const before = own.use;
    const foreign = attack();
    expect(() => own.server.evaluate(own.request, foreign)).toThrow(
      refused('MISMATCH', /not loaded in this/),
    );
    foreign[Symbol.dispose]();
    expect(own.use).toEqual(before);
    expect(own.error(keys)).toBeLessThan(1e-2);
    expect(own.use).toEqual(before);
  });

  test('when a server is disposed before its keys, then all is freed once and both are refused', async () => {
    const pair = await Pair.open(model, backend);
    const loaded = pair.server.loadKeys(pair.file);
    pair.server[Symbol.dispose]();
    pair.server[Symbol.dispose]();
    expect(pair.server.liveHandles).toBe(0);
    loaded[Symbol.dispose]();
    loaded[Symbol.dispose]();
    expect(pair.server.liveHandles).toBe(0);
    expect(() => pair.server.evaluate(pair.request, loaded)).toThrow(refused('USAGE', /disposed/));
    expect(() => pair.server.loadKeys(pair.file)).toThrow(refused('USAGE', /disposed/));
    expect(() => own.server.evaluate(own.request, loaded)).toThrow(refused('MISMATCH', /disposed/));
    expect(own.error(keys)).toBeLessThan(1e-2);
    pair.client[Symbol.dispose]();
  });

  test('when a callback calls the server again, then that is refused and the call goes on', () => {
    const before = own.use;
    const errors: unknown[] = [];
    const attempt = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        errors.push(error);
      }
    };
    const again = own.server.loadKeys(own.file, {
      onKey: () => attempt(() => own.server.evaluate(own.request, keys)),
    });
    const reply = own.server.evaluate(own.request, again, () => {
      attempt(() => own.server.evaluate(own.request, keys));
      attempt(() => own.server.loadKeys(own.file));
      again[Symbol.dispose](); // while they are used: freed when the evaluation is over
    });
    expect(errors.length).toBeGreaterThan(4);
    for (const error of errors) expect(error).toEqual(refused('USAGE', /in the middle of another call/));
    expect(own.client.decrypt(own.secret, reply, requestDigest(own.request)).scores).toHaveLength(4);
    expect(own.use).toEqual(before);
    expect(own.error(keys)).toBeLessThan(1e-2);
  });

  test('when a server is disposed by a callback, then it answers first', async () => {
    const pair = await Pair.open(model, backend);
    const loaded = pair.server.loadKeys(pair.file);
    const reply = pair.server.evaluate(pair.request, loaded, () => pair.server[Symbol.dispose]());
    expect(pair.client.decrypt(pair.secret, reply, requestDigest(pair.request)).scores).toHaveLength(4);
    expect(pair.server.liveHandles).toBe(0);
    expect(() => pair.error(loaded)).toThrow(refused('USAGE', /disposed/));
    pair.client[Symbol.dispose]();
  });

  test('when a callback throws, then that is thrown, and nothing is left of the evaluation', () => {
    const before = own.use;
    for (const at of [0, 1, 2]) {
      const reason = new Error('enough');
      const giveUp = (_: unknown, index: number) => {
        if (index === at) throw reason;
      };
      expect(() => own.server.evaluate(own.request, keys, giveUp)).toThrow(reason);
      expect(own.use).toEqual(before);
    }
    expect(own.error(keys)).toBeLessThan(1e-2);
  });
});

describe.each(['hybrid', 'per-prime'] as const)('memory that runs out, %s keys', (keySwitching) => {
  /** Lets `count` allocations succeed; gives how many were asked for. */
  function starve(count: number): Disposable & { asked(): number } {
    const { allocate } = WasmMemory.prototype;
    let asked = 0;
    WasmMemory.prototype.allocate = function (bytes) {
      if (++asked > count) throw new BlindbeatError('ENVIRONMENT', 'no room');
      return allocate.call(this, bytes);
    };
    return {
      asked: () => asked,
      [Symbol.dispose]() {
        WasmMemory.prototype.allocate = allocate;
      },
    };
  }

  function allocationsOf(call: () => void): number {
    using counted = starve(Number.POSITIVE_INFINITY);
    call();
    return counted.asked();
  }

  test('when it does at any moment, then the call is refused, nothing is lost and all works on', async () => {
    const wide = randomModel({ samples: 256, channels: [4, 8], helix: 2, kernel: 3, seed: 7 });
    const server = await Server.open(compile(wide, { keySwitching }), { threads: 2 });
    using client = await Client.open(server.manifest);
    const secret = client.createSecretKey();
    const file = concat(client.evaluationKeys(secret));
    const request = client.encrypt(secret, segment);
    using keys = server.loadKeys(file);
    const error = () => {
      const { scores } = client.decrypt(secret, server.evaluate(request, keys), requestDigest(request));
      return Math.max(...scores.map((s, c) => Math.abs(s - forward(wide, segment).scores[c])));
    };
    expect(error()).toBeLessThan(1e-2);
    const use = server.memoryInUse;
    const calls = [
      () => {
        using _keys = server.loadKeys(file);
      },
      () => {
        server.evaluate(request, keys);
      },
    ];
    for (const call of calls) {
      const all = allocationsOf(call);
      expect(all).toBeGreaterThan(15);
      const steps = Math.max(1, Math.floor(all / 12));
      for (let count = 0; count < all; count += steps) {
        {
          using _starved = starve(count);
          expect(call).toThrow(refused('ENVIRONMENT', /no room/));
        }
        expect(server.memoryInUse).toBe(use);
        if (count % (4 * steps) === 0) expect(error()).toBeLessThan(1e-2);
      }
      expect(error()).toBeLessThan(1e-2);
      expect(server.memoryInUse).toBe(use);
    }
    server[Symbol.dispose]();
  });

  test('when it does while tables are made for the first time, then none of them is left half made', async () => {
    const compiled = compile(model, { keySwitching });
    const server = await Server.open(compiled, { threads: 1 });
    using client = await Client.open(server.manifest);
    const secret = client.createSecretKey();
    const file = concat(client.evaluationKeys(secret));
    const request = client.encrypt(secret, segment);
    for (let count = 0, done = false; !done; count += 5) {
      using _starved = starve(count);
      try {
        using keys = server.loadKeys(file);
        server.evaluate(request, keys);
        done = true;
      } catch (error) {
        expect(error).toEqual(refused('ENVIRONMENT', /no room/));
      }
    }
    const use = server.memoryInUse;
    using fresh = await Server.open(compiled, { threads: 1 });
    {
      using keys = fresh.loadKeys(file);
      fresh.evaluate(request, keys);
    }
    expect(use).toBe(fresh.memoryInUse);
    server[Symbol.dispose]();
  });
});
