import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  conditionSignal,
  cropSegment,
  DEFAULT_PREPROCESSING,
  normaliseSegment,
  type Preprocessing,
  parsePreprocessing,
  prepareSegment,
  targetRate,
} from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { rootMeanSquare } from '../../src/ecg/scale.ts';
import { synthesise } from '../../src/ecg/synth.ts';

const P = DEFAULT_PREPROCESSING;
const TARGET = targetRate(P); // 4096 / 30

function ecg(seconds: number, rate = 300, seed = 1): Float64Array {
  return synthesise({ rhythm: 'normal', seconds, rate, seed }).leads[0].mv;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
}

describe('conditionSignal', () => {
  test('when sines at 300 Hz are conditioned then they equal scipy resample_poly and sosfiltfilt', () => {
    // scipy 1.17.1: resample_poly(x, 512, 1125, window=('kaiser', 12), padtype='line'), then sosfiltfilt as
    // in filter.test.ts; the 110 Hz part would alias to 26.5 Hz.
    const parts = [
      [0.3, 1.3, 0],
      [0.2, 7.7, 1],
      [0.1, 23, 2],
      [0.05, 37, 0.5],
      [0.05, 110, 1],
    ];
    const x = Float64Array.from({ length: 9000 }, (_, i) =>
      parts.reduce((sum, [a, f, p]) => sum + a * Math.sin((2 * Math.PI * f * i) / 300 + p), 0.7),
    );
    const y = conditionSignal(x, 300, P);
    expect(y.length).toBe(4096);
    for (const [i, value] of [
      [1000, -0.189304],
      [1500, 0.073189],
      [2000, 0.13474],
      [2048, -0.059391],
      [3000, -0.029921],
    ]) {
      expect(Math.abs(y[i] - value)).toBeLessThan(2e-5);
    }
  });

  test('when the same ECG comes at another rate then the conditioned signal is the same', () => {
    // Band-limited, so that every rate can carry it.
    const signal = (rate: number) =>
      Float64Array.from({ length: 30 * rate }, (_, i) => {
        const t = i / rate;
        return (
          Math.sin(2 * Math.PI * 1.1 * t) +
          0.4 * Math.sin(2 * Math.PI * 13 * t) +
          0.2 * Math.sin(2 * Math.PI * 38 * t)
        );
      });
    const reference = conditionSignal(signal(2000), 2000, P).subarray(300, 3796);
    for (const rate of [100, 128, 250, 300, 360, 500, 1000]) {
      const y = conditionSignal(signal(rate), rate, P).subarray(300, 3796);
      expect(largestDifference(y, reference)).toBeLessThan(1e-3);
    }
  });

  test('when a signal is reversed in time then so is the result: no phase', () => {
    const x = new Float64Array(4096 * 2);
    x[4096] = 1;
    const y = conditionSignal(x, TARGET, P);
    let worst = 0;
    for (let k = 1; k < 3000; k++) worst = Math.max(worst, Math.abs(y[4096 + k] - y[4096 - k]));
    expect(worst).toBeLessThan(1e-6);
    expect(y.indexOf(Math.max(...y))).toBe(4096);
  });

  test('when the settings change then rate and band follow them', () => {
    const p: Preprocessing = { ...P, seconds: 10, samples: 2000, band: { ...P.band, low: 1, high: 30 } };
    const y = conditionSignal(ecg(10), 300, p);
    expect(y.length).toBe(2000);
    expect(prepareSegment(ecg(12), 300, p).samples.length).toBe(2000);
  });
});

