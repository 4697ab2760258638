import { LuDecomposition, Matrix } from 'ml-matrix';
import { BlindbeatError } from '../errors.ts';
import { fromUnit, type Range } from './chebyshev.ts';
import { type Extremum, extrema } from './extrema.ts';

/** What is to be approximated by which combination of functions. */
export interface RemezProblem {
  f: (x: number) => number;
  /**
   * Values at x of the functions to combine; on the range no combination of them has as many roots as there
   * are functions.
   */
  basis: (x: number) => number[];
  range: Range;
  /** Where to look for extrema of the error, ascending, from one end of the range to the other. */
  points: readonly number[];
  /** What is approximated, for the message of a failure. */
  what: string;
}

/** The best combination, and the proof that it is. */
export interface RemezResult {
  /** Of the functions of the basis, in their order. */
  coefficients: number[];
  /** The error on the last reference, the same everywhere: no combination has a smaller largest error. */
  levelled: number;
  /** The largest error that was found on the range. */
  largest: number;
  /** Where the error alternates. */
  reference: number[];
  /** How often the reference was solved for. */
  exchanges: number;
}

const MOST_EXCHANGES = 100;
const SKEW = 0.07;
const MOST_STARTS = 4;
/** Converged: the largest error exceeds the lower bound by no more than this share of it, and rounding. */
const GAP = 1e-11;

/**
 * The best approximation in the maximum norm by Remez's second algorithm (1934), all points exchanged at
 * once: solve for an error that alternates with the same size on the reference, move the reference to the
 * extrema of the error. By de La Vallée-Poussin's theorem the levelled error bounds the best one from below,
 * so that convergence is a certificate.
 *
 * @throws BlindbeatError PLAN if it does not converge
 */
export function remez({ f, basis, range, points, what }: RemezProblem): RemezResult {
  const count = basis(range[0]).length;
  // Chebyshev extrema, skewed: on symmetric ones the levelled error of an even function can be 0, and is no
  // use.
  const start = (skew: number) =>
    Array.from({ length: count + 1 }, (_, k) => {
      const t = -Math.cos((Math.PI * k) / count);
      return fromUnit(t + skew * (1 - t * t), range);
    });
  let starts = 1;
  let reference = start(SKEW);
  const height = Math.max(...points.map((x) => Math.abs(f(x))));
  let state = 'no exchange was made';
  for (let exchanges = 1; exchanges <= MOST_EXCHANGES; exchanges++) {
    const system = new LuDecomposition(new Matrix(reference.map((x, k) => [...basis(x), (-1) ** k])));
    if (system.isSingular()) {
      state = 'its equations have no single solution';
      break;
    }
    const unknowns = system.solve(Matrix.columnVector(reference.map(f))).to1DArray();
    const levelled = Math.abs(unknowns[count]);
    const coefficients = unknowns.slice(0, count);
    const error = (x: number) => basis(x).reduce((e, b, k) => e - b * coefficients[k], f(x));
    const found = extrema(
      error,
      [...new Set([...points, ...reference])].sort((a, b) => a - b),
    );
    const largest = Math.max(...found.map(({ value }) => Math.abs(value)));
    const rounding =
      4 * count * Number.EPSILON * (height + coefficients.reduce((s, c) => s + Math.abs(c), 0));
    state =
      `the error is between ${levelled.toExponential(3)} and ${largest.toExponential(3)} ` +
      `after ${exchanges} exchanges`;
    if (!Number.isFinite(largest)) break;
    if (largest - levelled <= GAP * largest + rounding)
      return { coefficients, levelled, largest, reference, exchanges };
    const alternating = alternate(found);
    if (alternating.length > count) reference = choose(alternating, count + 1).map(({ x }) => x);
    else if (starts < MOST_STARTS) reference = start(SKEW * ++starts);
    else break;
  }
  throw new BlindbeatError(
    'PLAN',
    `The minimax approximation of ${what} did not converge: ${state}. ` +
      'Take another degree or range, or least squares or Chebyshev interpolation.',
  );
}

/** Of neighbours with the same sign the largest. */
function alternate(found: readonly Extremum[]): Extremum[] {
  const kept: Extremum[] = [];
  for (const point of found) {
    const last = kept.at(-1);
    if (point.value === 0) continue;
    if (last === undefined || last.value * point.value < 0) kept.push(point);
    else if (Math.abs(point.value) > Math.abs(last.value)) kept[kept.length - 1] = point;
  }
  return kept;
}

/**
 * So many alternating points, the largest among them. An even function on a symmetric range has one more than
 * are needed: then the smaller end goes. Else the smallest goes with its smaller neighbour, and what remains
 * still alternates.
 */
function choose(alternating: Extremum[], count: number): Extremum[] {
  const kept = [...alternating];
  const size = (i: number) => Math.abs(kept[i]?.value ?? Number.POSITIVE_INFINITY);
  while (kept.length > count) {
    let least = 0;
    for (let i = 1; i < kept.length; i++) if (size(i) < size(least)) least = i;
    const last = kept.length - 1;
    if (kept.length === count + 1 || least === 0 || least === last) {
      if (size(0) < size(last)) kept.shift();
      else kept.pop();
    } else kept.splice(size(least - 1) < size(least + 1) ? least - 1 : least, 2);
  }
  return kept;
}
