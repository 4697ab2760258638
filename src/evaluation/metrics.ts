import { BlindbeatError } from '../errors.ts';

/** How good classifications are. */
export interface Metrics {
  /** How many there are. */
  records: number;
  /** confusion[i][j]: records of class i that were named class j. */
  confusion: number[][];
  /** Records of each class for which no class was named: a miss, in no column of `confusion`. */
  unnamed: number[];
  /** Per class: 2 hits / (records of the class + records named so); 0 if there are neither. */
  f1: Record<string, number>;
  /** Mean F1 of N, A and O: the score of the CinC 2017 challenge (Clifford et al. 2017). */
  cincScore: number;
  /** Share of the records that were named by their class. */
  accuracy: number;
}

/** [low, high] */
export type Interval = [number, number];

/** Intervals of the figures of `Metrics`. */
export interface Intervals {
  f1: Record<string, Interval>;
  cincScore: Interval;
  accuracy: Interval;
}

/** The classification of a record for which no class could be named. */
export const UNNAMED = -1;

/** The classes that the challenge's score counts: noise is not one of them. */
const SCORED = ['N', 'A', 'O'];

/** Metrics of named classes against labels, both as indices into `classes`; UNNAMED if no class was named. */
export function computeMetrics(
  labels: ArrayLike<number>,
  named: ArrayLike<number>,
  classes: string[],
): Metrics {
  requireEqualLengths(labels, named);
  const confusion = classes.map(() => classes.map(() => 0));
  const unnamed = classes.map(() => 0);
  for (let i = 0; i < labels.length; i++) {
    if (named[i] === UNNAMED) unnamed[labels[i]]++;
    else confusion[labels[i]][named[i]]++;
  }
  const f1 = classes.map((_, c) => f1Of(confusion, unnamed, c));
  const scored = f1.filter((_, c) => SCORED.includes(classes[c]));
  const hits = classes.reduce((sum, _, c) => sum + confusion[c][c], 0);
  return {
    records: labels.length,
    confusion,
    unnamed,
    f1: Object.fromEntries(classes.map((name, c) => [name, f1[c]])),
    cincScore: scored.reduce((a, b) => a + b, 0) / scored.length,
    accuracy: labels.length > 0 ? hits / labels.length : 0,
  };
}

function f1Of(confusion: number[][], unnamed: number[], c: number): number {
  const labelled = confusion[c].reduce((a, b) => a + b, unnamed[c]);
  const named = confusion.reduce((sum, row) => sum + row[c], 0);
  return labelled + named > 0 ? (2 * confusion[c][c]) / (labelled + named) : 0;
}

/** How intervals are made. */
export interface BootstrapOptions {
  /** Draws of all records; default 2000. */
  rounds?: number;
  /** Share of the draws whose figure an interval encloses; default 0.95. */
  level?: number;
}

/**
 * Percentile bootstrap intervals (Efron 1979) of all figures: records are drawn with replacement `rounds`
 * times; each interval is that between the quantiles that enclose `level` of the figure's values. `random`
 * gives numbers in [0, 1).
 */
export function bootstrapIntervals(
  labels: ArrayLike<number>,
  named: ArrayLike<number>,
  classes: string[],
  random: () => number,
  options: BootstrapOptions = {},
): Intervals {
  requireEqualLengths(labels, named);
  const rounds = resampled(labels.length, random, options, (take) =>
    computeMetrics(take(labels), take(named), classes),
  );
  const interval = (figure: (m: Metrics) => number) => quantiles(rounds.map(figure), options);
  return {
    f1: Object.fromEntries(classes.map((name) => [name, interval((m) => m.f1[name])])),
    cincScore: interval((m) => m.cincScore),
    accuracy: interval((m) => m.accuracy),
  };
}

/**
 * Paired bootstrap interval of the difference of two models' CinC scores, the first's minus the second's, on
 * the same records: every round draws records once for both.
 */
export function pairedInterval(
  labels: ArrayLike<number>,
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  classes: string[],
  random: () => number,
  options: BootstrapOptions = {},
): Interval {
  requireEqualLengths(labels, first);
  requireEqualLengths(labels, second);
  const differences = resampled(labels.length, random, options, (take) => {
    const drawn = take(labels);
    const score = (named: ArrayLike<number>) => computeMetrics(drawn, take(named), classes).cincScore;
    return score(first) - score(second);
  });
  return quantiles(differences, options);
}

/**
 * What `visit` makes of every round's draw of `n` records; `take` gives the drawn records' values of a
 * column.
 */
function resampled<T>(
  n: number,
  random: () => number,
  { rounds = 2000 }: BootstrapOptions,
  visit: (take: (column: ArrayLike<number>) => Int16Array) => T,
): T[] {
  const drawn = new Uint32Array(n);
  return Array.from({ length: rounds }, () => {
    for (let i = 0; i < n; i++) drawn[i] = Math.floor(random() * n);
    return visit((column) => Int16Array.from(drawn, (k) => column[k]));
  });
}

/** The quantiles of `values` that enclose `level` of them. */
function quantiles(values: number[], { level = 0.95 }: BootstrapOptions): Interval {
  const sorted = Float64Array.from(values).sort();
  const tail = Math.round(((1 - level) / 2) * (sorted.length - 1));
  return [sorted[tail], sorted[sorted.length - 1 - tail]];
}

function requireEqualLengths(labels: ArrayLike<number>, named: ArrayLike<number>): void {
  if (labels.length === named.length) return;
  throw new BlindbeatError('INTERNAL', `${labels.length} labels but ${named.length} classifications.`);
}