describe('cropSegment', () => {
  const ramp = (seconds: number) => Float64Array.from({ length: Math.round(seconds * TARGET) }, (_, i) => i);

  test('when the record is 30 s long then it is the segment', () => {
    const crop = cropSegment(ramp(30), P);
    expect([crop.startSeconds, crop.seconds, crop.repeatSeconds]).toEqual([0, 30, undefined]);
    expect([...crop.samples]).toEqual([...ramp(30)]);
  });

  test('when the record is longer then the central 30 s are taken, or those from start', () => {
    const central = cropSegment(ramp(60), P);
    expect(central.samples.length).toBe(4096);
    expect(central.samples[0]).toBe(2048);
    expect(central.startSeconds).toBe(15);
    const late = cropSegment(ramp(60), P, { start: 30 });
    expect(late.samples[0]).toBe(4096);
    expect(late.repeatSeconds).toBeUndefined();
  });

  test('when exactly 30 s are left after start then rounding does not make them too few', () => {
    for (const start of [1, 1.3, 2.5, 7.77, 31]) {
      const mv = ecg(30 + start);
      expect(prepareSegment(mv, 300, P, { start }).repeated, `start ${start}`).toBe(false);
    }
  });

  test('when less than 30 s are left after start then they are repeated', () => {
    const crop = cropSegment(ramp(60), P, { start: 50 });
    expect(crop.samples.length).toBe(4096);
    expect(crop.samples[0]).toBe(Math.round(50 * TARGET));
    expect(crop.seconds).toBeCloseTo(10, 1);
    expect(crop.repeatSeconds).toBeLessThan(10);
  });

  test('when the record is changed afterwards then the crop is not', () => {
    const record = ramp(30);
    const crop = cropSegment(record, P);
    record[0] = 99;
    expect(crop.samples[0]).toBe(0);
  });

  for (const [seconds, start, message] of [
    [4.9, undefined, 'The record is 4.9 s long; at least 5 s are needed'],
    [0, undefined, 'The record is 0.0 s long'],
    [60, -1, 'Choose a start from 0 to 55.0 s'],
    [60, 56, 'A segment cannot start at 56 s: the record is 60.0 s long'],
    [60, Number.NaN, 'cannot start at NaN s'],
  ] as const) {
    test(`when ${seconds} s are cropped from ${start} then it says "${message}"`, () => {
      expect(() => cropSegment(ramp(seconds), P, { start })).toThrow(message);
    });
  }
});

describe('normaliseSegment', () => {
  test('when an ECG is scaled then its robust rms is 1 / 1.5 before bounding, whatever its size', () => {
    const crop = cropSegment(conditionSignal(ecg(30), 300, P), P).samples;
    const small = normaliseSegment(crop, P);
    const large = normaliseSegment(
      crop.map((v) => 1000 * v),
      P,
    );
    expect(largestDifference(small, large)).toBeLessThan(1e-6);
    expect(rootMeanSquare(small)).toBeGreaterThan(0.45);
    expect(rootMeanSquare(small)).toBeLessThan(0.75);
  });

  test('when it is negated then so is the result', () => {
    const crop = cropSegment(conditionSignal(ecg(30), 300, P), P).samples;
    const upsideDown = normaliseSegment(
      crop.map((v) => -v),
      P,
    );
    expect(
      largestDifference(
        normaliseSegment(crop, P),
        upsideDown.map((v) => -v),
      ),
    ).toBe(0);
  });

  test('when the segment is hostile then |x| <= 3 and rms <= 0.75 all the same', () => {
    const random = new Random(5);
    const make = (f: (i: number) => number) => Float64Array.from({ length: 4096 }, (_, i) => f(i));
    const hostile: Record<string, Float64Array> = {
      step: make((i) => (i < 2048 ? -1 : 1)),
      square: make((i) => (i % 40 < 20 ? 1e6 : -1e6)),
      spikes: make((i) => (i % 30 === 0 ? 1e9 : 1e-9 * random.normal())),
      'one spike': make((i) => (i === 7 ? 1e300 : random.normal())),
      white: make(() => random.normal()),
      'heavy tails': make(() => Math.tan(Math.PI * (random.next() - 0.5))),
      'constant and noise': make(() => 5 + 1e-9 * random.normal()),
      sine: make((i) => Math.sin(i / 3)),
      tiny: make(() => 1e-150 * random.normal()),
      ramp: make((i) => i),
    };
    for (const [name, x] of Object.entries(hostile)) {
      const y = normaliseSegment(x, P);
      expect(rootMeanSquare(y), name).toBeLessThanOrEqual(0.75);
      for (const v of y) expect(Math.abs(v), name).toBeLessThanOrEqual(3);
    }
  });

  test('when segments are arbitrary then the bounds hold, or it is refused', () => {
    const sample = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.double({ min: -1, max: 1, noNaN: true }),
      fc.constant(0),
    );
    fc.assert(
      fc.property(fc.array(sample, { minLength: 10, maxLength: 300 }), (values) => {
        let y: Float32Array;
        try {
          y = normaliseSegment(Float64Array.from(values), P);
        } catch (error) {
          expect((error as Error).message).toContain('no signal to scale');
          return;
        }
        expect(rootMeanSquare(y)).toBeLessThanOrEqual(0.75);
        for (const v of y) expect(Math.abs(v)).toBeLessThanOrEqual(3);
      }),
      { numRuns: 300 },
    );
  });

  test('when there is nothing to scale then it is refused', () => {
    expect(() => normaliseSegment(new Float64Array(4096), P)).toThrow('no signal to scale');
    expect(() => normaliseSegment(new Float64Array(4096).fill(Number.NaN), P)).toThrow('no signal to scale');
  });
});

