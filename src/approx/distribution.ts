import { BlindbeatError } from '../errors.ts';
import { chebyshevValues, type Range, toUnit } from './chebyshev.ts';
import { adaptiveRule, type Rule } from './quadrature.ts';

/** How often which input occurs: what weighs the squared errors. */
export type Distribution =
  | { kind: 'uniform' }
  /** Inputs as they were seen. */
  | { kind: 'samples'; values: ArrayLike<number> }
  /** counts[i] inputs between edges[i] and edges[i + 1], spread evenly there. */
  | { kind: 'histogram'; edges: readonly number[]; counts: readonly number[] }
  | { kind: 'normal'; mean: number; deviation: number };

/** Beyond so many deviations a Gaussian weighs less than a rounding error. */
const DEVIATIONS = 12;

/**
 * Points and weights that sum to 1, with which f, f² and f times polynomials of that degree are averaged over
 * the distribution. A Gaussian is cut to the range.
 *
 * @param kinks of f, as far as they are known
 * @throws BlindbeatError USAGE if inputs lie outside of the range, or the distribution is none; PLAN if f
 * turns too often
 */
export function averagingRule(
  distribution: Distribution,
  f: (x: number) => number,
  range: Range,
  degree: number,
  kinks: readonly number[] = [],
): Rule {
  const weighted = (density: (x: number) => number, part: Range, panels?: number) => {
    const components = (x: number) => {
      const y = f(x);
      const t = chebyshevValues(toUnit(x, range), 2 * degree);
      return [y * y, ...t.slice(0, degree + 1).map((v) => y * v), t[2 * degree]].map((v) => v * density(x));
    };
    const rule = adaptiveRule(components, part, panels, kinks);
    return { x: rule.x, w: rule.w.map((w, i) => w * density(rule.x[i])) };
  };
  switch (distribution.kind) {
    case 'uniform':
      return normalised(weighted(() => 1, range));
    case 'normal':
      return normalised(normal(distribution, range, weighted));
    case 'samples': {
      const x = Array.from(distribution.values);
      requireInside(x, range);
      return normalised({ x, w: x.map(() => 1) });
    }
    case 'histogram':
      return normalised(histogram(distribution, range, weighted));
  }
}

type Weighted = (density: (x: number) => number, part: Range, panels?: number) => Rule;

function normal(
  { mean, deviation }: { mean: number; deviation: number },
  [low, high]: Range,
  weighted: Weighted,
): Rule {
  requireGaussian(mean, deviation);
  const part: Range = [
    Math.max(low, mean - DEVIATIONS * deviation),
    Math.min(high, mean + DEVIATIONS * deviation),
  ];
  if (part[0] >= part[1]) {
    throw new BlindbeatError(
      'USAGE',
      `The range [${low}, ${high}] is more than ${DEVIATIONS} deviations away from the mean ${mean}: ` +
        'no input is in it.',
    );
  }
  return weighted((x) => Math.exp(-0.5 * ((x - mean) / deviation) ** 2), part, 24);
}

function histogram(
  { edges, counts }: { edges: readonly number[]; counts: readonly number[] },
  range: Range,
  weighted: Weighted,
): Rule {
  const rising = edges.every((e, i) => Number.isFinite(e) && (i === 0 || e > edges[i - 1]));
  if (edges.length !== counts.length + 1 || !rising || counts.some((c) => !(c >= 0) || !Number.isFinite(c))) {
    throw new BlindbeatError(
      'USAGE',
      'Expected a histogram of rising edges and one count, not negative, between each two; ' +
        `got ${edges.length} edges and ${counts.length} counts.`,
    );
  }
  const rule: Rule = { x: [], w: [] };
  counts.forEach((count, i) => {
    if (count === 0) return;
    requireInside([edges[i], edges[i + 1]], range);
    const density = count / (edges[i + 1] - edges[i]);
    const bin = weighted(() => density, [edges[i], edges[i + 1]], 1);
    rule.x.push(...bin.x);
    rule.w.push(...bin.w);
  });
  return rule;
}

function normalised({ x, w }: Rule): Rule {
  const sum = w.reduce((s, v) => s + v, 0);
  if (!(sum > 0)) throw new BlindbeatError('USAGE', 'Expected a distribution of inputs, got none at all.');
  return { x, w: w.map((v) => v / sum) };
}

function requireInside(values: readonly number[], [low, high]: Range): void {
  if (values.some((v) => !Number.isFinite(v)))
    throw new BlindbeatError('USAGE', 'Expected finite inputs, got some that are not numbers or not finite.');
  const outside = values.filter((v) => v < low || v > high);
  if (outside.length === 0) return;
  const least = values.reduce((a, b) => Math.min(a, b));
  const most = values.reduce((a, b) => Math.max(a, b));
  throw new BlindbeatError(
    'USAGE',
    `${outside.length} of ${values.length} inputs leave the range [${low}, ${high}]: ` +
      `they go from ${least} to ${most}. Widen the range.`,
  );
}

/**
 * Mean and standard deviation of a Gaussian, or of one sample or more; of other distributions nothing.
 */
export function momentsOf(distribution: Distribution): { mean: number; deviation: number } | undefined {
  if (distribution.kind === 'normal') return distribution;
  if (distribution.kind !== 'samples' || distribution.values.length === 0) return undefined;
  const values = Array.from(distribution.values);
  const mean = values.reduce((s, v) => s + v, 0) / values.length;
  const variance = values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}

/**
 * Refuses a mean and a standard deviation that no Gaussian has.
 *
 * @throws BlindbeatError USAGE if the mean is not finite, or the deviation not above 0 and finite
 */
export function requireGaussian(mean: number, deviation: number): void {
  if (Number.isFinite(mean) && deviation > 0 && Number.isFinite(deviation)) return;
  throw new BlindbeatError(
    'USAGE',
    `Expected a finite mean and a deviation above 0, got ${mean} and ${deviation}.`,
  );
}
