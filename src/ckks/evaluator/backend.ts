import type { KeySwitching } from '../keyswitch/gadget.ts';

/** Values to be rotated by one step, each of another column. */
export interface RotationTerm<V> {
  values: (V | null)[];
  step: number;
}

/**
 * What the encrypted network is written in. One program (`program.ts`) and several interpreters: `clear`
 * computes on floats, `trace` counts levels, scales and operations (it is the planner's dry run), `seal` and
 * `fast` compute on ciphertexts.
 *
 * Slots are real, or real + X^(N/2) imaginary, where the monomial X^(N/2) is i in even slots and -i in odd
 * ones: its square is -1, and rotations by odd steps change its sign, as does conjugation. Two real outputs
 * of a layer are summed up in one such vector and separated at its end.
 *
 * V is a vector of slots (encrypted or not), P an encoded periodic plaintext. Values are never changed in
 * place: every operation makes a new one, and the program frees what it no longer needs.
 */
export interface Backend<V, P> {
  /**
   * Encodes the vector that repeats `real` (a power-of-two period), plus X^(N/2) times `imaginary` of the
   * same length, for ciphertexts of `limbs` limbs.
   */
  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): P;
  /**
   * Slot j of the result is slot j + step; step CONJUGATION conjugates instead. One key switch; `step` must
   * be one of the planned keys.
   */
  rotate(v: V, step: number): V;
  /**
   * Rotates all values by each of several planned steps: `[step][value]`, each as `rotate` gives it. A
   * backend that can hoist decomposes each value once for all steps, and reads each key once for all values.
   */
  rotateAll(values: V[], steps: number[]): V[][];
  /**
   * Adds up, for each column, `values[column]` rotated by `step` over all terms, and `plus[column]`. Null
   * stands for zero; a column of nothing but nulls in the terms gives `plus[column]` itself. For a backend
   * that divides the sum once instead of every rotation.
   */
  rotateAndSum?(terms: RotationTerm<V>[], plus: (V | null)[]): (V | null)[];
  /** Adds two values of equal limbs and scales. */
  add(a: V, b: V): V;
  /** Adds a plaintext of equal limbs and scale. */
  addPlain(v: V, p: P): V;
  /**
   * Sums up products with plaintexts: row r of the result is sum_k values[k] * rows[r][k], where null stands
   * for zero weights. A row of nothing but nulls gives null.
   */
  multiplyPlainSum(values: V[], rows: (P | null)[][]): (V | null)[];
  /** The same for several matrices at once, where a backend can do that in one pass over the values. */
  multiplyPlainSums?(values: V[], matrices: (P | null)[][][]): (V | null)[][];
  /** Squares a value of two polynomials; the square has three. */
  square(v: V): V;
  /**
   * Multiplies two values of two polynomials; the product has three. It counts `times` (a whole number)
   * times: its scale is that fraction of the product of both.
   */
  multiply(a: V, b: V, times: number): V;
  /** Keeps the first `limbs` limbs; the result counts `times` times, at that fraction of the scale. */
  dropLevel(v: V, limbs: number, times: number): V;
  /** Brings a product of three polynomials back to two: one key switch. */
  relinearise(v: V): V;
  /** Divides by the last prime and drops it; the result has exactly the planned `scale`. */
  rescale(v: V, scale: number): V;
  /** Gives a value back; nothing uses it afterwards. */
  free(v: V): void;
  /**
   * Runs independent computations without rotations, which a backend that has several threads carries out
   * side by side; what they give exists when all are done.
   */
  parallel?<R>(computations: (() => R)[]): R[];
}

/**
 * The backends that compute on ciphertexts; with per-prime keys their results are equal, residue by residue.
 */
export const BACKENDS = ['fast', 'seal'] as const;

/** One of `BACKENDS`. */
export type BackendName = (typeof BACKENDS)[number];

/** The fastest kind of key switching of a backend; node-seal has its own only. */
export function keySwitchingOf(backend: BackendName): KeySwitching {
  return backend === 'seal' ? 'per-prime' : 'hybrid';
}
