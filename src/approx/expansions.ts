import { BlindbeatError } from '../errors.ts';
import { type ChebyshevSeries, chebyshevPoints, fromUnit, type Range, seriesThrough } from './chebyshev.ts';
import { requireGaussian } from './distribution.ts';
import { adaptiveRule, type Rule } from './quadrature.ts';

type Fn = (x: number) => number;

/**
 * The first terms of the Chebyshev series of f by quadrature: c_k = 2/π ∫ f(cos θ) cos kθ dθ from 0 to π,
 * half of it for k = 0.
 *
 * @throws BlindbeatError PLAN if f turns too often for that
 */
export function truncate(f: Fn, range: Range, degree: number): ChebyshevSeries {
  const terms = (theta: number) => {
    const y = f(fromUnit(Math.cos(theta), range));
    return Array.from({ length: degree + 1 }, (_, k) => y * Math.cos(k * theta));
  };
  const { x, w } = adaptiveRule(terms, [0, Math.PI]);
  const coefficients = new Array<number>(degree + 1).fill(0);
  x.forEach((theta, i) => {
    terms(theta).forEach((v, k) => {
      coefficients[k] += (((k === 0 ? 1 : 2) * w[i]) / Math.PI) * v;
    });
  });
  return { range, coefficients };
}

/**
 * The polynomial with the least mean squared error over weighted points: f expanded in the polynomials that
 * are orthonormal there, made by their three-term recurrence (Stieltjes; Gautschi 2004, 2.2) next to their
 * values at the Chebyshev points, from which the series is read off. Neither normal equations nor a
 * Vandermonde matrix, whose condition grows with the degree and with inputs that crowd in a part of the
 * range; and no QR of a matrix as long as the samples.
 *
 * @throws BlindbeatError USAGE if there are not enough different points
 */
export function leastSquares(f: Fn, range: Range, degree: number, { x, w }: Rule): ChebyshevSeries {
  if (new Set(x).size <= degree) {
    throw new BlindbeatError(
      'USAGE',
      `Least squares of degree ${degree} needs at least ${degree + 1} different inputs, ` +
        `got ${new Set(x).size}.`,
    );
  }
  const points = chebyshevPoints(range, degree);
  const half = (range[1] - range[0]) / 2;
  const average = (u: ArrayLike<number>, v: ArrayLike<number>) => {
    let sum = 0;
    for (let i = 0; i < w.length; i++) sum += w[i] * u[i] * v[i];
    return sum;
  };
  const residual = Float64Array.from(x, f);
  const values = new Float64Array(points.length);
  // Polynomials k - 1 and k, at the inputs and at the Chebyshev points behind them.
  let before = new Float64Array(x.length + points.length);
  let now = new Float64Array(x.length + points.length).fill(1);
  const places = Float64Array.from([...x, ...points], (v) => (v - range[0]) / half - 1);
  const n = x.length;
  let beta = 0;
  for (let k = 0; ; k++) {
    const size = Math.sqrt(average(now, now));
    now = now.map((v) => v / size);
    if (k > 0) beta = size;
    const coefficient = average(residual, now);
    for (let i = 0; i < n; i++) residual[i] -= coefficient * now[i];
    for (let j = 0; j < points.length; j++) values[j] += coefficient * now[n + j];
    if (k === degree) return seriesThrough(values, range);
    const alpha = average(
      now.map((v, i) => v * places[i]),
      now,
    );
    const next = now.map((v, i) => (places[i] - alpha) * v - beta * before[i]);
    before = now;
    now = next;
  }
}

/** Where the Hermite expansion is integrated: beyond, even h_63 times the Gaussian is below 1e-40. */
const DEVIATIONS = 20;

/**
 * The Hermite expansion of an activation under a Gaussian, as in HerPN (Park et al. 2022): the mean of
 * f(mean + deviation z) h_k(z) over standard normal z, h_k = He_k / sqrt(k!).
 *
 * @returns the coefficients of h_0 … h_degree
 * @throws BlindbeatError USAGE if the Gaussian is none, or f is not finite within 20 deviations; PLAN if f
 * turns too often
 */
export function hermiteCoefficients(f: Fn, mean: number, deviation: number, degree: number): number[] {
  requireGaussian(mean, deviation);
  const terms = (z: number) => {
    const y = f(mean + deviation * z);
    if (!Number.isFinite(y)) {
      throw new BlindbeatError(
        'USAGE',
        `The function is ${y} at ${mean + deviation * z}; ` +
          `a Hermite expansion needs it finite within ${DEVIATIONS} deviations of the mean.`,
      );
    }
    const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
    return hermiteValues(z, degree).map((h) => y * h * density);
  };
  const { x, w } = adaptiveRule(terms, [-DEVIATIONS, DEVIATIONS], 40);
  const coefficients = new Array<number>(degree + 1).fill(0);
  x.forEach((z, i) => {
    terms(z).forEach((v, k) => {
      coefficients[k] += w[i] * v;
    });
  });
  return coefficients;
}

/** The sum of a Hermite expansion as a Chebyshev series on a range. */
export function hermiteSeries(
  coefficients: readonly number[],
  mean: number,
  deviation: number,
  range: Range,
): ChebyshevSeries {
  const degree = coefficients.length - 1;
  const values = chebyshevPoints(range, degree).map((x) =>
    hermiteValues((x - mean) / deviation, degree).reduce((s, h, k) => s + coefficients[k] * h, 0),
  );
  return seriesThrough(values, range);
}

/** h_0(z) … h_degree(z), the normalised probabilists' Hermite polynomials. */
function hermiteValues(z: number, degree: number): number[] {
  const values = [1, z];
  for (let k = 2; k <= degree; k++)
    values.push((z * values[k - 1] - Math.sqrt(k - 1) * values[k - 2]) / Math.sqrt(k));
  return values.slice(0, degree + 1);
}
