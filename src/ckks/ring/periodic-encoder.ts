import { reduce } from './modular.ts';
import { minimalPrimitiveRoot, Ntt } from './ntt.ts';

/**
 * Encoding of slot vectors that repeat with a period of p slots (a power of two).
 *
 * Such a vector is a polynomial in Y = X^(N/2p): its 2p coefficients come from an embedding of size p, and in
 * the NTT's bit-reversed order its values are constant on 2p blocks of N/2p. So weights cost 2p numbers per
 * prime.
 *
 * Example, p = 1: the vector (c, c, ..., c) is the constant polynomial; its coefficients are [c, 0].
 */

/** Slot j belongs to the root zeta^(3^j): SEAL's order (native/src/seal/ckks.cpp, matrix_reps_index_map). */
const SLOT_GENERATOR = 3;

const embeddings = new Map<number, Float64Array>();

/** `[2p][p]` matrix E with coefficients = E . slots: E[k][j] = cos(pi 3^j k / 2p) / p. */
function embedding(p: number): Float64Array {
  let matrix = embeddings.get(p);
  if (!matrix) {
    const n = 2 * p;
    matrix = new Float64Array(n * p);
    for (let j = 0, exponent = 1; j < p; j++, exponent = (exponent * SLOT_GENERATOR) % (2 * n)) {
      for (let k = 0; k < n; k++)
        matrix[k * p + j] = Math.cos((Math.PI * ((exponent * k) % (2 * n))) / n) / p;
    }
    embeddings.set(p, matrix);
  }
  return matrix;
}

/** The 2p real coefficients, in powers of X^(N/2p), of the vector that repeats `values` (length p). */
export function periodicCoefficients(values: Float64Array): Float64Array {
  const p = values.length;
  const matrix = embedding(p);
  const out = new Float64Array(2 * p);
  for (let k = 0; k < 2 * p; k++) {
    let sum = 0;
    for (let j = 0, row = k * p; j < p; j++) sum += matrix[row + j] * values[j];
    out[k] = sum;
  }
  return out;
}

/** Inverse of `periodicCoefficients`: the p slots of a polynomial given by its 2p coefficients. */
export function periodicSlots(coefficients: Float64Array): Float64Array {
  const n = coefficients.length;
  const p = n / 2;
  const out = new Float64Array(p);
  for (let j = 0, exponent = 1; j < p; j++, exponent = (exponent * SLOT_GENERATOR) % (2 * n)) {
    for (let k = 0; k < n; k++)
      out[j] += coefficients[k] * Math.cos((Math.PI * ((exponent * k) % (2 * n))) / n);
  }
  return out;
}

/** A periodic plaintext: `[limbs][2p]` residues in NTT form, each standing for N/2p equal ones. */
export interface PeriodicPlain {
  residues: Uint32Array;
  limbs: number;
  scale: number;
}

/** Turns periodic vectors into residues for one ring and chain of primes. */
export class PeriodicEncoder {
  readonly n: number;
  readonly primes: number[];
  readonly #roots: number[];
  readonly #transforms = new Map<string, Ntt>();

  constructor(n: number, primes: number[]) {
    this.n = n;
    this.primes = primes;
    this.#roots = primes.map((q) => minimalPrimitiveRoot(n, q));
  }

  /**
   * Residues of `round(scale * vector)` in NTT form, per limb and block: `[limbs][2p]`; block b of limb i
   * stands for the N/2p equal values from b N/2p on. With `imaginary`, of the vector `values` + X^(N/2)
   * `imaginary`.
   */
  encode(values: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): Uint32Array {
    const size = 2 * values.length;
    const coefficients = periodicCoefficients(values);
    if (imaginary) {
      // X^(N/2) moves the second half of the coefficients to the front with its sign changed.
      const shifted = periodicCoefficients(imaginary);
      const p = values.length;
      for (let k = 0; k < p; k++) {
        coefficients[k] -= shifted[k + p];
        coefficients[k + p] += shifted[k];
      }
    }
    for (let k = 0; k < size; k++) coefficients[k] = Math.round(coefficients[k] * scale);
    const out = new Uint32Array(limbs * size);
    for (let i = 0; i < limbs; i++) {
      const block = out.subarray(i * size, (i + 1) * size);
      for (let k = 0; k < size; k++) block[k] = reduce(coefficients[k], this.primes[i]);
      this.transform(size, i).forward(block);
    }
    return out;
  }

  /**
   * The NTT of length `size` <= N modulo prime `limb`, whose root is the ring's own root to the power N /
   * size.
   */
  transform(size: number, limb: number): Ntt {
    const key = `${size}/${limb}`;
    let ntt = this.#transforms.get(key);
    if (!ntt) {
      const q = this.primes[limb];
      let root = this.#roots[limb];
      for (let m = size; m < this.n; m *= 2) root = Number((BigInt(root) * BigInt(root)) % BigInt(q));
      ntt = new Ntt(size, q, root);
      this.#transforms.set(key, ntt);
    }
    return ntt;
  }
}
