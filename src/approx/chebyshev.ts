import { BlindbeatError } from '../errors.ts';

/** An interval, low < high. */
export type Range = readonly [number, number];

/** Σ coefficients[k] T_k(t) for t = (2x - low - high) / (high - low). */
export interface ChebyshevSeries {
  range: Range;
  coefficients: readonly number[];
}

/** x on the range as t on [-1, 1]. */
export function toUnit(x: number, [low, high]: Range): number {
  return (x - low - (high - x)) / (high - low);
}

/** t on [-1, 1] as x on the range. */
export function fromUnit(t: number, [low, high]: Range): number {
  return ((1 - t) * low + (1 + t) * high) / 2;
}

/** The value at x by Clenshaw's recurrence (1955), stable on the range for every degree. */
export function evaluateSeries({ range, coefficients }: ChebyshevSeries, x: number): number {
  const t = toUnit(x, range);
  let b1 = 0;
  let b2 = 0;
  for (let k = coefficients.length - 1; k > 0; k--) {
    const b0 = 2 * t * b1 - b2 + coefficients[k];
    b2 = b1;
    b1 = b0;
  }
  return t * b1 - b2 + coefficients[0];
}

/** T_0(t) … T_degree(t). */
export function chebyshevValues(t: number, degree: number): number[] {
  const values = [1, t];
  for (let k = 2; k <= degree; k++) values.push(2 * t * values[k - 1] - values[k - 2]);
  return values.slice(0, degree + 1);
}

/** The degree + 1 roots of T_(degree+1), descending, at which `seriesThrough` wants its values. */
export function chebyshevPoints(range: Range, degree: number): number[] {
  const n = degree + 1;
  return Array.from({ length: n }, (_, j) => fromUnit(Math.cos((Math.PI * (j + 0.5)) / n), range));
}

/** The polynomial of degree n - 1 through n values at `chebyshevPoints`: a discrete cosine transform. */
export function seriesThrough(values: ArrayLike<number>, range: Range): ChebyshevSeries {
  const n = values.length;
  const coefficients = Array.from({ length: n }, (_, k) => {
    let sum = 0;
    // (2j + 1) k modulo 4n keeps the cosine's argument small, and so exact.
    for (let j = 0; j < n; j++)
      sum += values[j] * Math.cos((Math.PI * (((2 * j + 1) * k) % (4 * n))) / (2 * n));
    return ((k === 0 ? 1 : 2) * sum) / n;
  });
  return { range, coefficients };
}

/** At most so many of the sixteen digits of a double may be lost by `monomials`. */
const DIGITS_TO_LOSE = 6;

/**
 * Coefficients of 1, x, x², …, and how many decimal digits evaluating them loses: log10 of Σ |a_k| M^k over
 * the largest |p|, both on the range, with M its end farther from 0.
 *
 * @throws BlindbeatError USAGE if more than six digits would be lost
 */
export function monomials(series: ChebyshevSeries): { coefficients: number[]; digitsLost: number } {
  const { range, coefficients: c } = series;
  const [low, high] = range;
  const scale = 2 / (high - low);
  const shift = -(low + high) / (high - low);
  // Clenshaw's recurrence on polynomials in x instead of numbers.
  const timesT = (p: number[]) => {
    const product = new Array<number>(p.length + 1).fill(0);
    p.forEach((a, k) => {
      product[k] += shift * a;
      product[k + 1] += scale * a;
    });
    return product;
  };
  let b1 = [0];
  let b2 = [0];
  for (let k = c.length - 1; k > 0; k--) {
    const b0 = timesT(b1).map((a, i) => 2 * a - (b2[i] ?? 0));
    b0[0] += c[k];
    b2 = b1;
    b1 = b0;
  }
  const coefficients = timesT(b1)
    .map((a, i) => a - (b2[i] ?? 0))
    .slice(0, c.length);
  coefficients[0] += c[0];
  const farther = Math.max(Math.abs(low), Math.abs(high));
  const sum = coefficients.reduce((s, a, k) => s + Math.abs(a) * farther ** k, 0);
  let largest = 0;
  for (let j = 0; j <= 8 * c.length; j++) {
    const x = fromUnit(Math.cos((Math.PI * j) / (8 * c.length)), range);
    largest = Math.max(largest, Math.abs(evaluateSeries(series, x)));
  }
  const digitsLost = largest === 0 ? 0 : Math.max(0, Math.log10(sum / largest));
  if (digitsLost <= DIGITS_TO_LOSE) return { coefficients, digitsLost };
  throw new BlindbeatError(
    'USAGE',
    `In powers of x this polynomial loses ${digitsLost.toFixed(1)} of 16 digits on [${low}, ${high}], ` +
      `more than ${DIGITS_TO_LOSE}: use its Chebyshev coefficients.`,
  );
}
