import { expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { rootMeanSquare } from '../../src/ecg/scale.ts';
import { addBurst, hostileInputs } from '../../training/hostile.ts';

test('hostile inputs keep to the bounds of the client', () => {
  const p = DEFAULT_PREPROCESSING;
  const record = Float64Array.from({ length: p.samples }, (_, i) => Math.sin(i));
  const inputs = hostileInputs(p, record, 1);
  expect(new Set(inputs.map((input) => input.kind)).size).toBeGreaterThanOrEqual(15);
  for (const { segment } of inputs) {
    expect(segment).toHaveLength(p.samples);
    expect(segment.every((x) => Math.abs(x) <= p.bound)).toBe(true);
    expect(rootMeanSquare(segment)).toBeLessThanOrEqual(p.rmsLimit);
  }
});

test('a burst is short and leaves the rest of the record alone', () => {
  const x = new Float64Array(4096);
  addBurst(x, 1, 136.5, new Random(9));
  const touched = x.filter((v) => v !== 0).length;
  expect(touched).toBeGreaterThan(4);
  expect(touched).toBeLessThan(500);
  expect(Math.max(...x.map(Math.abs))).toBeGreaterThan(3);
});
