import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resample, resampledLength } from '../../src/ecg/resample.ts';

const TARGET = 4096 / 30;

/** Largest error, in dB of the amplitude, of a sine of `frequency` after resampling, away from the ends. */
function errorOfSine(frequency: number, from: number, to: number, expected = 1): number {
  const sine = (rate: number, n: number) =>
    Float64Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / rate + 0.3));
  const y = resample(sine(from, Math.round(20 * from)), from, to);
  const ideal = sine(to, y.length);
  let worst = 0;
  for (let j = Math.round(2 * to); j < y.length - 2 * to; j++) {
    worst = Math.max(worst, Math.abs(y[j] - expected * ideal[j]));
  }
  return 20 * Math.log10(worst);
}

describe('resample', () => {
  const rates = [100, 128, 125.5, 200, 250, 256, 300, 359.73, 360, 500, 1000, 2000];
  for (const rate of rates) {
    test(`when sines of the ECG band come in at ${rate} Hz then they come out with errors below -75 dB`, () => {
      for (const frequency of [0.5, 5, 17, 40]) {
        expect(errorOfSine(frequency, rate, TARGET)).toBeLessThan(-75);
      }
    });
  }

  for (const [frequency, rate] of [
    [80, 300],
    [96.5, 300],
    [120, 300],
    [149, 300],
    [176.5, 360],
    [136.53, 500],
    [270, 1000],
    [990, 2000],
  ]) {
    test(`when ${frequency} Hz at ${rate} Hz would alias then it is suppressed by more than 75 dB`, () => {
      expect(errorOfSine(frequency, rate, TARGET, 0)).toBeLessThan(-75);
    });
  }

  test('when a signal is constant then it stays so exactly at every rate', () => {
    fc.assert(
      fc.property(fc.double({ min: 100, max: 2000, noNaN: true }), (rate) => {
        const y = resample(new Float64Array(600).fill(1), rate, TARGET);
        for (const v of y) expect(v).toBeCloseTo(1, 12);
      }),
      { numRuns: 20 },
    );
  });

  test('when an impulse is resampled then it stays where it was', () => {
    for (const rate of [100, 300, 360, 1000]) {
      const x = new Float64Array(6 * rate);
      x[3 * rate] = 1;
      const y = resample(x, rate, TARGET);
      let mass = 0;
      let moment = 0;
      y.forEach((v, j) => {
        mass += v;
        moment += (v * j) / TARGET;
      });
      expect(moment / mass).toBeCloseTo(3, 3);
    }
  });

  test('when the rates are equal then the signal is copied', () => {
    const x = Float64Array.of(1, 2, 3);
    const y = resample(x, 200, 200);
    expect([...y]).toEqual([1, 2, 3]);
    y[0] = 9;
    expect(x[0]).toBe(1);
  });

  test('when 30 s are resampled then they have 4096 samples at every rate', () => {
    for (const rate of [100, 125, 128, 250, 300, 360, 400, 500, 512, 1000, 2000]) {
      expect(resampledLength(30 * rate, rate, TARGET)).toBe(4096);
    }
  });

  test('when signals are shorter than the kernel then nothing breaks', () => {
    for (const n of [0, 1, 2, 7]) {
      const y = resample(new Float64Array(n).fill(2), 300, TARGET);
      expect(y.length).toBe(Math.floor((n * TARGET) / 300));
      for (const v of y) expect(v).toBeCloseTo(2, 12);
    }
  });
});
