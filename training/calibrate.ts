import { computeMetrics } from '../src/model/metrics.ts';
import { argmaxRows } from './metrics.ts';

/**
 * The search: offsets of at most `most` in steps of `step`, each class in turn, so many rounds. A gain of less than
 * `leastGain` is left alone: it did not carry over from training to validation records when tried.
 */
const SEARCH = { most: 1, step: 0.1, rounds: 3, leastGain: 0.002 };

/**
 * Offsets to the scores, one per class and the first 0, for the best CinC score on records that training or
 * choosing has seen: the cross-entropy weighs mistakes by class, the challenge's score counts F1 and leaves noise
 * out. Coordinate search over a coarse grid, so three numbers are all that it can fit. scores [records][classes].
 */
export function calibrate(scores: ArrayLike<number>, labels: ArrayLike<number>, classes: string[]): number[] {
  const n = classes.length;
  const offsets = classes.map(() => 0);
  const shifted = Float64Array.from(scores);
  const scoreWith = (c: number, offset: number) => {
    for (let i = c; i < shifted.length; i += n) shifted[i] = scores[i] + offset;
    return computeMetrics(labels, argmaxRows(shifted, n), classes).cincScore;
  };
  let best = scoreWith(0, 0);
  const steps = Math.round(SEARCH.most / SEARCH.step);
  for (let round = 0; round < SEARCH.rounds; round++) {
    for (let c = 1; c < n; c++) {
      let found = { score: best + SEARCH.leastGain, offset: offsets[c] };
      for (let k = -steps; k <= steps; k++) {
        const score = scoreWith(c, k * SEARCH.step);
        if (score > found.score) found = { score, offset: k * SEARCH.step };
      }
      if (found.offset !== offsets[c]) best = found.score;
      offsets[c] = found.offset;
      scoreWith(c, offsets[c]);
    }
  }
  return offsets;
}
