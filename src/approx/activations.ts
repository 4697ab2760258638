import { BlindbeatError } from '../errors.ts';

/** A function to be approximated. */
export interface Activation {
  name: string;
  f: (x: number) => number;
  /** Slopes below and above 0 of a function that is linear on either side of it. */
  slopes?: readonly [number, number];
}

const sigmoid = (x: number) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

/** The activations that have a name. Leaky ReLU has slope 0.01 below 0; GELU is the exact one, x Φ(x). */
const NAMED: Record<string, Omit<Activation, 'name'>> = {
  relu: { f: (x) => Math.max(0, x), slopes: [0, 1] },
  'leaky-relu': { f: (x) => (x < 0 ? 0.01 * x : x), slopes: [0.01, 1] },
  sigmoid: { f: sigmoid },
  tanh: { f: Math.tanh },
  silu: { f: (x) => x * sigmoid(x) },
  gelu: { f: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)) },
  softplus: { f: (x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x))) },
};

export const ACTIVATIONS: readonly string[] = Object.keys(NAMED);

/**
 * An activation by its name; a function is taken as it is.
 *
 * @throws BlindbeatError USAGE if no activation has that name
 */
export function activation(what: string | ((x: number) => number)): Activation {
  if (typeof what === 'function') return { name: what.name || 'f', f: what };
  if (Object.hasOwn(NAMED, what)) return { name: what, ...NAMED[what] };
  throw new BlindbeatError('USAGE', `There is no activation "${what}". Known are ${ACTIVATIONS.join(', ')}.`);
}

/** erf by its series of positive terms (Abramowitz & Stegun 7.1.6), to an absolute 1e-15. */
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
