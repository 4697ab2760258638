import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Kernels, loadKernels } from '../../src/ckks/kernels/kernels.ts';
import { WasmMemory } from '../../src/ckks/kernels/memory.ts';
import { factor, Ring } from '../../src/ckks/kernels/ring.ts';
import { WASM } from '../../src/ckks/kernels/wasm.ts';
import { minimalPrimitiveRoot, Ntt } from '../../src/ckks/modular.ts';
import { choosePrimes } from '../../src/ckks/parameters.ts';
import { buildKernels } from '../../tools/kernels.ts';

const SIZES = [32, 64, 8192, 16384];
const BITS = [30, 29, 28, 27, 26, 20];
/** Inputs of transforms are below this, whatever the prime: residues modulo another prime. */
const ANY_RESIDUE = 2 ** 30;

let memory: WasmMemory;
let kernels: Kernels;
beforeAll(async () => {
  memory = new WasmMemory();
  kernels = await loadKernels(memory.memory);
});

/** Values below a bound: random ones, among them the extremes; or, for seed 0, nothing but the largest. */
function values(count: number, bound: number, seed: number): Uint32Array {
  let state = seed;
  return Uint32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const kind = seed === 0 ? 0 : state % 16;
    if (kind === 0) return bound - 1;
    if (kind === 1) return 0;
    return Math.floor((state / 2 ** 32) * bound);
  });
}

/** Puts words into the memory, gives their address. */
function put(words: ArrayLike<number>): number {
  const address = memory.allocate(4 * words.length);
  memory.words.set(words, address / 4);
  return address;
}

function take(address: number, count: number): Uint32Array {
  return memory.words.slice(address / 4, address / 4 + count);
}

const primeOf = (n: number, bits: number) => choosePrimes(n, [bits])[0];

describe('transforms', () => {
  test.each([...SIZES.flatMap((n) => BITS.map((bits) => [n, bits])), [32768, 30], [32768, 28]])(
    'when n = %i and primes have %i bits, then they agree with the plain ones',
    (n, bits) => {
      const q = primeOf(n, bits);
      const ring = new Ring(kernels, memory, n, q);
      const plain = new Ntt(n, q, minimalPrimitiveRoot(n, q));
      const out = memory.allocate(4 * n);
      for (const [seed, offset] of [
        [0, 0],
        [1, 0],
        [0, q - 1],
        [2, 3],
      ]) {
        const x = values(n, ANY_RESIDUE - (q >= 2 ** 28 ? offset : 0), seed);
        const input = put(x);
        const expected = x.map((v) => (v + offset) % q);
        plain.forward(expected);
        const lazy = ring.lazy(ANY_RESIDUE + offset);
        ring.forward(input, out, lazy, offset);
        const values_ = take(out, n);
        expect(values_.reduce((most, v) => Math.max(most, v), 0)).toBeLessThan(lazy.bound);
        const above = q * Math.ceil((lazy.bound - 1) / q); // what divisions add before they subtract
        expect(above + q).toBeLessThanOrEqual(2 ** 32);
        expect(values_.map((v) => v % q)).toEqual(expected);
        const coefficients = put(expected);
        ring.inverse(coefficients, out);
        expect(take(out, n)).toEqual(x.map((v) => (v + offset) % q));
        memory.free(coefficients);
        memory.free(input);
      }
      memory.free(out);
    },
  );
});

