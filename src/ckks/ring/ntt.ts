import { bitReverse, inverseMod, multiplyMod, powerMod } from './modular.ts';

/**
 * The smallest primitive 2n-th root of unity modulo q, which is the one that SEAL's NTT tables use
 * (SEAL native/src/seal/util/numth.cpp, try_minimal_primitive_root).
 */
export function minimalPrimitiveRoot(n: number, q: number): number {
  const order = 2 * n;
  let root = 0;
  for (let g = 2; ; g++) {
    root = powerMod(g, (q - 1) / order, q);
    if (powerMod(root, n, q) === q - 1) break;
  }
  const square = multiplyMod(root, root, q);
  let smallest = root;
  for (let i = 1, r = root; i < n; i++) {
    r = multiplyMod(r, square, q);
    if (r < smallest) smallest = r;
  }
  return smallest;
}

/**
 * Negacyclic number-theoretic transform modulo q of length n, in SEAL's order: output i is the polynomial's
 * value at root^(2 bitReverse(i) + 1) (Longa and Naehrig 2016, algorithms 1 and 2).
 */
export class Ntt {
  readonly n: number;
  readonly q: number;
  readonly #powers: Uint32Array;
  readonly #inversePowers: Uint32Array;
  readonly #inverseOfN: number;

  /** `root` must be a primitive 2n-th root of unity modulo q. */
  constructor(n: number, q: number, root: number) {
    this.n = n;
    this.q = q;
    const bits = Math.log2(n);
    const inverse = inverseMod(root, q);
    this.#powers = new Uint32Array(n);
    this.#inversePowers = new Uint32Array(n);
    for (let i = 0, p = 1, r = 1; i < n; i++) {
      this.#powers[bitReverse(i, bits)] = p;
      this.#inversePowers[bitReverse(i, bits)] = r;
      p = multiplyMod(p, root, q);
      r = multiplyMod(r, inverse, q);
    }
    this.#inverseOfN = inverseMod(n, q);
  }

  /** Coefficients to values, in place. */
  forward(a: Uint32Array): void {
    const { n, q } = this;
    for (let m = 1, t = n >> 1; m < n; m <<= 1, t >>= 1) {
      for (let i = 0; i < m; i++) {
        const w = this.#powers[m + i];
        for (let j = 2 * i * t, end = j + t; j < end; j++) {
          const v = multiplyMod(a[j + t], w, q);
          const u = a[j];
          a[j] = u + v >= q ? u + v - q : u + v;
          a[j + t] = u >= v ? u - v : u + q - v;
        }
      }
    }
  }

  /** Values to coefficients, in place. */
  inverse(a: Uint32Array): void {
    const { n, q } = this;
    for (let m = n >> 1, t = 1; m >= 1; m >>= 1, t <<= 1) {
      for (let i = 0; i < m; i++) {
        const w = this.#inversePowers[m + i];
        for (let j = 2 * i * t, end = j + t; j < end; j++) {
          const u = a[j];
          const v = a[j + t];
          a[j] = u + v >= q ? u + v - q : u + v;
          a[j + t] = multiplyMod(u >= v ? u - v : u + q - v, w, q);
        }
      }
    }
    for (let i = 0; i < n; i++) a[i] = multiplyMod(a[i], this.#inverseOfN, q);
  }
}
