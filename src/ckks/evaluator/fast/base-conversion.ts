import { inverseMod, multiplyMod } from '../../ring/modular.ts';
import type { WasmMemory } from './kernels/memory.ts';
import { type Factor, factor, type Lazy, type Ring } from './kernels/ring.ts';
import type { Threads } from './kernels/threads.ts';

/**
 * How residues modulo some primes p_k are made one representative x modulo another prime (fast base
 * conversion: Bajard et al. 2016, eprint 2016/510). For P = p_1 p_2 ... let y_k = x (P / p_k)^-1 mod p_k;
 * then x is sum_k y_k P / p_k less a multiple of P. Each y_k is centred, so x is, and |x| is at most half the
 * number of primes times P. Of one prime x is y.
 */
export interface Conversion {
  /** Address of P / p_k for each k, factors; 0 where there is one prime only. */
  factors: number;
  /** How many primes. */
  count: number;
  /** What the sum starts with: makes up for half of each p_k, which y_k had added. */
  start: number;
  /** The transform that follows: what it adds where nothing is converted, and how lazy it is. */
  offset: number;
  lazy: Lazy;
}

/** A prime to convert from. */
export interface Origin {
  ring: Ring;
  /** For the inverse transform: (P / p_k)^-1. */
  scale: Factor;
  /** What is added to centre. */
  half: number;
}

/** How polynomials are divided by the product of primes that are dropped. */
export interface ModDown {
  /** The dropped primes. */
  origins: Origin[];
  /** For each prime that remains. */
  remaining: ModDownConversion[];
}

interface ModDownConversion extends Conversion {
  /** One over the dropped primes' product. */
  inverse: Factor;
  /** Multiple of the prime that is no less than what comes out of the transform. */
  bound: number;
}

/** A polynomial in NTT form to be divided by primes that are dropped: addresses. */
export interface Dividend {
  /** Its limb of the k-th dropped prime. */
  dropped: (k: number) => number;
  /** Room for the coefficients of these limbs, one after another. */
  remainder: number;
  /** Its limbs of the primes that remain. */
  values: (limb: number) => number;
  /** What is added to the quotient. */
  addend: ((limb: number) => number) | null;
  /** Of an automorphism that is applied to the sum, or 0. */
  table: number;
  /** Where the outcome goes. */
  out: (limb: number) => number;
}

/** Conversions of polynomials from some of an engine's primes to others. */
export class BaseConversions {
  readonly #memory: WasmMemory;
  readonly #threads: Threads;
  readonly #rings: Ring[];
  readonly #stride: number;
  readonly #modDowns = new Map<string, ModDown>();

  /**
   * @param rings of all primes
   * @param stride bytes from one limb of a polynomial to the next
   */
  constructor(memory: WasmMemory, threads: Threads, rings: Ring[], stride: number) {
    this.#memory = memory;
    this.#threads = threads;
    this.#rings = rings;
    this.#stride = stride;
  }

  /** Makes several conversions, or none where there is no room for all. */
  together<T>(make: () => T): T {
    return this.#memory.together(make);
  }

  /** The primes of these indices as what to convert from. */
  origins(primes: number[]): Origin[] {
    const rings = primes.map((i) => this.#rings[i]);
    return rings.map((ring) => {
      const others = rings.filter((other) => other !== ring);
      const { q } = ring;
      return { ring, scale: ring.scale(inverseMod(productMod(others, q), q)), half: q >> 1 };
    });
  }

  /** From some primes to another. */
  conversion(origins: Origin[], ring: Ring): Conversion {
    const { q } = ring;
    if (origins.length === 1) {
      const [{ ring: origin, half }] = origins;
      // x + half mod p becomes x - half mod q when a multiple of q, no less than half, is added.
      const offset = q * Math.ceil(half / q) - half;
      return { factors: 0, count: 1, start: 0, offset, lazy: ring.lazy(origin.q + offset) };
    }
    const rings = origins.map((origin) => origin.ring);
    const shares = rings.map((origin) =>
      productMod(
        rings.filter((other) => other !== origin),
        q,
      ),
    );
    const factors = this.#memory.allocate(8 * origins.length);
    this.#memory.words.set(
      shares.flatMap((share) => factor(share, q)),
      factors / 4,
    );
    const halves = origins.reduce((sum, { half }, k) => (sum + multiplyMod(half % q, shares[k], q)) % q, 0);
    const start = (q - halves) % q;
    return { factors, count: origins.length, start, offset: 0, lazy: ring.lazy(2 * q) };
  }

  /** Dividing by the product of the primes `dropped` (indices), for each prime below `limbs`; made once. */
  modDownBy(dropped: number[], limbs: number): ModDown {
    const key = `${dropped} ${limbs}`;
    let modDown = this.#modDowns.get(key);
    if (!modDown) {
      const origins = this.origins(dropped);
      const rings = origins.map((origin) => origin.ring);
      const remaining = this.together(() =>
        this.#rings.slice(0, limbs).map((ring): ModDownConversion => {
          const { q } = ring;
          const conversion = this.conversion(origins, ring);
          return {
            ...conversion,
            inverse: factor(inverseMod(productMod(rings, q), q), q),
            bound: q * Math.ceil((conversion.lazy.bound - 1) / q),
          };
        }),
      );
      modDown = { origins, remaining };
      this.#modDowns.set(key, modDown);
    }
    return modDown;
  }

  /**
   * Notes down the transform modulo a prime of coefficients modulo others.
   *
   * @param coefficients address of the first of these limbs; the others follow
   */
  convertBase(
    coefficients: number,
    { factors, count, start, offset, lazy }: Conversion,
    ring: Ring,
    out: number,
  ): void {
    if (factors === 0) {
      ring.forward(coefficients, out, lazy, offset);
      return;
    }
    const { kernels } = this.#threads;
    kernels.convertBase(coefficients, this.#stride, factors, count, start, out, ring.n, ring.q);
    ring.forward(out, out, lazy);
  }

  /** Notes down divisions, rounding: a phase of the dropped limbs, then the tasks of those that remain. */
  modDown(dividends: Dividend[], { origins, remaining }: ModDown): void {
    const threads = this.#threads;
    for (const { dropped, remainder } of dividends) {
      origins.forEach(({ ring, scale, half }, k) => {
        const coefficients = remainder + k * this.#stride;
        threads.task();
        ring.inverse(dropped(k), coefficients, scale);
        threads.kernels.shift(coefficients, ring.n, half, ring.q);
      });
    }
    threads.phase();
    const converted = threads.local(0);
    for (const { remainder, values, addend, table, out } of dividends) {
      remaining.forEach((conversion, i) => {
        const ring = this.#rings[i];
        threads.task();
        this.convertBase(remainder, conversion, ring, converted);
        threads.kernels.modDown(
          ...([values(i), converted, addend ? addend(i) : 0, table, out(i)] as const),
          ...([ring.n, ring.q, conversion.bound] as const),
          ...conversion.inverse,
        );
      });
    }
  }
}

/** The product of some primes modulo another. */
function productMod(rings: Ring[], q: number): number {
  return rings.reduce((product, ring) => multiplyMod(product, ring.q % q, q), 1 % q);
}
