import { BlindbeatError } from '../errors.ts';
import { type Activation, type ActivationName, activation } from './activations.ts';
import {
  type Approximation,
  type ApproximationErrors,
  isComposite,
  type Method,
  type PolynomialApproximation,
} from './approximation.ts';
import {
  type ChebyshevSeries,
  chebyshevPoints,
  chebyshevValues,
  evaluateSeries,
  type Range,
  seriesThrough,
  toUnit,
} from './chebyshev.ts';
import { composite, evaluateComposite } from './composite.ts';
import { averagingRule, type Distribution, momentsOf } from './distribution.ts';
import { hermiteCoefficients, hermiteSeries, leastSquares, truncate } from './expansions.ts';
import { isName, parseActivation } from './expressions.ts';
import { extrema, samplePoints } from './extrema.ts';
import { enclose, RESOLUTION } from './kinks.ts';
import type { Rule } from './quadrature.ts';
import { remez } from './remez.ts';

const MOST_DEGREE = 63;

/** What `approximate` is to find. */
export interface ApproximationOptions {
  /** Inputs for which it is to hold. */
  range: Range;
  /** 1 to 63. For method composite the degrees of its stages, such as [7, 15]. */
  degree: number | readonly number[];
  /** Default: minimax. */
  method?: Method;
  /**
   * How often which input occurs. It weighs least squares and the rms error; Hermite takes its mean and
   * deviation. Default: uniform.
   */
  distribution?: Distribution;
}

/** The value of an approximation at x, which is to lie on its range. */
export function evaluateApproximation(a: Approximation, x: number): number {
  return isComposite(a) ? evaluateComposite(a, x) : evaluateSeries(a, x);
}

/**
 * A polynomial approximation of an activation, and how good it is. The activation is given by its name, as a
 * function, or as what `parseActivation` made.
 *
 * @throws BlindbeatError USAGE if no activation has that name, the range is empty, the degree not from 1 to
 * 63, the function not finite on the range, the distribution outside of it or not one that the method can
 * take; PLAN if minimax does not converge or the function turns too often to be averaged
 */
export function approximate(
  what: ActivationName | ((x: number) => number) | Activation,
  options: ApproximationOptions,
): Approximation;
/**
 * The same of a text that may also be an expression of x, such as `x / (1 + exp(-1.702 x))`: await it. For an
 * expression the result is a promise, because what reads it is loaded first; for the name of an activation it
 * is there at once.
 *
 * @throws BlindbeatError as above, and those of `parseActivation`; for an expression the promise is rejected
 * with it
 */
export function approximate(
  what: string | ((x: number) => number) | Activation,
  options: ApproximationOptions,
): Approximation | Promise<Approximation>;
export function approximate(
  what: string | ((x: number) => number) | Activation,
  options: ApproximationOptions,
): Approximation | Promise<Approximation> {
  if (typeof what === 'object') return approximateActivation(what, options);
  if (typeof what === 'string' && !isName(what)) {
    return parseActivation(what).then((target) => approximateActivation(target, options));
  }
  return approximateActivation(activation(what), options);
}

function approximateActivation(
  target: Activation,
  { range, degree, method = 'minimax', distribution = { kind: 'uniform' } }: ApproximationOptions,
): Approximation {
  requireRange(range);
  if (method === 'composite') {
    if (!target.slopes) {
      throw new BlindbeatError(
        'USAGE',
        'A composite is for relu and leaky-relu, or an activation whose slopes on either side of 0 are ' +
          `given, not for ${target.name}.`,
      );
    }
    const degrees = typeof degree === 'number' ? [degree] : [...degree];
    const parts = composite(target.slopes, range, degrees);
    const whole = degrees.reduce((a, b) => a * b, 1) + 1;
    const rounding = 64 * Number.EPSILON * Math.max(Math.abs(range[0]), Math.abs(range[1]));
    const error = (x: number) => target.f(x) - evaluateComposite(parts, x);
    // The rule is made for the error, which turns more often than any polynomial of degree 63.
    const errors = measure(error, range, whole, averagingRule(distribution, error, range, 0), rounding);
    return {
      activation: target.name,
      method,
      basis: 'chebyshev',
      degree: whole,
      degrees,
      ...parts,
      ...errors,
    };
  }
  const n = requireDegree(degree);
  const kinks = target.kinks?.(range) ?? [];
  const points = samplePoints(range, n, kinks);
  requireFinite(target, points);
  const rule = averagingRule(distribution, target.f, range, n, kinks);
  const { series, ...extra } = fit(target, range, n, method, distribution, points, rule);
  const sum = series.coefficients.reduce((s, c) => s + Math.abs(c), 0);
  const rounding = 4 * (n + 1) * Number.EPSILON * sum;
  const more = [...kinks, ...(extra.minimax?.reference ?? [])];
  const errors = measure((x) => target.f(x) - evaluateSeries(series, x), range, n, rule, rounding, more);
  return {
    activation: target.name,
    method,
    basis: 'chebyshev',
    degree: n,
    range,
    coefficients: series.coefficients,
    ...errors,
    ...extra,
  };
}

