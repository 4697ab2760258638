import { expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';
import { computeMetrics } from '../../src/model/metrics.ts';
import { calibrate } from '../../training/calibrate.ts';
import { argmaxRows } from '../../training/metrics.ts';

const classes = ['N', 'A', 'O', '~'];

test('offsets that were taken away are given back', () => {
  const random = new Random(1);
  const labels = Array.from({ length: 2000 }, () => random.below(4));
  const taken = [0, 0.6, -0.4, 0.3];
  const scores = labels.flatMap((l) => taken.map((t, c) => (c === l ? 1 : 0) + 0.3 * random.normal() - t));
  const offsets = calibrate(scores, labels, classes);
  expect(offsets[0]).toBe(0);
  // A and O to a step or two; noise does not count by itself
  expect(Math.abs(offsets[1] - taken[1])).toBeLessThan(0.25);
  expect(Math.abs(offsets[2] - taken[2])).toBeLessThan(0.25);
  const score = (by: number[]) =>
    computeMetrics(
      labels,
      argmaxRows(
        scores.map((s, i) => s + by[i % 4]),
        4,
      ),
      classes,
    ).cincScore;
  expect(score(offsets)).toBeGreaterThanOrEqual(score(taken));
  expect(score(offsets)).toBeGreaterThan(score([0, 0, 0, 0]) + 0.05);
});

test('where nothing is to be gained nothing is changed', () => {
  expect(calibrate([9, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9, 0], [0, 1, 2], classes)).toEqual([0, 0, 0, 0]);
});
