import { expect, test } from 'vitest';
import { argmaxRows, meanCrossEntropy } from '../../training/metrics.ts';

test('argmaxRows names the first of the largest', () => {
  expect([...argmaxRows([1, 3, 2, 0, 0, 0, -1, -2, -0.5], 3)]).toEqual([1, 0, 2]);
});

test('cross-entropy of even scores is log of their number', () => {
  expect(meanCrossEntropy([1, 1, 1, 1, 5, 5, 5, 5], [0, 3], 4)).toBeCloseTo(Math.log(4), 12);
  expect(meanCrossEntropy([0, Math.log(3)], [1], 2)).toBeCloseTo(-Math.log(0.75), 12);
  expect(meanCrossEntropy([0, 33, Number.NaN, 0, 1, 1], [1, 0, 0], 2, 32)).toBeCloseTo(
    (64 + Math.log(2)) / 3,
    12,
  );
});
