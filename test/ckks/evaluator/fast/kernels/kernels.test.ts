import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { KERNEL_KINDS, type KernelKind } from '../../../../../src/ckks/evaluator/executor.ts';
import {
  availableKernels,
  KERNELS,
  loadKernels,
  type Module,
} from '../../../../../src/ckks/evaluator/fast/kernels/kernels.ts';
import { WasmMemory } from '../../../../../src/ckks/evaluator/fast/kernels/memory.ts';
import { factor, Ring } from '../../../../../src/ckks/evaluator/fast/kernels/ring.ts';
import { Threads } from '../../../../../src/ckks/evaluator/fast/kernels/threads.ts';
import { WASM } from '../../../../../src/ckks/evaluator/fast/kernels/wasm.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../../../src/ckks/ring/ntt.ts';
import { choosePrimes } from '../../../../../src/ckks/ring/primes.ts';
import { buildKernels } from '../../../../../tools/kernels.ts';
import { buildNative, PREBUILT } from '../../../../../tools/native.ts';

const SIZES = [32, 64, 8192, 16384];
const BITS = [30, 29, 28, 27, 26, 20];
/** Inputs of transforms are below this, whatever the prime: residues modulo another prime. */
const ANY_RESIDUE = 2 ** 30;

const AVAILABLE = availableKernels(SIZES.at(-1)!);

let memory: WasmMemory;
let kernels: Module;
let lanes: number;

/** Tests of every kind of kernels; skipped where this machine has none of a kind. */
function describeEach(title: string, tests: (kind: KernelKind) => void): void {
  describe.each(KERNEL_KINDS)(`${title} of %s kernels`, (kind) => {
    describe.skipIf(!AVAILABLE.includes(kind))('here', () => {
      beforeAll(async () => {
        memory = new WasmMemory();
        ({ module: kernels, lanes } = await loadKernels(memory.memory, kind));
      });
      tests(kind);
    });
  });
}

/** Every call noted down and carried out by two threads. */
async function notedDown(kind: KernelKind): Promise<Module & Disposable> {
  const threads = await Threads.open(memory, 2, 64, kind);
  const noted = KERNELS.map((name) => [
    name,
    (...words: number[]) => {
      threads.task();
      (threads.kernels[name] as (...words: number[]) => void)(...words);
      threads.run();
    },
  ]);
  return { ...kernels, ...Object.fromEntries(noted), [Symbol.dispose]: () => threads[Symbol.dispose]() };
}

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

