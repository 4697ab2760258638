import { multiplyMod, reduce } from '../../src/ckks/ring/modular.ts';
import { allPrimes, type Parameters } from '../../src/ckks/ring/parameters.ts';
import { PeriodicEncoder } from '../../src/ckks/ring/periodic-encoder.ts';
import type { Reading } from './replies.ts';

/**
 * The ternary parts of a key by their values at z: there are 3^8 = 6561 of them and a billion residues, so a
 * value that is found names its part.
 */
export class TernaryParts {
  readonly #parts = new Map<number, Int8Array>();

  constructor({ size, q, z }: Reading) {
    const powers = Array.from({ length: size }, (_, t) => powerOf(z, t, q));
    for (let index = 0; index < 3 ** size; index++) {
      const part = Int8Array.from({ length: size }, (_, t) => (Math.floor(index / 3 ** t) % 3) - 1);
      let value = 0;
      for (let t = 0; t < size; t++) value += part[t] * powers[t];
      this.#parts.set(reduce(value, q), part);
    }
  }

  /** The coefficients s_r [2 g] whose value at z this is; undefined for what is no ternary part's. */
  find(value: number): Int8Array | undefined {
    return this.#parts.get(value);
  }
}

function powerOf(z: number, exponent: number, q: number): number {
  return exponent === 0 ? 1 : multiplyMod(powerOf(z, exponent - 1, q), z, q);
}

/** The key's coefficients [N] from its parts [M][2 g]. */
export function joinParts(parts: Int8Array[]): Int8Array {
  const m = parts.length;
  return Int8Array.from({ length: m * parts[0].length }, (_, i) => parts[i % m][Math.floor(i / m)]);
}

/** The residues of a `SecretKey`, `[primes][n]` in NTT form, from its coefficients. */
export function keyResidues(s: Int8Array, parameters: Parameters): Uint32Array {
  const { n } = parameters;
  const primes = allPrimes(parameters);
  const encoder = new PeriodicEncoder(n, primes);
  const out = new Uint32Array(primes.length * n);
  primes.forEach((q, i) => {
    const limb = out.subarray(i * n, (i + 1) * n);
    for (let k = 0; k < n; k++) limb[k] = reduce(s[k], q);
    encoder.transform(n, i).forward(limb);
  });
  return out;
}

/** A secret key's coefficients [N], from its residues modulo the first prime: for the judge of an attack. */
export function keyCoefficients(residues: Uint32Array, parameters: Parameters): Int8Array {
  const { n, primes } = parameters;
  const [q] = primes;
  const values = residues.slice(0, n);
  new PeriodicEncoder(n, [q]).transform(n, 0).inverse(values);
  return Int8Array.from(values, (v) => (v === q - 1 ? -1 : v));
}
