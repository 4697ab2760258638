import { BlindbeatError } from '../src/errors.ts';
import { softmax } from '../src/model/classify.ts';

export interface Metrics {
  records: number;
  /** confusion[i][j]: records of class i that were named class j. */
  confusion: number[][];
  /** Per class: 2 hits / (records of the class + records named so); 0 if there are neither. */
  f1: Record<string, number>;
  /** Mean F1 of N, A and O: the score of the CinC 2017 challenge (Clifford et al. 2017). */
  cincScore: number;
  accuracy: number;
}

/** The classes that the challenge's score counts: noise is not one of them. */
const SCORED = ['N', 'A', 'O'];

/** Metrics of named classes against labels, both as indices into `classes`. */
export function computeMetrics(
  labels: ArrayLike<number>,
  named: ArrayLike<number>,
  classes: string[],
): Metrics {
  if (labels.length !== named.length) {
    throw new BlindbeatError('INTERNAL', `${labels.length} labels but ${named.length} classifications.`);
  }
  const confusion = classes.map(() => classes.map(() => 0));
  for (let i = 0; i < labels.length; i++) confusion[labels[i]][named[i]]++;
  const f1 = classes.map((_, c) => f1Of(confusion, c));
  const scored = f1.filter((_, c) => SCORED.includes(classes[c]));
  const hits = classes.reduce((sum, _, c) => sum + confusion[c][c], 0);
  return {
    records: labels.length,
    confusion,
    f1: Object.fromEntries(classes.map((name, c) => [name, f1[c]])),
    cincScore: scored.reduce((a, b) => a + b, 0) / scored.length,
    accuracy: labels.length > 0 ? hits / labels.length : 0,
  };
}

function f1Of(confusion: number[][], c: number): number {
  const total = confusion[c].reduce((a, b) => a + b, 0) + confusion.reduce((sum, row) => sum + row[c], 0);
  return total > 0 ? (2 * confusion[c][c]) / total : 0;
}

/**
 * Bootstrap interval of the CinC score: records are drawn with replacement `rounds` times; returns the
 * [low, high] quantiles that enclose `level` of the scores. `random` gives numbers in [0, 1).
 */
export function bootstrapInterval(
  labels: ArrayLike<number>,
  named: ArrayLike<number>,
  classes: string[],
  random: () => number,
  { rounds = 2000, level = 0.95 } = {},
): [number, number] {
  const n = labels.length;
  const a = new Uint8Array(n);
  const b = new Uint8Array(n);
  const scores = Float64Array.from({ length: rounds }, () => {
    for (let i = 0; i < n; i++) {
      const k = Math.floor(random() * n);
      a[i] = labels[k];
      b[i] = named[k];
    }
    return computeMetrics(a, b, classes).cincScore;
  }).sort();
  const tail = Math.round(((1 - level) / 2) * (rounds - 1));
  return [scores[tail], scores[rounds - 1 - tail]];
}

/** Index of the largest of each row of `scores` [records][classes]. */
export function argmaxRows(scores: ArrayLike<number>, classes: number): Uint8Array {
  const out = new Uint8Array(scores.length / classes);
  for (let i = 0; i < out.length; i++) {
    for (let c = 1; c < classes; c++) {
      if (scores[i * classes + c] > scores[i * classes + out[i]]) out[i] = c;
    }
  }
  return out;
}

/** Mean over records of -log softmax(scores)[label]; scores [records][classes]. */
export function meanCrossEntropy(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
): number {
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const row = Array.from({ length: classes }, (_, c) => scores[i * classes + c]);
    sum -= Math.log(softmax(row)[labels[i]]);
  }
  return sum / labels.length;
}