describeEach('transforms', (kind) => {
  const sizes = SIZES.filter((n) => kind === 'wasm' || n >= 1024);
  test.each([...sizes.flatMap((n) => BITS.map((bits) => [n, bits])), [32768, 30], [32768, 28]])(
    'when n = %i and primes have %i bits, then they agree with the plain ones',
    (n, bits) => {
      const q = primeOf(n, bits);
      const ring = new Ring(kernels, lanes, memory, n, q);
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

describeEach('products', (kind) =>
  describe.each(['called', 'noted down'])('%s', (how) => {
    const n = 64;
    let direct: Module;
    let noted: Module & Disposable;
    beforeAll(async () => {
      direct = kernels;
      noted = await notedDown(kind);
      if (how === 'noted down') kernels = noted;
    });
    afterAll(() => {
      kernels = direct;
      noted[Symbol.dispose]();
    });

    test("when transforms are made, then they are each other's inverses", () => {
      const n = kind === 'wasm' ? 64 : 1024;
      for (const bits of [30, 27]) {
        const ring = new Ring(kernels, lanes, memory, n, primeOf(n, bits));
        const x = values(n, ring.q, 4);
        const [source, out] = [put(x), memory.allocate(4 * n)];
        ring.forward(source, out, ring.lazy(ring.q));
        memory.words.set(
          take(out, n).map((v) => v % ring.q),
          out / 4,
        );
        ring.inverse(out, out);
        expect(take(out, n)).toEqual(x);
      }
    });

    test.each(BITS.flatMap((bits) => [0, 7].map((seed) => [bits, seed])))(
      'when primes have %i bits and the seed is %i, then inner products are exact',
      (bits, seed) => {
        const q = primeOf(n, bits);
        const ring = new Ring(kernels, lanes, memory, n, q);
        for (const count of [1, 2, 15, 16, 17, 40]) {
          const { bound } = ring.lazy(ANY_RESIDUE);
          // Of two ciphertexts: the first digits, and rows of the others.
          const digits = [0, 50].map((s) =>
            Array.from({ length: count }, (_, j) => values(n, bound, seed && seed + s + j)),
          );
          const key = [0, 1].map((k) =>
            Array.from({ length: count }, (_, j) => values(n, q, seed && seed + 100 * k + j)),
          );
          const start = [0, 1].map((k) => values(n, q, seed && seed + 7 * k));
          const stride = count + 1;
          const keyAt = memory.allocate(8 * n * stride);
          for (const k of [0, 1])
            key[k].forEach((residues, j) => {
              const address = put(residues);
              kernels.placeKey(address, keyAt + 4 * lanes * (2 * j + k), n, stride, 0);
              memory.free(address);
            });
          const interleaved = (v: Uint32Array[]) =>
            Uint32Array.from(
              { length: 2 * n },
              (_, i) => v[Math.floor(i / lanes) % 2][lanes * Math.floor(i / (2 * lanes)) + (i % lanes)],
            );
          const startAt = put(interleaved(start));
          const [first, rest] = [
            digits.map(([first]) => put(first)),
            digits.map((polynomials) => put(polynomials.slice(1).flatMap((d) => [...d]))),
          ];
          const out = [0, 1, 2, 3].map(() => memory.allocate(4 * n));
          const group = ring.group(bound);
          expect(group).toBeGreaterThan(1);
          for (const [two, starts] of [
            [true, true],
            [true, false],
            [false, true],
            [false, false],
          ]) {
            kernels.switchProducts(
              first[0],
              rest[0],
              two ? first[1] : 0,
              two ? rest[1] : 0,
              4 * n,
              keyAt,
              starts ? startAt : 0,
              ...(out as [number, number, number, number]),
              n,
              count,
              stride,
              group,
              q,
              ring.one,
              ...ring.carry,
            );
            for (const c of two ? [0, 1] : [0])
              for (const k of [0, 1])
                expect(take(out[2 * c + k], n)).toEqual(
                  Uint32Array.from(
                    { length: n },
                    (_, i) => (sumOfProducts(digits[c], key[k], i, i, q) + (starts ? start[k][i] : 0)) % q,
                  ),
                );
          }
          const factors = values(count, q, seed && seed + 3);
          const f = values(n, bound, seed && seed + 4);
          kernels.switchStart(
            ...([
              keyAt,
              put(factors),
              put(f),
              startAt,
              n,
              count,
              stride,
              ring.group(q),
              q,
              ring.one,
            ] as const),
            ...ring.carry,
          );
          const constants = Array.from(factors, (v) => new Uint32Array(n).fill(v));
          const negated = key.map((polynomial) =>
            Uint32Array.from({ length: n }, (_, i) => {
              const product = BigInt(sumOfProducts(constants, polynomial, i, i, q)) * BigInt(f[i]);
              return Number((BigInt(q) - (product % BigInt(q))) % BigInt(q));
            }),
          );
          expect(take(startAt, 2 * n)).toEqual(interleaved(negated));
        }
      },
    );

    test.each(BITS.flatMap((bits) => [0, 7].map((seed) => [bits, seed])))(
      'when primes have %i bits and the seed is %i, then periodic products are exact',
      (bits, seed) => {
        const q = primeOf(n, bits);
        const ring = new Ring(kernels, lanes, memory, n, q);
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
            const rowWeights = columns.map((_, k) =>
              Uint32Array.from({ length: blocks }, (_, b) => weights[(b * count + k) * 4 + o]),
            );
            expect(take(out[o], n)).toEqual(
              Uint32Array.from({ length: n }, (_, i) =>
                sumOfProducts(columns, rowWeights, i, Math.floor(i / run), q),
              ),
            );
          }
        }
      },
    );

    test.each(BITS)('when primes have %i bits, then squares, sums and quotients are exact', (bits) => {
      const q = primeOf(n, bits);
      const ring = new Ring(kernels, lanes, memory, n, q);
      for (const seed of [0, 1, 2]) {
        const [a, b] = [values(n, q, seed), values(n, q, seed && seed + 9)];
        const [pa, pb] = [put(a), put(b)];
        const [x, y, z] = [0, 1, 2].map(() => memory.allocate(4 * n));
        const expectWords = (address: number, f: (i: number) => bigint) =>
          expect(take(address, n)).toEqual(
            Uint32Array.from({ length: n }, (_, i) => Number(f(i) % BigInt(q))),
          );
        const big = (v: number) => BigInt(v);

        kernels.square(pa, pb, x, y, z, n, q, ring.one, ...ring.carry);
        expectWords(x, (i) => big(a[i]) ** 2n);
        expectWords(y, (i) => 2n * big(a[i]) * big(b[i]));
        expectWords(z, (i) => big(b[i]) ** 2n);

        const [d, e] = [values(n, q, seed && seed + 21), values(n, q, seed && seed + 33)];
        kernels.multiplyPairs(pa, pb, put(d), put(e), x, y, z, n, q, ring.one, ...ring.carry);
        expectWords(x, (i) => big(a[i]) * big(d[i]));
        expectWords(y, (i) => big(a[i]) * big(e[i]) + big(b[i]) * big(d[i]));
        expectWords(z, (i) => big(b[i]) * big(e[i]));

        kernels.add(pa, pb, x, n, q);
        expectWords(x, (i) => big(a[i]) + big(b[i]));

        kernels.addPeriodic(pa, pb, x, n, 16, q);
        expectWords(x, (i) => big(a[i]) + big(b[Math.floor(i / 16)]));

        const c = values(n, 2 ** 32 - q, seed && seed + 5);
        const bound = q * Math.floor((2 ** 32 - q) / q);
        const lazy = put(c.map((v) => Math.min(v, bound)));
        const [f, fs] = factor(q - 2, q);
        const difference = (i: number) => (big(a[i]) + big(bound) - big(Math.min(c[i], bound))) * big(f);
        kernels.modDown(pa, lazy, 0, 0, x, n, q, bound, f, fs);
        expectWords(x, difference);
        kernels.modDown(pa, lazy, pb, 0, x, n, q, bound, f, fs);
        expectWords(x, (i) => big(b[i]) + difference(i));
        // Groups go to a third of the way on, some of them reversed.
        const group = (i: number) => (3 * Math.floor(i / lanes) + 1) % (n / lanes);
        const lane = (i: number) => (Math.floor(i / lanes) % 3 === 0 ? lanes - 1 - (i % lanes) : i % lanes);
        const moved = (i: number) => lanes * group(i) + lane(i);
        const source = Uint32Array.from({ length: n }, () => 0);
        for (let i = 0; i < n; i++) source[moved(i)] = i;
        const straight = Array.from({ length: lanes }, (_, k) =>
          lanes === 4 ? k * 0x04040404 + 0x03020100 : k,
        );
        const table = put([
          ...straight,
          ...straight.toReversed(),
          ...new Array<number>(lanes * (lanes - 2)).fill(0),
          ...Array.from(
            { length: n / lanes },
            (_, g) => 4 * lanes * group(lanes * g) + (g % 3 === 0 ? 1 : 0),
          ),
        ]);
        kernels.modDown(pa, lazy, 0, table, x, n, q, bound, f, fs);
        expectWords(x, (i) => difference(source[i]));
        kernels.modDown(pa, lazy, pb, table, x, n, q, bound, f, fs);
        expectWords(x, (i) => big(b[source[i]]) + difference(source[i]));
        kernels.automorphism(pa, table, 0, x, n, q);
        expectWords(x, (i) => big(a[source[i]]));
        kernels.automorphism(pb, table, x, x, n, q);
        expectWords(x, (i) => big(a[source[i]]) + big(b[source[i]]));
        const keyAt = memory.allocate(3 * 8 * n);
        kernels.placeKey(put(a), keyAt, n, 3, table);
        const placed = take(keyAt, 6 * n);
        for (let i = 0; i < n; i++)
          expect(placed[6 * lanes * Math.floor(i / lanes) + (i % lanes)]).toBe(a[source[i]]);

        for (const count of [1, 2, 3, 9]) {
          const sources = Array.from({ length: count }, (_, k) => values(n, 2 ** 32, seed && seed + k));
          const shares = values(count, q, seed && seed + 20);
          const factors = put(Array.from(shares, (share) => factor(share, q)).flat());
          const src = put(sources.flatMap((words) => [...words]));
          kernels.convertBase(src, 4 * n, factors, count, q - 1, x, n, q);
          const sums = take(x, n);
          expect(sums.every((sum) => sum < 2 * q)).toBe(true);
          memory.words.set(
            sums.map((sum) => sum % q),
            x / 4,
          );
          expectWords(x, (i) =>
            sources.reduce((sum, words, k) => sum + big(words[i]) * big(shares[k]), big(q - 1)),
          );
        }

        kernels.copy(pb, x, n);
        expectWords(x, (i) => big(b[i]));
        const sparse = b.map((v, i) => (i % 5 === 2 ? 0 : Math.max(1, v)));
        const marks = a.map((v) => v % 2);
        kernels.fillZeros(put(sparse), put(marks), x, n, q);
        expect(take(x, n)).toEqual(sparse.map((v, i) => (v === 0 && marks[i] === 1 ? q : v)));
        const flag = put([0]);
        kernels.findZero(put(sparse.map((v) => Math.max(1, v))), n, flag);
        expect(take(flag, 1)[0]).toBe(0);
        kernels.findZero(put(sparse), n, flag);
        expect(take(flag, 1)[0]).toBe(1);

        kernels.shift(pa, n, q >> 1, q);
        expectWords(pa, (i) => big(a[i]) + big(q >> 1));
      }
    });
  }),
);

function sumOfProducts(a: Uint32Array[], b: Uint32Array[], i: number, j: number, q: number): number {
  let sum = 0n;
  for (let k = 0; k < a.length; k++) sum += BigInt(a[k][i]) * BigInt(b[k][j]);
  return Number(sum % BigInt(q));
}

test('when the kernels are compiled again, then the committed module is the same', async () => {
  expect(await buildKernels()).toContain(WASM);
});

/** The compiler that made the committed module names itself in it. */
const prebuilt = readFileSync(PREBUILT);
const [made] = /GCC: [^\0]*/.exec(prebuilt.toString('latin1')) ?? ['unknown'];
const here = spawnSync('cc', ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0] ?? 'none';

test.skipIf(here.replace(/^\S+ /, 'GCC: ') !== made)(
  `when native kernels are compiled again by the same compiler (${made}, here: ${here}), then the committed module is the same`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'blindbeat-native-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    buildNative(join(folder, 'kernels.node'));
    expect(readFileSync(join(folder, 'kernels.node')).equals(prebuilt)).toBe(true);
  },
);

test('when kernels are asked for that this machine does not have, then the error names them', async () => {
  const getBuiltinModule = vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined);
  onTestFinished(() => getBuiltinModule.mockRestore());
  expect(availableKernels(16384)).toEqual(['wasm']);
  await expect(loadKernels(new WasmMemory().memory, 'avx2')).rejects.toThrow(
    expect.objectContaining({ code: 'ENVIRONMENT', message: expect.stringContaining('avx2') }),
  );
});

test('when memory is taken and given back in any order, then ranges never overlap and all comes back', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300_000 }), { maxLength: 60 }), (sizes) => {
      const fresh = new WasmMemory();
      const live = new Map<number, number>();
      sizes.forEach((size, i) => {
        const address = fresh.allocate(size);
        for (const [other, length] of live)
          expect(address + size <= other || other + length <= address).toBe(true);
        live.set(address, size);
        if (i % 3 === 1) {
          const [first] = live.keys();
          fresh.free(first);
          live.delete(first);
        }
      });
      for (const address of live.keys()) fresh.free(address);
      expect(fresh.used).toBe(0);
      const bytes = fresh.memory.buffer.byteLength;
      fresh.allocate(bytes - 64);
      expect(fresh.memory.buffer.byteLength).toBe(bytes);
    }),
    { numRuns: 30 },
  );
});
