import { expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';
import { argmaxRows, bootstrapInterval, computeMetrics, meanCrossEntropy } from '../../training/metrics.ts';

const CLASSES = ['N', 'A', 'O', '~'];

test('a hand-worked confusion', () => {
  // labelled  N N N N  A A  O O O  ~
  // named     N N N A  A O  O O N  N
  const m = computeMetrics([0, 0, 0, 0, 1, 1, 2, 2, 2, 3], [0, 0, 0, 1, 1, 2, 2, 2, 0, 0], CLASSES);
  expect(m.confusion).toEqual([
    [3, 1, 0, 0],
    [0, 1, 1, 0],
    [1, 0, 2, 0],
    [1, 0, 0, 0],
  ]);
  // F1 = 2 hits / (labelled + named): N 6/(4+5), A 2/(2+2), O 4/(3+3), ~ 0/(1+0)
  expect(m.f1).toEqual({ N: 6 / 9, A: 2 / 4, O: 4 / 6, '~': 0 });
  expect(m.cincScore).toBeCloseTo((6 / 9 + 2 / 4 + 4 / 6) / 3, 12); // noise does not count
  expect(m.accuracy).toBeCloseTo(0.6, 12);
  expect(m.records).toBe(10);
});

test('a class that nobody has and nobody names has F1 0', () => {
  expect(computeMetrics([0], [0], CLASSES).f1).toEqual({ N: 1, A: 0, O: 0, '~': 0 });
});

test('labels and classifications of different number are our fault', () => {
  expect(() => computeMetrics([0, 1], [0], CLASSES)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
});

test('the bootstrap interval encloses the score, is repeatable, and shrinks to it when nothing is wrong', () => {
  const random = new Random(3);
  const labels = Array.from({ length: 400 }, () => random.below(4));
  const named = labels.map((l) => (random.next() < 0.8 ? l : random.below(4)));
  const { cincScore } = computeMetrics(labels, named, CLASSES);
  const interval = () => {
    const seeded = new Random(1);
    return bootstrapInterval(labels, named, CLASSES, () => seeded.next(), { rounds: 300 });
  };
  const [low, high] = interval();
  expect(low).toBeLessThan(cincScore);
  expect(high).toBeGreaterThan(cincScore);
  expect(high - low).toBeLessThan(0.15);
  expect(interval()).toEqual([low, high]);
  expect(bootstrapInterval(labels, labels, CLASSES, () => random.next(), { rounds: 20 })).toEqual([1, 1]);
});

test('argmaxRows names the first of the largest', () => {
  expect([...argmaxRows([1, 3, 2, 0, 0, 0, -1, -2, -0.5], 3)]).toEqual([1, 0, 2]);
});

test('cross-entropy of even scores is log of their number', () => {
  expect(meanCrossEntropy([1, 1, 1, 1, 5, 5, 5, 5], [0, 3], 4)).toBeCloseTo(Math.log(4), 12);
  expect(meanCrossEntropy([0, Math.log(3)], [1], 2)).toBeCloseTo(-Math.log(0.75), 12);
});
