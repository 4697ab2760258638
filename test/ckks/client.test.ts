import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { packedSize } from '../../src/ckks/ring/bit-packing.ts';
import { allPrimes } from '../../src/ckks/ring/parameters.ts';
import { MAX_PRIME_BITS } from '../../src/ckks/ring/primes.ts';
import {
  readCiphertext,
  readSwitchingKey,
  SEED_SIZE,
  writeCiphertext,
  writeSwitchingKey,
} from '../../src/ckks/seal/bytes.ts';
import type { SecretKey } from '../../src/ckks/secret/secret-key.ts';
import { randomModel } from '../helpers/random-model.ts';

describe('a client', () => {
  const planned = compile(randomModel({ samples: 2048, channels: [4] })).plan;
  let client: Client;
  let secret: SecretKey;

  beforeAll(async () => {
    client = await Client.open(planned.manifest);
    secret = client.createSecretKey();
  });
  afterAll(() => client[Symbol.dispose]());

  test('when evaluation keys are made, then they come in pieces of a digit', () => {
    let bytes = 0;
    let largest = 0;
    for (const piece of client.evaluationKeys(secret)) {
      bytes += piece.length;
      largest = Math.max(largest, piece.length);
    }
    expect(bytes).toBe(planned.bytes.evaluationKeys);
    const { parameters } = planned.manifest;
    const { n } = parameters;
    expect(largest).toBeLessThanOrEqual(
      allPrimes(parameters).length * packedSize(n, MAX_PRIME_BITS) + SEED_SIZE,
    );
  });

  test('when the reader of evaluation keys stops half way, then no SEAL object is left alive', () => {
    const before = client.liveHandles;
    let pieces = 0;
    for (const piece of client.evaluationKeys(secret)) {
      expect(piece.length).toBeGreaterThan(0);
      if (++pieces === 5) break;
    }
    expect(client.liveHandles).toBe(before);
  });

  test('when the progress callback throws, then no SEAL object is left alive', () => {
    const before = client.liveHandles;
    const making = client.evaluationKeys(secret, () => {
      throw new Error('enough');
    });
    expect(() => [...making]).toThrow('enough');
    expect(client.liveHandles).toBe(before);
  });

  test('when SEAL refuses a secret key, then the client says so and no SEAL object is left alive', () => {
    client.encrypt(secret, new Float32Array(2048)); // the contexts that are made stay
    const before = client.liveHandles;
    using wrong = client.createSecretKey();
    wrong.residuesFor = () => new Uint32Array(secret.residuesFor(planned.manifest).length).fill(0xffffffff);
    const refused = [
      () => client.encrypt(wrong, new Float32Array(2048)),
      () => client.evaluationKeys(wrong).next(),
    ];
    for (const use of refused) expect(use).toThrow(/the secret key: SEAL says/);
    expect(client.liveHandles).toBe(before);
  });
});

describe("SEAL's bytes", () => {
  const raw = (first: number) => ({
    parmsId: Uint8Array.from({ length: 32 }, (_, i) => i + first),
    polynomials: 2,
    n: 4,
    limbs: 2,
    scale: 2 ** 20,
    ntt: true,
    words: Uint32Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? first + i : 0)),
    seed: Uint8Array.from({ length: 64 }, (_, i) => i ^ first),
  });

  test.each([0, 1, 2, 3, 5])(
    'when a ciphertext starts %d bytes into its buffer, then it is read as written',
    (offset) => {
      const written = writeCiphertext(raw(7));
      const bytes = new Uint8Array(offset + written.length).subarray(offset);
      bytes.set(written);
      const { end, ...read } = readCiphertext(bytes);
      expect(read).toEqual(raw(7));
      expect(end).toBe(written.length);
    },
  );

  test('when a key of several digits is read, then all are as written and share its memory', () => {
    const digits = [raw(1), raw(2), raw(3)];
    const bytes = writeSwitchingKey(new Uint8Array(32), 5, 2, digits.map(writeCiphertext));
    const read = [...readSwitchingKey(bytes)];
    expect(read).toMatchObject(digits);
    for (const { words } of read) expect(words.buffer).toBe(bytes.buffer);
  });
});
