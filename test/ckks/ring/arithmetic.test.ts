import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packBits, packedSize, unpackBits } from '../../../src/ckks/ring/bit-packing.ts';
import { inverseMod, multiplyMod, powerMod, reduce } from '../../../src/ckks/ring/modular.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../src/ckks/ring/ntt.ts';
import {
  PeriodicEncoder,
  periodicCoefficients,
  periodicSlots,
} from '../../../src/ckks/ring/periodic-encoder.ts';
import { bitLength, choosePrimes, isPrime } from '../../../src/ckks/ring/primes.ts';

const PRIMES = [786433, 16760833, 1073643521];

describe('modular arithmetic', () => {
  test('when numbers are multiplied modulo a prime, then the product is that of big integers', () => {
    fc.assert(
      fc.property(fc.constantFrom(...PRIMES), fc.nat(), fc.nat(), (q, x, y) => {
        const [a, b] = [x % q, y % q];
        expect(multiplyMod(a, b, q)).toBe(Number((BigInt(a) * BigInt(b)) % BigInt(q)));
      }),
    );
    for (const q of PRIMES) expect(multiplyMod(q - 1, q - 1, q)).toBe(1);
  });

  test('when a number is inverted, then the product is one', () => {
    for (const q of PRIMES)
      for (const a of [1, 2, 12345, q - 1]) expect(multiplyMod(a, inverseMod(a, q), q)).toBe(1);
    expect(powerMod(3, 0, 17)).toBe(1);
    expect(reduce(-1, 17)).toBe(16);
  });

  test('when primality is tested, then it agrees with trial division', () => {
    const trial = (n: number) => {
      for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
      return n > 1;
    };
    for (let n = 2; n < 3000; n++) expect(isPrime(n)).toBe(trial(n));
    for (const n of [1073643521, 1073643523, 3215031751 % 2 ** 30, 25326001])
      expect(isPrime(n)).toBe(trial(n));
  });

  test('when primes are chosen, then they are distinct, of the wanted sizes and 1 mod 2n', () => {
    const bits = [30, 30, 24, 27, 24];
    const primes = choosePrimes(16384, bits);
    expect(new Set(primes).size).toBe(5);
    primes.forEach((q, i) => {
      expect(isPrime(q)).toBe(true);
      expect(bitLength(q)).toBe(bits[i]);
      expect(q % 32768).toBe(1);
    });
    expect(() => choosePrimes(16384, [31])).toThrow(/below 2\^30/);
    expect(() => choosePrimes(32768, [17, 17, 17])).toThrow(/too few primes of 17 bits/);
  });

  test('when a polynomial is transformed, then output i is its value at root^(2 bitReverse(i) + 1)', () => {
    const n = 8;
    const q = 12289;
    const root = minimalPrimitiveRoot(n, q);
    const a = Uint32Array.of(1, 5, 0, 7, 12288, 2, 3, 4);
    const values = a.slice();
    const ntt = new Ntt(n, q, root);
    ntt.forward(values);
    const reversed = [0, 4, 2, 6, 1, 5, 3, 7];
    values.forEach((value, i) => {
      const point = powerMod(root, 2 * reversed[i] + 1, q);
      expect(value).toBe(a.reduceRight((sum, c) => (multiplyMod(sum, point, q) + c) % q, 0));
    });
    ntt.inverse(values);
    expect(values).toEqual(a);
  });
});

describe('periodic vectors', () => {
  test('when a vector is embedded and read back, then it is the same', () => {
    for (const p of [1, 2, 8, 64]) {
      const values = Float64Array.from({ length: p }, (_, j) => Math.sin(j * j + 1));
      const back = periodicSlots(periodicCoefficients(values));
      for (const [j, v] of back.entries()) expect(v).toBeCloseTo(values[j], 12);
    }
  });

  test('when a constant is encoded, then every residue is the rounded constant', () => {
    const [q] = choosePrimes(4096, [30]);
    const residues = new PeriodicEncoder(4096, [q]).encode(Float64Array.of(-1.5), 1000, 1);
    expect(residues).toEqual(Uint32Array.of(q - 1500, q - 1500));
  });

  test('when an imaginary part is encoded, then it is X^(N/2), a square root of -1, times a real vector', () => {
    const [q] = choosePrimes(4096, [30]);
    const encoder = new PeriodicEncoder(4096, [q]);
    const [i, minus] = encoder.encode(Float64Array.of(0), 1, 1, Float64Array.of(1));
    expect(multiplyMod(i, i, q)).toBe(q - 1);
    expect(minus).toBe(q - i);
    // It is i in the first half of the points and -i in the second.
    const both = encoder.encode(new Float64Array(4).fill(3), 1000, 1, new Float64Array(4).fill(5));
    const value = (root: number) => (3000 + multiplyMod(5000, root, q)) % q;
    expect([...both]).toEqual([...new Array(4).fill(value(i)), ...new Array(4).fill(value(minus))]);
  });
});

describe('bit packing', () => {
  test('when residues are packed and unpacked with strides, then they are the same', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 16, max: 30 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 50 }),
        (bits, numbers) => {
          const limit = 2 ** bits - 1;
          const words = Uint32Array.from(numbers.flatMap((x) => [x % limit, 0]));
          const packed = packBits(words, 0, numbers.length, 2, bits);
          expect(packed).toHaveLength(packedSize(numbers.length, bits));
          const back = new Uint32Array(words.length);
          unpackBits(packed, numbers.length, bits, limit, back, 0, 2);
          expect(back).toEqual(words);
        },
      ),
    );
  });

  test('when a packed number is not below its prime, then it is refused', () => {
    const packed = packBits(Uint32Array.of(5, 97), 0, 2, 1, 16);
    expect(() => unpackBits(packed, 2, 16, 97, new Uint32Array(2), 0, 1)).toThrow(/not below its prime 97/);
  });
});
