import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';
import { bootstrapIntervals, computeMetrics, pairedInterval, UNNAMED } from '../../src/evaluation/metrics.ts';

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

test("records without a class are misses of their class and of accuracy, and nobody's hits", () => {
  // labelled  N N A O
  // named     N - - A
  const m = computeMetrics([0, 0, 1, 2], [0, UNNAMED, UNNAMED, 1], CLASSES);
  expect(m.confusion.flat().reduce((a, b) => a + b)).toBe(2);
  expect(m.unnamed).toEqual([1, 1, 0, 0]);
  expect(m.f1).toEqual({ N: 2 / 3, A: 0, O: 0, '~': 0 }); // N: 1 hit of 2 labelled and 1 named
  expect(m.accuracy).toBe(1 / 4);
});

/** Labels and a classification that is right for a share of them. */
function noisy(records: number, right: number, seed: number) {
  const random = new Random(seed);
  const labels = Array.from({ length: records }, () => random.below(4));
  return { labels, named: labels.map((l) => (random.next() < right ? l : random.below(4))) };
}

const seeded = () => {
  const random = new Random(1);
  return () => random.next();
};

test('the intervals enclose their figures, are repeatable, and shrink to them when nothing is wrong', () => {
  const { labels, named } = noisy(400, 0.8, 3);
  const m = computeMetrics(labels, named, CLASSES);
  const intervals = () => bootstrapIntervals(labels, named, CLASSES, seeded(), { rounds: 300 });
  const { f1, cincScore, accuracy } = intervals();
  const pairs = [
    [m.cincScore, cincScore],
    [m.accuracy, accuracy],
    ...CLASSES.map((c) => [m.f1[c], f1[c]] as const),
  ] as const;
  for (const [value, [low, high]] of pairs) {
    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
    expect(high - low).toBeLessThan(0.2);
  }
  expect(intervals()).toEqual({ f1, cincScore, accuracy });
  const right = bootstrapIntervals(labels, labels, CLASSES, seeded(), { rounds: 20 });
  expect([right.cincScore, right.accuracy, ...Object.values(right.f1)]).toEqual(Array(6).fill([1, 1]));
});

test('the interval of an accuracy is that of the binomial distribution', () => {
  const n = 900;
  const named = Array.from({ length: n }, (_, i) => (i < 0.8 * n ? 0 : 1));
  const [low, high] = bootstrapIntervals(Array(n).fill(0), named, CLASSES, seeded()).accuracy;
  const deviation = Math.sqrt((0.8 * 0.2) / n);
  expect((0.8 - low) / deviation).toBeCloseTo(1.96, 0);
  expect((high - 0.8) / deviation).toBeCloseTo(1.96, 0);
});

test('a wider level encloses a narrower one', () => {
  const { labels, named } = noisy(100, 0.6, 5);
  const at = (level: number) => bootstrapIntervals(labels, named, CLASSES, seeded(), { level }).cincScore;
  const [[a, d], [b, c]] = [at(0.95), at(0.5)];
  expect([a, b, c, d]).toEqual([a, b, c, d].toSorted((x, y) => x - y));
});

test('equal models differ by nothing, one that is always right from one that is always wrong by everything', () => {
  const { labels, named } = noisy(60, 0.7, 2);
  expect(pairedInterval(labels, named, named, CLASSES, seeded())).toEqual([0, 0]);
  const scored = labels.map((l) => l % 3); // N, A and O only, each of them in every draw
  const wrong = scored.map((l) => (l + 1) % 3);
  expect(pairedInterval(scored, scored, wrong, CLASSES, seeded())).toEqual([1, 1]);
  expect(pairedInterval(scored, wrong, scored, CLASSES, seeded())).toEqual([-1, -1]);
});

test('the paired interval is narrower than what two intervals of their own would allow', () => {
  const { labels, named } = noisy(500, 0.7, 4);
  const better = named.map((n, i) => (i % 10 === 0 ? labels[i] : n));
  const [low, high] = pairedInterval(labels, better, named, CLASSES, seeded(), { rounds: 500 });
  const own = bootstrapIntervals(labels, named, CLASSES, seeded(), { rounds: 500 }).cincScore;
  expect(low).toBeGreaterThan(0);
  expect(high - low).toBeLessThan((own[1] - own[0]) / 2);
});

const outcomes = fc.array(
  fc.record({ label: fc.nat(3), a: fc.integer({ min: -1, max: 3 }), b: fc.integer({ min: -1, max: 3 }) }),
  {
    minLength: 1,
    maxLength: 40,
  },
);

test('intervals lie within [0, 1], are in order, and paired ones turn round with the models', () => {
  fc.assert(
    fc.property(outcomes, (list) => {
      const [labels, a, b] = (['label', 'a', 'b'] as const).map((key) => list.map((r) => r[key]));
      const { f1, cincScore, accuracy } = bootstrapIntervals(labels, a, CLASSES, seeded(), { rounds: 41 });
      for (const [low, high] of [cincScore, accuracy, ...Object.values(f1)]) {
        expect(0 <= low && low <= high && high <= 1).toBe(true);
      }
      const [low, high] = pairedInterval(labels, a, b, CLASSES, seeded(), { rounds: 41 });
      expect(pairedInterval(labels, b, a, CLASSES, seeded(), { rounds: 41 })).toEqual([0 - high, 0 - low]);
      const m = computeMetrics(labels, a, CLASSES);
      const counted = [...m.confusion.flat(), ...m.unnamed].reduce((x, y) => x + y);
      expect(counted).toBe(m.records);
    }),
    { numRuns: 50 },
  );
});
