import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import initialize from 'node-seal/allows';
import { beforeAll, describe, expect, test } from 'vitest';
import { choosePrimes } from '../../../src/ckks/ring/primes.ts';
import { BODY, withFastDivision } from '../../../src/ckks/seal/division-patch.ts';
import { type ClientModule, loadSeal, Seal } from '../../../src/ckks/seal/seal.ts';
import { buildDivision } from '../../../tools/division.ts';

const WASM = new Uint8Array(
  readFileSync(new URL('seal_allows.wasm', import.meta.resolve('node-seal/allows'))),
);
const WORD = 2n ** 64n;

describe('the division', () => {
  let built: Awaited<ReturnType<typeof buildDivision>>;
  beforeAll(async () => {
    built = await buildDivision();
  });

  test('when it is compiled again, then the committed body is the same', () => {
    expect(Buffer.from(built.body).toString('base64')).toBe(BODY);
  });

  test('when any numbers are divided, then quotient and remainder are right', async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { instance } = await WebAssembly.instantiate(built.module, { env: { memory } });
    const divide = instance.exports.divide as (n: number, denominator: bigint, quotient: number) => void;
    const words = new BigUint64Array(memory.buffer);
    const word = fc.oneof(
      fc.bigInt({ min: 0n, max: WORD - 1n }),
      fc.integer({ min: 0, max: 63 }).chain((bits) => fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) })),
      fc.constantFrom(WORD - 1n, WORD / 2n, WORD / 2n - 1n, 2n ** 32n, 2n ** 32n - 1n, 2n ** 32n + 1n),
    );
    fc.assert(
      fc.property(word, word, word, (high, low, d) => {
        fc.pre(d !== 0n);
        words.set([low, high, 7n, 7n]);
        divide(0, d, 16);
        const numerator = high * WORD + low;
        const [r, rHigh, q, qHigh] = words;
        expect([q + qHigh * WORD, r + rHigh * WORD]).toEqual([numerator / d, numerator % d]);
      }),
      { numRuns: 20_000 },
    );
  });
});

describe('node-seal with the division', () => {
  test('when it is the build that is known, then one function changes and the module stays valid', () => {
    const changed = withFastDivision(WASM)!;
    expect(changed).not.toBeNull(); // another node-seal: look whether it still divides bit by bit
    expect(WebAssembly.validate(changed)).toBe(true);
    expect(changed.length).toBe(WASM.length);
    const at = [...changed.keys()].filter((i) => changed[i] !== WASM[i]);
    expect(at.length).toBeGreaterThan(0);
    expect(at.at(-1)! - at[0]).toBeLessThan(923);
  });

  test('when it is another build, then it is left alone', () => {
    expect(withFastDivision(WASM.map((b, i) => (i === 1000 ? b ^ 1 : b)))).toBeNull();
    expect(withFastDivision(new Uint8Array())).toBeNull();
  });

  test('when a vector is encoded, then it is bit for bit what untouched SEAL encodes', async () => {
    const n = 4096;
    const primes = choosePrimes(n, [30, 27, 26]);
    const encode = (seal: Seal<ClientModule>): Uint8Array =>
      seal.using(seal.context(n, primes, true), (context) =>
        seal.using(new seal.module.CKKSEncoder(context), (encoder) =>
          seal.using(new seal.module.Plaintext(), (plain) => {
            encoder.encode(
              Float64Array.from({ length: n / 2 }, (_, i) => Math.sin(i * i)),
              2 ** 40, // coefficients of more than one word
              plain,
            );
            return plain.saveToArray(seal.module.ComprModeType.none);
          }),
        ),
      );
    const untouched = new Seal<ClientModule>(await initialize());
    const [seal, bytes] = [await loadSeal<ClientModule>(), encode(untouched)];
    expect(seal.module).not.toBe(untouched.module);
    expect(Buffer.compare(encode(seal), bytes)).toBe(0);
  });
});