describe('prepareSegment', () => {
  test('when records of any length are prepared then client and training get the same', () => {
    for (const [seconds, rate, start] of [
      [30, 300, undefined],
      [9.3, 300, undefined],
      [61, 300, undefined],
      [200, 360, undefined],
      [200, 250, 151.7],
      [130, 359.73, 80],
    ] as const) {
      const mv = ecg(seconds, rate);
      const trained = normaliseSegment(cropSegment(conditionSignal(mv, rate, P), P, { start }).samples, P);
      const prepared = prepareSegment(mv, rate, P, { start });
      expect(prepared.samples.length).toBe(4096);
      expect(largestDifference(prepared.samples, trained)).toBeLessThan(1e-5);
    }
  });

  test('when an hour at a rate without common multiples is prepared then only a part of it is looked at', () => {
    const rate = 1999.7;
    const minute = ecg(60, rate);
    const hour = new Float64Array(60 * minute.length);
    for (let i = 0; i < 60; i++) hour.set(minute, i * minute.length);
    hour[5] = Number.NaN; // far away
    const before = process.cpuUsage();
    const { samples } = prepareSegment(hour, rate, P, { start: 3400.3 });
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(1000);
    expect(samples.every(Number.isFinite)).toBe(true);
  });

  test.each<[string, Partial<Preprocessing>]>([
    ['as slow', { samples: 2048, seconds: 102.4, band: { low: 0.01, lowOrder: 8, high: 9.9, highOrder: 8 } }],
    [
      'as fast',
      { samples: 16384, seconds: 16.384, band: { low: 0.01, lowOrder: 8, high: 499, highOrder: 8 } },
    ],
    [
      'as long',
      { samples: 4096, seconds: 119.999, band: { low: 0.01, lowOrder: 8, high: 15, highOrder: 8 } },
    ],
  ])(
    'when settings are %s as they may be then an hour at 2000 Hz takes less than a second',
    (_, settings) => {
      const p = parsePreprocessing({ ...P, ...settings });
      const minute = ecg(60, 2000);
      const hour = new Float64Array(60 * minute.length);
      for (let i = 0; i < 60; i++) hour.set(minute, i * minute.length);
      const before = process.cpuUsage();
      expect(prepareSegment(hour, 2000, p, { start: 3400 }).samples).toHaveLength(p.samples);
      const { user, system } = process.cpuUsage(before);
      expect((user + system) / 1000).toBeLessThan(1000);
    },
  );

  test('when an ordinary ECG is prepared then there is no warning', () => {
    const segment = prepareSegment(ecg(60), 300, P);
    expect(segment).toMatchObject({
      startSeconds: 15,
      seconds: 30,
      rate: 300,
      repeated: false,
      warnings: [],
    });
  });

  test('when a record is short then it says that it was repeated', () => {
    const segment = prepareSegment(ecg(12), 300, P);
    expect(segment.repeated).toBe(true);
    expect(segment.seconds).toBeCloseTo(12, 1);
    expect(segment.warnings).toEqual([
      expect.stringMatching(/^Only 12\.0 s of signal: repeated every \d+\.\d s/),
    ]);
  });

  test('when a long record has a gap elsewhere then the segment is unharmed', () => {
    const mv = ecg(300);
    const whole = prepareSegment(mv, 300, P, { start: 200 });
    mv.fill(Number.NaN, 100 * 300, 110 * 300);
    expect(prepareSegment(mv, 300, P, { start: 200 }).samples).toEqual(whole.samples);
    expect(() => prepareSegment(mv, 300, P, { start: 90 })).toThrow('the first at 100.00 s');
  });

  const bad: [string, Float64Array, number, string][] = [
    ['a flat lead', new Float64Array(9000).fill(0.3), 300, 'The lead is flat'],
    [
      'NaN',
      ecg(30).fill(Number.NaN, 600, 602),
      300,
      '2 samples are missing or not finite numbers, the first at 2.00 s',
    ],
    ['infinity', ecg(30).fill(Number.POSITIVE_INFINITY, 0, 1), 300, '1 samples are missing'],
    ['nothing', new Float64Array(0), 300, 'at least 5 s are needed'],
    ['4.9 s', ecg(4.9), 300, 'The record is 4.9 s long'],
    ['a rate of 0', ecg(30), 0, 'A sampling rate of 0 Hz cannot be used: expected 100 to 2000 Hz'],
    ['a rate of NaN', ecg(30), Number.NaN, 'A sampling rate of NaN Hz'],
    ['a rate of 99 Hz', ecg(30), 99, 'A sampling rate of 99 Hz'],
    ['a rate of 5000 Hz', ecg(30), 5000, 'A sampling rate of 5000 Hz'],
    ['V instead of mV', ecg(30).map((v) => v / 1000), 300, 'is the signal in mV, not V?'],
    ['slow drift alone', ecg(30).map((_, i) => i / 9000), 300, 'There is no heartbeat in the signal'],
  ];
  for (const [name, mv, rate, message] of bad) {
    test(`when ${name} is prepared then it says "${message}"`, () => {
      expect(() => prepareSegment(mv, rate, P)).toThrow(message);
    });
  }

  const odd: [string, Float64Array, string][] = [
    ['uV instead of mV', ecg(30).map((v) => 1000 * v), 'is its unit uV'],
    ['a clipped signal', ecg(30).map((v) => Math.max(-0.05, Math.min(0.15, v))), 'it is clipped'],
    ['an electrode off for a third', ecg(30).fill(0.1, 3000, 6000), 'The signal is flat for'],
  ];
  for (const [name, mv, message] of odd) {
    test(`when ${name} is prepared then it warns "${message}"`, () => {
      const { warnings } = prepareSegment(mv, 300, P);
      expect(warnings.join(' ')).toContain(message);
      expect(warnings.length).toBe(1);
    });
  }

  test('when a record of 30 s is conditioned then it takes milliseconds', () => {
    const mv = ecg(30);
    prepareSegment(mv, 300, P);
    const begin = performance.now();
    for (let i = 0; i < 20; i++) conditionSignal(mv, 300, P);
    expect((performance.now() - begin) / 20).toBeLessThan(50); // 0.7 ms measured; a guard against another order
  });
});