describe('products', () => {
  const n = 64;

  test.each(BITS.flatMap((bits) => [0, 7].map((seed) => [bits, seed])))(
    'when primes have %i bits and the seed is %i, then inner products are exact',
    (bits, seed) => {
      const q = primeOf(n, bits);
      const ring = new Ring(kernels, memory, n, q);
      for (const count of [1, 2, 15, 16, 17, 40]) {
        const { bound } = ring.lazy(ANY_RESIDUE);
        const digits = Array.from({ length: count }, (_, j) => values(n, bound, seed && seed + j));
        const key = [0, 1].map((k) =>
          Array.from({ length: count }, (_, j) => values(n, q, seed && seed + 100 * k + j)),
        );
        const stride = count + 1;
        const keyAt = memory.allocate(8 * n * stride);
        for (const k of [0, 1])
          key[k].forEach((residues, j) => {
            const pairs = put(
              Uint32Array.from({ length: 2 * n }, (_, i) => (i % 2 === 0 ? residues[i / 2] : 0)),
            );
            kernels.placeKey(pairs, keyAt + 32 * j + 16 * k, n, stride);
            memory.free(pairs);
          });
        const pointers = put(digits.map((d) => put(d)));
        const out = [0, 1].map(() => memory.allocate(4 * n));
        const group = ring.group(bound);
        expect(group).toBeGreaterThan(0);
        kernels.switchProducts(
          pointers,
          keyAt,
          out[0],
          out[1],
          n,
          count,
          stride,
          group,
          q,
          ring.one,
          ...ring.carry,
        );
        for (const k of [0, 1])
          expect(take(out[k], n)).toEqual(
            Uint32Array.from({ length: n }, (_, i) => sumOfProducts(digits, key[k], i, i, q)),
          );
      }
    },
  );

  test.each(BITS.flatMap((bits) => [0, 7].map((seed) => [bits, seed])))(
    'when primes have %i bits and the seed is %i, then periodic products are exact',
    (bits, seed) => {
      const q = primeOf(n, bits);
      const ring = new Ring(kernels, memory, n, q);
      for (const [count, run] of [
        [1, 64],
        [12, 4],
        [13, 16],
        [100, 8],
      ]) {
        const blocks = n / run;
        const columns = Array.from({ length: count }, (_, k) => values(n, q, seed && seed + k));
        const weights = values(blocks * count * 4, q, seed && seed + 1000);
        const pointers = put(columns.map((c) => put(c) - 64)); // the offset is added
        const out = [0, 1, 2, 3].map(() => memory.allocate(4 * n));
        const [o0, o1, o2, o3] = out;
        kernels.periodicProducts(
          ...([pointers, 64, put(weights), o0, o1, o2, o3, n, run, count, ring.group(q), q] as const),
          ring.one,
          ...ring.carry,
        );
        for (const o of [0, 1, 2, 3]) {
          const of = columns.map((_, k) =>
            Uint32Array.from({ length: blocks }, (_, b) => weights[(b * count + k) * 4 + o]),
          );
          expect(take(out[o], n)).toEqual(
            Uint32Array.from({ length: n }, (_, i) => sumOfProducts(columns, of, i, Math.floor(i / run), q)),
          );
        }
      }
    },
  );

  test.each(BITS)('when primes have %i bits, then squares, sums and quotients are exact', (bits) => {
    const q = primeOf(n, bits);
    const ring = new Ring(kernels, memory, n, q);
    for (const seed of [0, 1, 2]) {
      const [a, b] = [values(n, q, seed), values(n, q, seed && seed + 9)];
      const [pa, pb] = [put(a), put(b)];
      const [x, y, z] = [0, 1, 2].map(() => memory.allocate(4 * n));
      const expectWords = (at: number, f: (i: number) => bigint) =>
        expect(take(at, n)).toEqual(Uint32Array.from({ length: n }, (_, i) => Number(f(i) % BigInt(q))));
      const big = (v: number) => BigInt(v);

      kernels.square(pa, pb, x, y, z, n, q, ring.one, ...ring.carry);
      expectWords(x, (i) => big(a[i]) ** 2n);
      expectWords(y, (i) => 2n * big(a[i]) * big(b[i]));
      expectWords(z, (i) => big(b[i]) ** 2n);

      kernels.add(pa, pb, x, n, q);
      expectWords(x, (i) => big(a[i]) + big(b[i]));

      kernels.addPeriodic(pa, pb, x, n, 16, q);
      expectWords(x, (i) => big(a[i]) + big(b[Math.floor(i / 16)]));

      const c = values(n, 2 ** 32 - q, seed && seed + 5);
      const bound = q * Math.floor((2 ** 32 - q) / q);
      const lazy = put(c.map((v) => Math.min(v, bound)));
      const [f, fs] = factor(q - 2, q);
      const difference = (i: number) => (big(a[i]) + big(bound) - big(Math.min(c[i], bound))) * big(f);
      kernels.subtractMultiply(pa, lazy, x, n, q, bound, f, fs);
      expectWords(x, difference);
      kernels.subtractMultiplyAdd(pa, lazy, pb, x, n, q, bound, f, fs);
      expectWords(x, (i) => big(b[i]) + difference(i));

      kernels.shift(pa, n, q >> 1, q);
      expectWords(pa, (i) => big(a[i]) + big(q >> 1));

      const table = Uint32Array.from({ length: n }, (_, i) => (5 * i + 3) % n);
      kernels.permute(pb, x, n, put(table));
      expectWords(x, (i) => big(b[table[i]]));
    }
  });
});

function sumOfProducts(a: Uint32Array[], b: Uint32Array[], i: number, j: number, q: number): number {
  let sum = 0n;
  for (let k = 0; k < a.length; k++) sum += BigInt(a[k][i]) * BigInt(b[k][j]);
  return Number(sum % BigInt(q));
}

test('when the kernels are compiled again, then the committed module is the same', async () => {
  expect(await buildKernels()).toContain(WASM);
});

test('when memory is taken and given back in any order, then ranges never overlap and all of it comes back', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300_000 }), { maxLength: 60 }), (sizes) => {
      const fresh = new WasmMemory();
      const live = new Map<number, number>();
      sizes.forEach((size, i) => {
        const at = fresh.allocate(size);
        for (const [other, length] of live) expect(at + size <= other || other + length <= at).toBe(true);
        live.set(at, size);
        if (i % 3 === 1) {
          const [first] = live.keys();
          fresh.free(first);
          live.delete(first);
        }
      });
      for (const at of live.keys()) fresh.free(at);
      expect(fresh.used).toBe(0);
      const bytes = fresh.memory.buffer.byteLength;
      fresh.allocate(bytes - 64);
      expect(fresh.memory.buffer.byteLength).toBe(bytes);
    }),
    { numRuns: 30 },
  );
});
