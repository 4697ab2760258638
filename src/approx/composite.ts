import { BlindbeatError } from '../errors.ts';
import {
  type ChebyshevSeries,
  chebyshevPoints,
  chebyshevValues,
  evaluateSeries,
  type Range,
  seriesThrough,
} from './chebyshev.ts';
import { samplePoints } from './extrema.ts';
import { remez } from './remez.ts';

/**
 * x (slopes[0] + slopes[1] + (slopes[1] - slopes[0]) sign(x)) / 2, the sign by polynomials one after another.
 */
export interface Composite {
  range: Range;
  slopes: readonly [number, number];
  /** Odd polynomials. The first takes x, each other the value before it; all but the last end on [-1, 1]. */
  stages: ChebyshevSeries[];
}

const MOST_STAGES = 6;
const SEARCH_STEPS = 24;

/** The value of a composite at x: the stages one after another. */
export function evaluateComposite({ slopes, stages }: Composite, x: number): number {
  const sign = stages.reduce((value, stage) => evaluateSeries(stage, value), x);
  return (x * (slopes[0] + slopes[1] + (slopes[1] - slopes[0]) * sign)) / 2;
}

/**
 * A function that is linear on either side of 0, with the sign approximated by a composition of odd minimax
 * polynomials (Lee, Lee, No & Kim, Minimax Approximation of Sign Function by Composite Polynomial for
 * Homomorphic Comparison; for ReLU Lee et al. 2021, arXiv 2105.10879): the first is the best on [-1, -gap]
 * and [gap, 1], each other on what the one before it makes of these. The gap is the one with the least error
 * of the whole.
 *
 * @param slopes below and above 0
 * @param degrees of the stages, odd
 * @throws BlindbeatError USAGE if there are not 1 to 6 degrees, each odd and from 3 to 63; PLAN if a stage
 * does not converge
 */
export function composite(
  slopes: readonly [number, number],
  range: Range,
  degrees: readonly number[],
): Composite {
  if (
    degrees.length < 1 ||
    degrees.length > MOST_STAGES ||
    degrees.some((d) => d % 2 !== 1 || d < 3 || d > 63)
  ) {
    throw new BlindbeatError(
      'USAGE',
      `A composite takes 1 to ${MOST_STAGES} odd degrees from 3 to 63, one for each stage, such as 7,15; ` +
        `got ${degrees.join(',')}.`,
    );
  }
  const farther = Math.max(Math.abs(range[0]), Math.abs(range[1]));
  const make = (log2Gap: number): Composite => ({
    range,
    slopes,
    stages: signStages(2 ** log2Gap, farther, degrees),
  });
  const points = samplePoints(
    [0, 1],
    degrees.reduce((a, b) => a * b, 1),
  ).map((x) => x * farther);
  const errorOf = (log2Gap: number) => {
    const c = make(log2Gap);
    const sign = (x: number) => c.stages.reduce((value, stage) => evaluateSeries(stage, value), x);
    let worst = 0;
    for (const x of points) worst = Math.max(worst, x * Math.abs(1 - sign(x)));
    return worst;
  };
  // Golden section: a wider gap lets the error within it grow, a narrower one that outside of it.
  const golden = (Math.sqrt(5) - 1) / 2;
  let [from, to] = [-24, -0.1];
  let [x1, x2] = [to - golden * (to - from), from + golden * (to - from)];
  let [y1, y2] = [errorOf(x1), errorOf(x2)];
  for (let step = 0; step < SEARCH_STEPS; step++) {
    if (y1 < y2) {
      [to, x2, y2] = [x2, x1, y1];
      x1 = to - golden * (to - from);
      y1 = errorOf(x1);
    } else {
      [from, x1, y1] = [x1, x2, y2];
      x2 = from + golden * (to - from);
      y2 = errorOf(x2);
    }
  }
  return make(y1 < y2 ? x1 : x2);
}

/** Stages for inputs of size up to `farther`, the sign of which matters from gap · farther on. */
function signStages(gap: number, farther: number, degrees: readonly number[]): ChebyshevSeries[] {
  let [low, high] = [gap, 1];
  let scale = farther;
  return degrees.map((degree, i) => {
    const last = i === degrees.length - 1;
    const { series, error } = bestSign(low, high, degree, scale);
    // What comes out lies within 1 ± error; divided by the largest of it, the next stage has it on [-1, 1].
    const largest = last ? 1 : 1 + error;
    [low, high] = [(1 - error) / largest, 1];
    scale = 1;
    return { range: series.range, coefficients: series.coefficients.map((c) => c / largest) };
  });
}

/**
 * The odd polynomial nearest to 1 on [low, high]. It is x P(x²), and P is sought in Chebyshev polynomials of
 * x² on [low², high²]: odd polynomials themselves would be an ill-conditioned basis on a narrow interval.
 */
function bestSign(low: number, high: number, degree: number, scale: number) {
  const terms = (degree + 1) / 2;
  const basis = (x: number) =>
    chebyshevValues((2 * x * x - low * low - high * high) / (high * high - low * low), terms - 1).map(
      (t) => x * t,
    );
  const count = 40 * (terms + 2);
  const points = Array.from(
    { length: count + 1 },
    // Evenly in the angle of x², as the basis oscillates.
    (_, j) =>
      Math.sqrt(
        (low * low + high * high) / 2 - ((high * high - low * low) / 2) * Math.cos((Math.PI * j) / count),
      ),
  );
  points[0] = low;
  points[count] = high;
  const { coefficients, largest } = remez({
    f: () => 1,
    basis,
    range: [low, high],
    points,
    what: `the sign, a stage of degree ${degree} on [${low.toPrecision(3)}, ${high.toPrecision(3)}]`,
  });
  const range: Range = [-scale, scale];
  const values = chebyshevPoints([-1, 1], degree).map((x) =>
    basis(x).reduce((s, b, k) => s + coefficients[k] * b, 0),
  );
  const series = seriesThrough(values, range);
  // Even terms are rounding errors.
  return {
    series: { range, coefficients: series.coefficients.map((c, k) => (k % 2 === 1 ? c : 0)) },
    error: largest,
  };
}
