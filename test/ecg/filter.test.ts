import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { butterworth, extendEven, filterZeroPhase } from '../../src/ecg/filter.ts';

const RATE = 4096 / 30;
const BAND = [...butterworth('highpass', 2, 0.5, RATE), ...butterworth('lowpass', 4, 40, RATE)];

describe('butterworth', () => {
  test('when a high-pass of order 2 is designed then its section is that of scipy', () => {
    // scipy 1.17.1: signal.butter(2, 0.5, 'high', fs=4096/30, output='sos')
    const [{ b0, b1, b2, a1, a2 }] = butterworth('highpass', 2, 0.5, RATE);
    [0.98386131, -1.96772263, 0.98386131].forEach((b, i) => {
      expect([b0, b1, b2][i]).toBeCloseTo(b, 7);
    });
    expect(a1).toBeCloseTo(-1.96746216, 7);
    expect(a2).toBeCloseTo(0.9679831, 7);
  });

  test('when a low-pass of order 4 is designed then its poles are those of scipy', () => {
    // scipy 1.17.1: signal.butter(4, 40, 'low', fs=4096/30, output='sos'); its gain sits in the first section
    const sections = butterworth('lowpass', 4, 40, RATE).sort((x, y) => x.a1 - y.a1);
    expect(sections.map((s) => s.a1)[0]).toBeCloseTo(0.28217406, 7);
    expect(sections.map((s) => s.a2)[0]).toBeCloseTo(0.05796988, 7);
    expect(sections.map((s) => s.a1)[1]).toBeCloseTo(0.38969702, 7);
    expect(sections.map((s) => s.a2)[1]).toBeCloseTo(0.46111128, 7);
    expect(sections[0].b0 * sections[1].b0).toBeCloseTo(0.15502185, 7);
  });
});

describe('filterZeroPhase', () => {
  // scipy 1.17.1: abs(signal.sosfreqz(S, worN=f, fs=4096/30)[1])**2
  const response: [number, number][] = [
    [0.25, 0.0588162016],
    [0.5, 0.5],
    [1, 0.9412057802],
    [5, 0.9999017435],
    [20, 0.9995905506],
    [30, 0.9762825097],
    [40, 0.5],
    [50, 0.0139809406],
    [60, 0.000016819],
  ];
  for (const [frequency, gain] of response) {
    test(`when a sine of ${frequency} Hz passes then its gain is scipy's |H|^2 = ${gain} and its phase 0`, () => {
      const n = 16384;
      const x = Float64Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / RATE));
      const y = filterZeroPhase(x, BAND, 410);
      let inPhase = 0;
      let across = 0;
      // Whole periods in the middle: project on sine and cosine.
      const from = 4096;
      const periods = Math.floor((8192 * frequency) / RATE);
      const length = Math.round((periods * RATE) / frequency);
      for (let i = from; i < from + length; i++) {
        inPhase += (2 / length) * y[i] * Math.sin((2 * Math.PI * frequency * i) / RATE);
        across += (2 / length) * y[i] * Math.cos((2 * Math.PI * frequency * i) / RATE);
      }
      expect(inPhase).toBeCloseTo(gain, 3);
      expect(Math.abs(across)).toBeLessThan(1e-3);
    });
  }

  test('when a signal with an offset and a trend is filtered then it equals scipy.signal.sosfiltfilt', () => {
    // scipy 1.17.1: S = vstack(butter(2, .5, 'high'), butter(4, 40, 'low')), fs=4096/30;
    // sosfiltfilt(S, x, padtype='even', padlen=410)
    const x = Float64Array.from(
      { length: 1024 },
      (_, i) =>
        Math.sin((2 * Math.PI * i * 1.2) / RATE) +
        0.5 * Math.cos((2 * Math.PI * i * 17) / RATE) +
        2 +
        i / 1024 +
        (i % 100 === 50 ? 1 : 0),
    );
    const y = filterZeroPhase(x, BAND, 410);
    const expected: [number, number][] = [
      [0, 0.138526384037651],
      [1, 0.026012894031824198],
      [2, -0.25896782875947],
      [50, 0.8325671404093786],
      [100, -1.1921177025581386],
      [511, -0.30858775457106125],
      [700, 1.0567266004043918],
      [1022, 0.199561986895042],
      [1023, 0.006030437078253861],
    ];
    for (const [i, value] of expected) expect(y[i]).toBeCloseTo(value, 9);
    expect(Math.sqrt(y.reduce((a, b) => a + b * b, 0) / 1024)).toBeCloseTo(0.7649154887990547, 10);
  });

  test('when a signal is constant then nothing is left, not even at the ends', () => {
    const y = filterZeroPhase(new Float64Array(700).fill(5), BAND, 410);
    for (const v of y) expect(Math.abs(v)).toBeLessThan(1e-9);
  });

  test('when a signal is reversed then so is the result', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 50, maxLength: 400 }),
        (values) => {
          const x = Float64Array.from(values);
          // The forward pass sees a mirrored end first, so that the ends differ: compare with long padding.
          const y = filterZeroPhase(x, butterworth('lowpass', 4, 40, RATE), 40);
          const z = filterZeroPhase(x.slice().reverse(), butterworth('lowpass', 4, 40, RATE), 40).reverse();
          y.forEach((v, i) => {
            expect(v).toBeCloseTo(z[i], 5);
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  test('when signals of 0, 1 and 2 samples are filtered then their length stays', () => {
    for (const n of [0, 1, 2]) expect(filterZeroPhase(new Float64Array(n), BAND, 410).length).toBe(n);
  });
});

describe('extendEven', () => {
  test('when the padding is longer than the signal then it is mirrored again and again', () => {
    expect([...extendEven(Float64Array.of(1, 2, 3), 5)]).toEqual([2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]);
    expect([...extendEven(Float64Array.of(7), 2)]).toEqual([7, 7, 7, 7, 7]);
  });
});
