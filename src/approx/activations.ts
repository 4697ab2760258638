import { BlindbeatError } from '../errors.ts';
import type { Range } from './chebyshev.ts';

/** A function to be approximated. */
export interface Activation {
  /** For people: a name, or the expression that it was read from. */
  name: string;
  /** Its value at x; on the range of an approximation a finite number. */
  f: (x: number) => number;
  /** Slopes below and above 0 of a function that is linear on either side of it. */
  slopes?: readonly [number, number];
  /**
   * Points of a range at which it may bend or jump, in any order; false ones do no harm. Bends are found
   * without them too, but for those that lie nearer together than the points at which errors are looked for.
   */
  kinks?: (range: Range) => readonly number[];
}

/** The logistic function 1 / (1 + e^-x), which overflows nowhere. */
export const sigmoid = (x: number): number =>
  x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));

const NAMED = {
  relu: { f: (x) => Math.max(0, x), slopes: [0, 1] },
  'leaky-relu': { f: (x) => (x < 0 ? 0.01 * x : x), slopes: [0.01, 1] },
  sigmoid: { f: sigmoid },
  tanh: { f: Math.tanh },
  silu: { f: (x) => x * sigmoid(x) },
  gelu: { f: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)) },
  softplus: { f: (x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x))) },
} satisfies Record<string, Omit<Activation, 'name'>>;

/** One of `ACTIVATIONS`. */
export type ActivationName = keyof typeof NAMED;

/**
 * The activations that have a name, in the order of documents. Leaky ReLU has slope 0.01 below 0; GELU is the
 * exact one, x Φ(x).
 */
export const ACTIVATIONS = Object.keys(NAMED) as readonly ActivationName[];

/**
 * An activation by its name; a function is taken as it is, with its own name or f.
 *
 * @throws BlindbeatError USAGE if no activation has that name
 */
export function activation(what: string | ((x: number) => number)): Activation {
  if (typeof what === 'function') return { name: what.name || 'f', f: what };
  const named: Record<string, Omit<Activation, 'name'>> = NAMED;
  if (Object.hasOwn(named, what)) return { name: what, ...named[what] };
  throw new BlindbeatError(
    'USAGE',
    `There is no activation "${what}". Known are ${ACTIVATIONS.join(', ')}; ` +
      'or give an expression of x, such as x / (1 + exp(-x)).',
  );
}

/**
 * The error function 2/√π ∫ exp(-t²) dt from 0 to x, to an absolute 1e-15, by its series of positive terms
 * (Abramowitz & Stegun 7.1.6).
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