interface Fit extends Pick<PolynomialApproximation, 'hermite' | 'minimax'> {
  series: ChebyshevSeries;
}

function fit(
  { f, name }: Activation,
  range: Range,
  degree: number,
  method: Exclude<Method, 'composite'>,
  distribution: Distribution,
  points: readonly number[],
  rule: Rule,
): Fit {
  switch (method) {
    case 'chebyshev':
      return { series: seriesThrough(chebyshevPoints(range, degree).map(f), range) };
    case 'truncation':
      return { series: truncate(f, range, degree) };
    case 'least-squares':
      return { series: leastSquares(f, range, degree, rule) };
    case 'minimax': {
      const found = remez({
        f,
        basis: (x) => chebyshevValues(toUnit(x, range), degree),
        range,
        points,
        what: `${name} by degree ${degree} on [${range.join(', ')}]`,
      });
      const { coefficients, levelled: lowerBound, reference, exchanges } = found;
      return { series: { range, coefficients }, minimax: { lowerBound, reference, exchanges } };
    }
    case 'hermite': {
      const moments = momentsOf(distribution);
      if (moments === undefined) {
        throw new BlindbeatError(
          'USAGE',
          'A Hermite expansion needs the mean and deviation of the inputs: give a deviation, or samples.',
        );
      }
      const { mean, deviation } = moments;
      const coefficients = hermiteCoefficients(f, mean, deviation, degree);
      return {
        series: hermiteSeries(coefficients, mean, deviation, range),
        hermite: { mean, deviation, coefficients },
      };
    }
  }
}

/** Share by which the largest error is rounded up: golden section finds no extremum to the last bit. */
const ROUND_UP = 1e-12;

function measure(
  e: (x: number) => number,
  range: Range,
  degree: number,
  rule: Rule,
  rounding: number,
  more: readonly number[] = [],
): ApproximationErrors {
  const found = extrema(e, samplePoints(range, degree, more));
  const worst = found.reduce((a, b) => (Math.abs(b.value) > Math.abs(a.value) ? b : a));
  const meanSquare = rule.x.reduce((s, x, i) => s + rule.w[i] * e(x) ** 2, 0);
  return {
    maxError: Math.abs(worst.value) * (1 + ROUND_UP) + rounding,
    maxErrorAt: worst.x,
    rmsError: Math.sqrt(meanSquare),
  };
}

function requireRange([low, high]: Range): void {
  if (Number.isFinite(low) && Number.isFinite(high) && low < high) return;
  throw new BlindbeatError(
    'USAGE',
    `Expected a range from a lower to a higher number, such as -4,4; got ${low},${high}.`,
  );
}

function requireDegree(degree: number | readonly number[]): number {
  const n = typeof degree === 'number' ? degree : degree.length === 1 ? degree[0] : Number.NaN;
  if (Number.isInteger(n) && n >= 1 && n <= MOST_DEGREE) return n;
  throw new BlindbeatError(
    'USAGE',
    `Expected a degree from 1 to ${MOST_DEGREE}, got ${degree}. ` +
      'Several degrees are for method composite, higher ones too.',
  );
}

/** A function that is so many times larger between the points than at any of them has a pole there. */
const POLE = 1e6;

function requireFinite({ f, name }: Activation, points: readonly number[]): void {
  const isBad = (x: number) => !Number.isFinite(f(x));
  const first = points.findIndex(isBad);
  if (first >= 0) {
    const end = points[points.length - 1];
    const width = RESOLUTION * (end - points[0]);
    const good = points.findIndex((x, i) => i > first && !isBad(x));
    const at =
      first === 0 ? points[0] : enclose((x) => !isBad(x), points[first - 1], points[first], width)[1];
    const until = good < 0 ? end : enclose(isBad, points[good - 1], points[good], width)[0];
    const wide = short(until) === short(at) ? '' : `, and no finite number as far as ${short(until)}`;
    throw notFinite(`${name} is ${f(at)} at ${short(at)}${wide}`);
  }
  const most = POLE * Math.max(...points.map((x) => Math.abs(f(x))));
  const pole = extrema(f, points).find(({ value }) => !(Math.abs(value) <= most) && most > 0);
  if (pole) throw notFinite(`${name} grows without a bound near ${short(pole.x)}`);
}

function notFinite(what: string): BlindbeatError {
  return new BlindbeatError(
    'USAGE',
    `${what}: it must be a finite real number on the whole range. Choose a range without this point.`,
  );
}

/** A number for people to read: 0.30000000000000004 is 0.3, 1e-18 is 0. */
function short(x: number): string {
  return Math.abs(x) < 1e-15 ? '0' : String(Number(x.toPrecision(9)));
}