describe('parsePreprocessing', () => {
  test('when settings come out of JSON then they are the same', () => {
    expect(parsePreprocessing(JSON.parse(JSON.stringify(P)))).toEqual(P);
  });

  test('when several settings are wrong then all are named', () => {
    const wrong = {
      ...P,
      version: 2,
      samples: 4096.5,
      band: { ...P.band, high: -90, lowOrder: 3 },
      bound: '3',
    };
    expect(() => parsePreprocessing(wrong)).toThrow(/version.*samples.*lowOrder.*high.*bound/s);
    expect(() => parsePreprocessing({})).toThrow(/version.*seconds.*rmsLimit/s);
    expect(() => parsePreprocessing(null)).toThrow(/preprocessing: expected an object, got null/);
  });

  test.each<[string, unknown, RegExp]>([
    [
      'of more seconds at least than there are',
      { ...P, minimumSeconds: 31 },
      /minimumSeconds: .* 30, .*, got 31/,
    ],
    [
      'with an empty band',
      { ...P, band: { ...P.band, low: 40 } },
      /band\.high: expected a frequency above low/,
    ],
    [
      'whose rate is too low to hold a heartbeat',
      { ...P, samples: 8, band: { ...P.band, low: 0.02, high: 0.1 } },
      /seconds: expected a rate, .* from 20 to 1000 Hz/,
    ],
    ['of no sample', { ...P, minimumSeconds: 1e-9 }, /at least a sample/],
    [
      'without any bound',
      { ...P, bound: 1e308, rmsLimit: 1e-9, scale: { percentile: 1, factor: 1e-300 } },
      /factor.*\n.*bound.*\n.*rmsLimit/,
    ],
    ['of a filter of order 10', { ...P, band: { ...P.band, lowOrder: 10 } }, /an even number from 2 to 8/],
    ['beyond half the rate', { ...P, band: { ...P.band, high: 90 } }, /below half of samples \/ seconds/],
  ])('when settings are %s then they are refused', (_, value, message) => {
    expect(() => parsePreprocessing(value)).toThrow(expect.objectContaining({ code: 'MODEL' }));
    expect(() => parsePreprocessing(value)).toThrow(message);
  });
});
