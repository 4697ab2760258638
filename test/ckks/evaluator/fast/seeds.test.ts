import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KernelKind } from '../../../../src/ckks/evaluator/executor.ts';
import { FastEngine } from '../../../../src/ckks/evaluator/fast/engine.ts';
import { availableKernels } from '../../../../src/ckks/evaluator/fast/kernels/kernels.ts';
import { WasmMemory } from '../../../../src/ckks/evaluator/fast/kernels/memory.ts';
import { Ring } from '../../../../src/ckks/evaluator/fast/kernels/ring.ts';
import { Threads } from '../../../../src/ckks/evaluator/fast/kernels/threads.ts';
import { loadPacked } from '../../../../src/ckks/evaluator/fast/packed.ts';
import { SeedExpander } from '../../../../src/ckks/evaluator/fast/seeds.ts';
import { packedSize } from '../../../../src/ckks/ring/bit-packing.ts';
import { bitLength, choosePrimes, log2Product } from '../../../../src/ckks/ring/primes.ts';
import { readCiphertext, SEED_SIZE, writeCiphertext } from '../../../../src/ckks/seal/bytes.ts';
import { type ClientModule, loadSeal, type Seal } from '../../../../src/ckks/seal/seal.ts';

let seal: Seal<ClientModule>;
beforeAll(async () => {
  seal = await loadSeal<ClientModule>();
});
afterAll(() => expect(seal.live).toBe(0));

/** The second polynomials that SEAL makes of seeds, `[seeds][limbs * n]`, as it loads public keys. */
function expandedBySeal(n: number, primes: number[], seeds: Uint8Array[]): Uint32Array[] {
  const { module } = seal;
  const context = seal.context(n, primes, false);
  const parmsId = seal.parmsIds(context).get(primes.length)!;
  const size = n * primes.length;
  const out = seeds.map((seed) => {
    const words = new Uint32Array(2 * size);
    const raw = { parmsId, polynomials: 2, n, limbs: primes.length, scale: 1, ntt: true, words, seed };
    const expanded = seal.using(new module.PublicKey(), (key) => {
      key.loadFromArray(context, writeCiphertext(raw));
      return readCiphertext(key.saveToArray(module.ComprModeType.none)).words;
    });
    return Uint32Array.from({ length: size }, (_, i) => expanded[2 * (size + i)]);
  });
  seal.free(context);
  return out;
}

/** The same by the kernels, on as many threads. */
async function expandedByKernels(
  n: number,
  primes: number[],
  seeds: Uint8Array[],
  threads: number,
  kind: KernelKind,
): Promise<{ limbs: Uint32Array[]; redrawn: Uint32Array[]; flagged: boolean[] }> {
  const memory = new WasmMemory();
  using pool = await Threads.open(memory, threads, SeedExpander.scratch(n), kind);
  const rings = primes.map((q) => new Ring(pool.kernels, pool.set.lanes, memory, n, q));
  const expander = new SeedExpander(memory, pool, rings);
  const prepared = expander.prepare(seeds);
  const out = memory.allocate(4 * n * primes.length * seeds.length);
  seeds.forEach((_, s) => {
    primes.forEach((_, limb) => {
      pool.task();
      const address = out + 4 * n * (s * primes.length + limb);
      expander.expandLimb(prepared, s, limb, address, pool.local(0));
    });
  });
  pool.run();
  const size = n * primes.length;
  const limbs = seeds.map((_, s) => memory.words.slice(out / 4 + s * size, out / 4 + (s + 1) * size));
  const redrawn = seeds.map((_, s) =>
    Uint32Array.from(expander.redraw(prepared, s, rings.length).flatMap((limb) => [...limb])),
  );
  const flagged = seeds.map((_, s) => expander.mustRedraw(prepared, s));
  expander.free(prepared);
  return { limbs, redrawn, flagged };
}

const KINDS = availableKernels(1024);
const seed = fc.uint8Array({ minLength: SEED_SIZE, maxLength: SEED_SIZE });

