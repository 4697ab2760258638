import type { ChebyshevSeries } from './chebyshev.ts';
import type { Composite } from './composite.ts';

/** How the polynomial is chosen; docs/approximation.md has the source of each. */
export const METHODS = [
  'chebyshev',
  'truncation',
  'least-squares',
  'minimax',
  'hermite',
  'composite',
] as const;
/** One of `METHODS`. */
export type Method = (typeof METHODS)[number];

/** How far an approximation is from its function. */
export interface ApproximationErrors {
  /** The largest error on the range, rounded up. */
  maxError: number;
  /** Where it is. */
  maxErrorAt: number;
  /** The root of the mean squared error over the distribution. */
  rmsError: number;
}

/** One polynomial in the Chebyshev basis of its range. */
export interface PolynomialApproximation extends ChebyshevSeries, ApproximationErrors {
  /** The name of the function, or its expression. */
  activation: string;
  method: Exclude<Method, 'composite'>;
  basis: 'chebyshev';
  degree: number;
  /** Of method hermite: the expansion under the Gaussian. */
  hermite?: { mean: number; deviation: number; coefficients: number[] };
  /** Of method minimax: the lower bound of any polynomial's error, and where the error alternates. */
  minimax?: { lowerBound: number; reference: number[]; exchanges: number };
}

/** x times polynomials of polynomials. */
export interface CompositeApproximation extends Composite, ApproximationErrors {
  /** The name of the function. */
  activation: string;
  method: 'composite';
  basis: 'chebyshev';
  /** Of the whole, as a polynomial in x. */
  degree: number;
  /** Of the stages. */
  degrees: number[];
}

/** What `approximate` found. */
export type Approximation = PolynomialApproximation | CompositeApproximation;

/** Whether an approximation is a composite, and no single polynomial. */
export function isComposite(a: Approximation): a is CompositeApproximation {
  return a.method === 'composite';
}
