import { softmax } from '../src/model/classify.ts';

/** [records]: index of the first of the largest of each row of `scores` [records * classes]. */
export function argmaxRows(scores: ArrayLike<number>, classes: number): Uint8Array {
  const out = new Uint8Array(scores.length / classes);
  for (let i = 0; i < out.length; i++) {
    for (let c = 1; c < classes; c++) {
      if (scores[i * classes + c] > scores[i * classes + out[i]]) out[i] = c;
    }
  }
  return out;
}

/**
 * Mean over records of -log softmax(scores)[label].
 *
 * @param scores [records * classes]
 * @param labels [records]
 * @param limit a record with a |score| beyond it, which the client refuses, counts as `limit`
 */
export function meanCrossEntropy(
  scores: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  limit = Number.POSITIVE_INFINITY,
): number {
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const row = Array.from({ length: classes }, (_, c) => scores[i * classes + c]);
    sum += row.every((s) => Math.abs(s) <= limit) ? -Math.log(softmax(row)[labels[i]]) : limit;
  }
  return sum / labels.length;
}
