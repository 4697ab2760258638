/** The state of a generator: four 32-bit words, not all zero. */
export type RandomState = [number, number, number, number];

/**
 * Seeded random numbers, the same on every machine (`normal` to the last bits of Math.log): xoshiro128** of
 * Blackman & Vigna (https://prng.di.unimi.it/xoshiro128starstar.c). Not for keys.
 */
export class Random {
  private readonly s: Uint32Array;
  private spare: number | undefined;

  /** Any finite number as the seed, spread by splitmix32; or a state to go on from. */
  constructor(seed: number | RandomState) {
    this.s = typeof seed === 'number' ? spread(seed) : Uint32Array.from(seed);
  }

  /** The state to go on from, as long as no normal number is held back (see `normal`). */
  get state(): RandomState {
    return [this.s[0], this.s[1], this.s[2], this.s[3]];
  }

  /** A whole number from 0 to 2^32 - 1. */
  word(): number {
    const s = this.s;
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), 53 bits. */
  next(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** A whole number from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /**
   * Standard normal, by the polar method of Marsaglia; the second of each pair is held back for the next
   * call.
   */
  normal(): number {
    if (this.spare !== undefined) {
      const held = this.spare;
      this.spare = undefined;
      return held;
    }
    for (;;) {
      const u = 2 * this.next() - 1;
      const v = 2 * this.next() - 1;
      const q = u * u + v * v;
      if (q === 0 || q >= 1) continue;
      const factor = Math.sqrt((-2 * Math.log(q)) / q);
      this.spare = v * factor;
      return u * factor;
    }
  }

  /** Shuffles in place (Fisher & Yates) and returns the same array. */
  shuffle<T extends { length: number; [i: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = items[i];
      items[i] = items[j];
      items[j] = held;
    }
    return items;
  }
}

function rotate(x: number, k: number): number {
  return ((x << k) | (x >>> (32 - k))) >>> 0;
}

/** Four words by splitmix32 from the 64 bits of the seed, so that 1 and 1.5 differ. */
function spread(seed: number): Uint32Array {
  const bits = new Uint32Array(new Float64Array([seed]).buffer);
  let z = (bits[0] ^ Math.imul(bits[1], 0x9e3779b1)) >>> 0;
  return Uint32Array.from({ length: 4 }, () => {
    z = (z + 0x9e3779b9) >>> 0;
    let h = z;
    h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
    h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
    return (h ^ (h >>> 15)) >>> 0;
  });
}
