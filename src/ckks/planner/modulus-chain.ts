import type { KeySwitching } from '../keyswitch/gadget.ts';
import { MAX_LOG_QP } from '../ring/parameters.ts';
import { choosePrimes, log2Product, nearestPrime } from '../ring/primes.ts';

/** What an activation asks of the chain of primes. */
export interface Depth {
  /** Primes that it is rescaled by. */
  levels: number;
  /** A bare square, which is not doubled as T_2 = 2 t^2 - 1 is. */
  square: boolean;
  /**
   * log2 of its input's scale less the working scale: what a small leading coefficient wants, see
   * activation.ts.
   */
  offset: number;
}

/** The primes of a network, and the scales that its convolutions and activations aim at. */
export interface Chain {
  /** The data primes, the first one first. */
  primes: number[];
  /** Spare primes, if there are any, and the special one. */
  spare: number[];
  special: number;
  /** By block: log2 of the scale after the convolution and, where it can be chosen, after the activation. */
  scaleBits: { convolution: number; activation: number }[];
}

/** Bits of the primes where every activation is a bare square, one kind per use, and log2 of scales. */
interface SquareBits {
  base: number;
  dense: number;
  lastSquare: number;
  lastConvolution: number;
  square: number;
  convolution: number;
  spare: number[];
  special: number;
  /** log2 of the scale after a convolution, and after the last one. */
  scale: number;
  lastScale: number;
}

/**
 * What limits precision is the rounding of the convolutions' weights, whose scale is q_convolution q_square /
 * 2^scale, then the noise of rotating a convolution's input, which counts relative to the scale after the
 * square before it: squares get primes shorter than the scale, so that it grows to 2^32 or 2^33. The last
 * square brings it down to 2^25: the dense layer's weights, a mean over time included, need the room under
 * the last prime, and the noise there is averaged out. docs/parameters.md has the measurements.
 */
const SQUARE_BITS: SquareBits = {
  base: 30,
  dense: 30,
  lastSquare: 30,
  lastConvolution: 28,
  square: 27,
  convolution: 26,
  spare: [],
  special: 30,
  scale: 30,
  lastScale: 27.5,
};

/**
 * The same with a spare prime, which halves the digits of the longest hybrid keys. Its bits are taken from
 * all others: what log2(Q P) leaves below the bound is spent on answers that are disclosed (docs/attacks.md).
 */
const SPARE_BITS: SquareBits = {
  base: 30,
  dense: 29,
  lastSquare: 28,
  lastConvolution: 26,
  square: 25,
  convolution: 24,
  spare: [27],
  special: 28,
  scale: 28.5,
  lastScale: 26.5,
};

/** log2 of the scale of fresh ciphertexts. */
export const INPUT_SCALE_BITS = 33;

/**
 * Where an activation is a polynomial: log2 of the scale that its steps keep to, at most, at least and in the
 * last block.
 */
const WORKING = { most: 30, least: 26, step: 1 / 16, last: 28 };
/**
 * log2 of the scale of the convolutions' weights, at most, and of how much coarser than the working scale it
 * may be.
 */
const WEIGHTS = { most: 26, below: 4.5 };
/** log2 of the scale after an activation, at most, and after the last one. */
const RESULT = { most: 33, last: 25 };
/** log2 of primes, at least and at most. */
const PRIMES = { least: 22, most: 30 };

/**
 * A chain that fits a ring degree at 128-bit security, or the bits that the network would need.
 *
 * @param switching hybrid keys get a spare prime where there is room for it
 */
export function chooseChain(n: number, depths: Depth[], switching: KeySwitching): Chain | { bits: number } {
  if (depths.every(({ square }) => square)) {
    const withSpare = switching === 'hybrid' ? squareChain(n, depths.length, SPARE_BITS) : null;
    return withSpare && 'primes' in withSpare ? withSpare : squareChain(n, depths.length, SQUARE_BITS);
  }
  let bits = Number.POSITIVE_INFINITY;
  for (let working = WORKING.most; working >= WORKING.least; working -= WORKING.step) {
    const chain = polynomialChain(n, depths, working);
    bits = log2Product([...chain.primes, chain.special]);
    if (bits <= MAX_LOG_QP[n]) return chain;
  }
  return { bits };
}

function squareChain(n: number, blocks: number, bits: SquareBits): Chain | { bits: number } {
  const { base, dense, lastSquare, lastConvolution, square, convolution } = bits;
  const earlier = Array.from({ length: blocks - 1 }, () => [square, convolution]).flat();
  const data = [base, dense, lastSquare, lastConvolution, ...earlier];
  const sizes = [...data, ...bits.spare, bits.special];
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total > MAX_LOG_QP[n]) return { bits: total };
  const scaleBits = Array.from({ length: blocks }, (_, b) => ({
    convolution: b === blocks - 1 ? bits.lastScale : bits.scale,
    activation: 0,
  }));
  const all = choosePrimes(n, sizes);
  return {
    primes: all.slice(0, data.length),
    spare: all.slice(data.length, -1),
    special: all.at(-1)!,
    scaleBits,
  };
}

/**
 * With w the working scale, a step T_2k = 2 T_k^2 - 1 keeps w where its prime is w / 2, and the last step of
 * an activation goes over to the result's scale r with a prime of w^2 / 2r. The convolution goes back to w
 * with weights at v, by a prime of r v / w: so a large r is free. Each prime is the nearest to what the scale
 * that was reached calls for.
 */
function polynomialChain(n: number, depths: Depth[], working: number): Chain {
  const taken = new Set<number>();
  const pick = (bits: number) => nearestPrime(n, 2 ** Math.max(PRIMES.least, bits), taken);
  const [base, dense, special] = [PRIMES.most, PRIMES.most, PRIMES.most].map(pick);
  const weights = Math.min(WEIGHTS.most, working - WEIGHTS.below);
  const scaleBits: Chain['scaleBits'] = [];
  for (let b = depths.length - 1, next = 0; b >= 0; b--) {
    const last = b === depths.length - 1;
    const { square, offset } = depths[b];
    const kept = keptScale(depths, b, working);
    const activation = last
      ? RESULT.last
      : Math.min(RESULT.most, PRIMES.most - weights + next, 2 * kept - (square ? 0 : 1) - PRIMES.least);
    next = kept + offset;
    scaleBits.unshift({ convolution: next, activation });
  }
  const inOrder: number[] = [];
  let before = INPUT_SCALE_BITS;
  depths.forEach(({ levels, square }, b) => {
    const { convolution, activation } = scaleBits[b];
    const kept = keptScale(depths, b, working);
    inOrder.push(pick(before + weights - convolution));
    let drift = 0;
    for (let level = 1; level <= levels; level++) {
      const ideal = 2 * kept - (square ? 0 : 1) - (level === levels ? activation : kept) + 2 * drift;
      const prime = pick(ideal);
      drift = ideal - Math.log2(prime);
      inOrder.push(prime);
    }
    before = activation;
  });
  return { primes: [base, dense, ...inOrder.reverse()], spare: [], special, scaleBits };
}

/**
 * log2 of the scale that an activation's steps keep to: the last one must come down to `RESULT.last` by one
 * prime.
 */
function keptScale(depths: Depth[], block: number, working: number): number {
  if (block < depths.length - 1) return working;
  return Math.min(working, depths[block].square ? SQUARE_BITS.lastScale : WORKING.last);
}
