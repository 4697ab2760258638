import { inverseMod, multiplyMod } from '../../../ring/modular.ts';
import { minimalPrimitiveRoot } from '../../../ring/ntt.ts';
import type { Kernels } from './kernels.ts';
import type { WasmMemory } from './memory.ts';

/** A constant w modulo q with its Shoup companion floor(2^32 w / q). */
export type Factor = readonly [number, number];

/** From here on lanes have no room for several lazy layers: values are reduced in each. */
const TIGHT_FROM = 2 ** 28;

/** Shoup companion of w modulo q, floor(2^32 w / q), for 0 <= w < q < 2^30. */
export function factor(w: number, q: number): Factor {
  return [w, Number((BigInt(w) << 32n) / BigInt(q))];
}

/** How a forward transform keeps its lazy values below 2^32. */
export interface Lazy {
  /** Bit k: pass k begins with a reduction. */
  reduce: number;
  /** Values that come out are below this. */
  bound: number;
}

/**
 * When a forward transform modulo q < 2^28 whose input is below `start` must reduce: every pass of two layers
 * adds 4q, the odd layer 2q; results stay below 2^32 - 2q, so that a multiple of q above them and another q
 * fit a word.
 */
function lazyPasses(n: number, q: number, start: number): Lazy {
  const layers = Math.log2(n);
  const growths = [...(layers % 2 === 1 ? [2] : []), ...new Array<number>(layers >> 1).fill(4)];
  let reduce = 0;
  let bound = start;
  growths.forEach((growth, pass) => {
    if (bound + (growth + 2) * q > 2 ** 32) {
      if (growth === 2) throw new RangeError(`inputs below ${start} are too large for prime ${q}`);
      reduce |= 1 << pass;
      bound = 2 * q;
    }
    bound += growth * q;
  });
  return { reduce, bound };
}

/** The ring Z_q[X] / (X^n + 1) of one prime: its transforms' tables in the kernels' memory, its constants. */
export class Ring {
  readonly n: number;
  readonly q: number;
  /** floor(2^32 / q). */
  readonly one: number;
  /** 2^32 mod q. */
  readonly carry: Factor;
  readonly #kernels: Kernels;
  readonly #inverseOfN: Factor;
  readonly #forward: number;
  readonly #inverse: number;

  /** @param lanes words of the kernels' vectors */
  constructor(kernels: Kernels, lanes: number, memory: WasmMemory, n: number, q: number) {
    this.n = n;
    this.q = q;
    this.one = Math.floor(2 ** 32 / q);
    this.carry = factor(2 ** 32 % q, q);
    this.#kernels = kernels;
    this.#inverseOfN = factor(inverseMod(n, q), q);
    const root = minimalPrimitiveRoot(n, q);
    this.#forward = writeTable(memory, powers(n, q, root), q, lanes);
    this.#inverse = writeTable(memory, powers(n, q, inverseMod(root, q)), q, lanes);
  }

  /** Bound and reductions of `forward` for inputs that are, with the offset, below `start` (< 2^30 + q). */
  lazy(start: number): Lazy {
    return this.q >= TIGHT_FROM ? { reduce: 0, bound: this.q } : lazyPasses(this.n, this.q, start);
  }

  /** dst = NTT(src + offset), congruent modulo q and below `lazy.bound`. */
  forward(src: number, dst: number, lazy: Lazy, offset = 0): void {
    const { n, q } = this;
    if (q >= TIGHT_FROM) this.#kernels.forwardTight(src, dst, n, this.#forward, q, offset);
    else this.#kernels.forwardLoose(src, dst, n, this.#forward, q, offset, lazy.reduce, this.one);
  }

  /** dst = inverse NTT(src), both in [0, q); times a constant whose `scale` is given. */
  inverse(src: number, dst: number, scale = this.#inverseOfN): void {
    this.#kernels.inverse(src, dst, this.n, this.#inverse, this.q, ...scale);
  }

  /** For `inverse` to multiply by a constant below q. */
  scale(constant: number): Factor {
    return factor(multiplyMod(constant, this.#inverseOfN[0], this.q), this.q);
  }

  /**
   * Products of a lazy value below `bound` and a residue that one 64-bit sum takes on top of what a fold
   * leaves, 2^32 (2^32 mod q) + 2^32.
   */
  group(bound: number): number {
    const [carry] = this.carry;
    const room = 2n ** 64n - 1n - (BigInt(carry) << 32n) - 2n ** 32n;
    return Math.min(2 ** 20, Number(room / (BigInt(bound - 1) * BigInt(this.q - 1))));
  }
}

/** Powers of a root in bit-reversed order: `powers[bitReverse(i)] = root^i`. */
function powers(n: number, q: number, root: number): Uint32Array {
  const out = new Uint32Array(n);
  for (let i = 0, reversed = 0, power = 1; i < n; i++) {
    out[reversed] = power;
    power = multiplyMod(power, root, q);
    let bit = n >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed |= bit;
  }
  return out;
}

/** The layout that assembly/ntt.ts describes; the last groups have factors for as many blocks as there are lanes. */
function writeTable(memory: WasmMemory, w: Uint32Array, q: number, lanes: number): number {
  const n = w.length;
  const address = memory.allocate(8 * n);
  const { words } = memory;
  let index = address / 4;
  // The floating-point quotient is off by at most one; the remainder modulo 2^32 tells.
  const shoup = (value: number) => {
    let quotient = Math.floor((value * 2 ** 32) / q);
    const remainder = -Math.imul(quotient, q) | 0;
    if (remainder < 0) quotient--;
    else if (remainder >= q) quotient++;
    return quotient;
  };
  for (let i = 0; i < n / 4; i++) {
    words[index++] = w[i];
    words[index++] = shoup(w[i]);
  }
  for (let i = 0; i < n / 4; i += lanes) {
    for (const [start, step] of [
      [n / 4 + i, 1],
      [n / 2 + 2 * i, 2],
      [n / 2 + 2 * i + 1, 2],
    ]) {
      for (let k = 0; k < lanes; k++) {
        words[index + k] = w[start + step * k];
        words[index + lanes + k] = shoup(w[start + step * k]);
      }
      index += 2 * lanes;
    }
  }
  return address;
}
