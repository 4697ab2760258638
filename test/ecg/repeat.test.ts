import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { repeatToLength } from '../../src/ecg/repeat.ts';

const RATE = 4096 / 30;

/** Pulses at the given times: a beat of 20 ms. */
function pulses(seconds: number, times: number[]): Float64Array {
  return Float64Array.from({ length: Math.round(seconds * RATE) }, (_, i) =>
    times.reduce((sum, t) => sum + Math.exp(-0.5 * ((i / RATE - t) / 0.02) ** 2), 0),
  );
}

function peaks(x: Float64Array): number[] {
  const found: number[] = [];
  for (let i = 1; i < x.length - 1; i++)
    if (x[i] > 0.4 && x[i] >= x[i - 1] && x[i] > x[i + 1]) found.push(i / RATE);
  return found;
}

describe('repeatToLength', () => {
  test('when beats come every 0.8 s then they do so across every seam', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 5, max: 29, noNaN: true }),
        fc.double({ min: 0.4, max: 1.4, noNaN: true }),
        fc.double({ min: 0, max: 0.4, noNaN: true }),
        (seconds, interval, first) => {
          // A whole beat must lie in the second that is compared, and one in the search.
          fc.pre(Math.min(2, seconds / 4) > interval + 0.1 && first > 0.1);
          const times = Array.from({ length: 80 }, (_, k) => first + k * interval);
          const { samples } = repeatToLength(pulses(seconds, times), 4096, RATE);
          const beats = peaks(samples);
          for (let k = 1; k < beats.length - 1; k++) {
            expect(Math.abs(beats[k] - beats[k - 1] - interval)).toBeLessThan(0.02);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('when rhythms vary then the interval at the seam is one of the record, not a sum of its cut ends', () => {
    const times = [0.5, 1.3, 2.2, 3.0, 3.7, 4.6, 5.5, 6.3, 7.1, 7.9, 8.8, 9.6];
    const { samples, period } = repeatToLength(pulses(10.3, times), 4096, RATE);
    const beats = peaks(samples);
    const seam = beats.findIndex((t) => t > period / RATE);
    const interval = beats[seam] - beats[seam - 1];
    expect(interval).toBeGreaterThan(0.65);
    expect(interval).toBeLessThan(0.95);
  });

  test('when the part before the first seam is looked at then it is the signal itself', () => {
    const x = pulses(8, [1, 2, 3, 4, 5, 6, 7]);
    const { samples, period } = repeatToLength(x, 4096, RATE);
    expect(period).toBeGreaterThan((8 - 3) * RATE);
    expect(period).toBeLessThanOrEqual(x.length);
    expect([...samples.subarray(0, period)]).toEqual([...x.subarray(0, period)]);
  });

  test('when one sample is missing, or all is flat, then it still fills the segment', () => {
    for (const x of [pulses(29.99, [1, 2, 3]), new Float64Array(700)]) {
      const { samples } = repeatToLength(x, 4096, RATE);
      expect(samples.length).toBe(4096);
      expect(samples.every(Number.isFinite)).toBe(true);
    }
  });
});