describe('seeds', () => {
  test('when any seeds are expanded for any primes and degrees, then every residue is that of SEAL', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1024, 2048, 4096),
        fc.uniqueArray(fc.integer({ min: 18, max: 30 }), { minLength: 1, maxLength: 3 }),
        fc.array(seed, { minLength: 1, maxLength: 3 }),
        fc.constantFrom(1, 2),
        fc.constantFrom(...KINDS),
        async (n, bits, seeds, threads, kind) => {
          // SEAL refuses chains above its bound for the degree.
          let room = { 1024: 27, 2048: 54, 4096: 106 }[n]!;
          const fitting = bits.filter((size) => {
            if (size > room) return false;
            room -= size;
            return true;
          });
          const sizes = fitting.length > 0 ? fitting : [20];
          const primes = choosePrimes(n, sizes);
          const expected = expandedBySeal(n, primes, seeds);
          const { limbs, redrawn, flagged } = await expandedByKernels(n, primes, seeds, threads, kind);
          expect(limbs).toEqual(expected);
          expect(redrawn).toEqual(expected);
          expect(flagged).toEqual(seeds.map(() => false));
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each(KINDS)(
    'when a seed stands for a ciphertext of the shipped size, then all limbs by %s kernels are those of SEAL',
    async (kind) => {
      const primes = choosePrimes(16384, [30, 30, 28, 27, 26, 30]);
      const seeds = [Uint8Array.from({ length: SEED_SIZE }, (_, i) => 37 * i + 11)];
      const { limbs } = await expandedByKernels(16384, primes, seeds, 2, kind);
      expect(limbs).toEqual(expandedBySeal(16384, primes, seeds));
    },
  );

  test.each(KINDS)(
    'when a word is within 2^32 of 2^64, then its seed is flagged by %s kernels',
    async (kind) => {
      const memory = new WasmMemory();
      using pool = await Threads.open(memory, 1, 0, kind);
      const [q] = choosePrimes(1024, [20]);
      const { n, one, carry } = new Ring(pool.kernels, pool.set.lanes, memory, 1024, q);
      const [words, out, flag] = [8 * n, 4 * n, 4].map((bytes) => memory.allocate(bytes));
      const view = new DataView(memory.memory.buffer);
      for (const [place, word, expected] of [
        [0, 0xffff_fffe_ffff_ffffn, 0],
        [3, 0xffff_ffff_0000_0000n, 1],
        [n - 1, 0xffff_ffff_ffff_ffffn, 1],
      ] as const) {
        for (let i = 0; i < n; i++) view.setBigUint64(words + 8 * i, BigInt(i) ** 5n, true);
        view.setBigUint64(words + 8 * place, word, true);
        memory.words[flag / 4] = 0;
        pool.module.reduceUniform(words, out, n, q, one, ...carry, flag);
        expect(memory.words[flag / 4]).toBe(expected);
        expect(memory.words[out / 4 + place]).toBe(Number(word % BigInt(q)));
      }
    },
  );

  // Found by search: SEAL draws a word again for these primes, the first one for that at place 12, the second at 3.
  test.each([57076, 3643])(
    'when SEAL draws a word of seed %i again, then a fresh ciphertext has its residues, whatever other primes there are',
    async (number) => {
      const n = 16384;
      const primes = [
        1058209793, 1057652737, 1052508161, 1056735233, 1054965761, 1062862849, 1063616513, 1059618817,
        1059291137, 1054212097, 1064697857, 1061847041, 1072496641,
      ];
      const seed = new Uint8Array(SEED_SIZE);
      new DataView(seed.buffer).setUint32(0, number, true);
      const expected = expandedBySeal(n, primes, [seed])[0];
      const [special] = choosePrimes(n, [29]);
      const logQP = log2Product([...primes, special]);
      using engine = await FastEngine.open({ n, primes, special, logQP, security: 128 });
      const residues = new Uint8Array(primes.reduce((sum, q) => sum + packedSize(n, bitLength(q)), 0));
      const loaded = loadPacked(engine, { residues, seed }, [...primes.keys()]);
      primes.forEach((_, limb) => {
        expect(engine.read(loaded, 1, limb)).toEqual(expected.subarray(limb * n, (limb + 1) * n));
      });
    },
  );
});
