import fc from 'fast-check';
import { expect, test } from 'vitest';
import { normaliseSegment, DEFAULT_PREPROCESSING as p } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { rootMeanSquare } from '../../src/ecg/scale.ts';
import { AUGMENTATION, variedInput, vary } from '../../training/augment.ts';

const augmentedSegment = (...of: Parameters<typeof vary>) => variedInput(vary(...of), of[1]);

/** Something like a conditioned ECG: a spike a second. */
function record(length: number): Float32Array {
  return Float32Array.from(
    { length },
    (_, i) => Math.exp(-(((i % 137) - 60) ** 2) / 10) + 0.05 * Math.sin(i),
  );
}

const NONE = {
  flip: 0,
  stretch: { probability: 0, most: 0 },
  amplitude: { most: 0 },
  noise: { probability: 0, most: 0 },
  wander: { probability: 0, most: 0 },
};

test('whatever the record and the seed, a segment keeps the bounds of the client', () => {
  fc.assert(
    fc.property(fc.integer({ min: 700, max: 9000 }), fc.integer(), (length, seed) => {
      const segment = augmentedSegment(record(length), p, AUGMENTATION, new Random(seed));
      expect(segment).toHaveLength(p.samples);
      expect(segment.every((x) => Math.abs(x) <= p.bound)).toBe(true);
      expect(rootMeanSquare(segment)).toBeLessThanOrEqual(p.rmsLimit);
    }),
    { numRuns: 40 },
  );
});

test('the same seed gives the same segment', () => {
  const twice = [1, 1].map((seed) => augmentedSegment(record(5000), p, AUGMENTATION, new Random(seed)));
  expect(twice[0]).toEqual(twice[1]);
});

test('without any variation only the position changes', () => {
  const signal = record(p.samples);
  const segment = augmentedSegment(signal, p, NONE, new Random(2));
  const rotate = (x: Float32Array, by: number) => x.map((_, i) => x[(i + by) % x.length]);
  const plain = augmentedSegment(signal, p, NONE, {
    next: () => 0.5,
    below: () => 0,
    between: () => 1,
  } as never);
  const shift = Array.from({ length: p.samples }, (_, k) => k).find((k) =>
    rotate(plain, k).every((x, i) => Math.abs(x - segment[i]) < 1e-6),
  );
  expect(shift).toBeDefined();
});

test('a flipped segment is the negative one', () => {
  const upright = augmentedSegment(record(p.samples), p, NONE, new Random(4));
  const flipped = augmentedSegment(record(p.samples), p, { ...NONE, flip: 1 }, new Random(4));
  upright.forEach((x, i) => {
    expect(flipped[i]).toBeCloseTo(-x, 6);
  });
});

test('two networks see the same variation, each by its own scale and bounds', () => {
  const other = { ...p, scale: { ...p.scale, factor: 1 }, bound: 2 };
  const variation = vary(record(5000), p, AUGMENTATION, new Random(6));
  const seen = variedInput(variation, other);
  const tighter = { ...other, scale: { ...other.scale, factor: variation.gain } };
  expect(seen).toEqual(normaliseSegment(variation.mv, tighter));
  expect(seen).not.toEqual(variedInput(variation, p));
});
