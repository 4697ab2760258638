import { describe, expect, test } from 'vitest';
import { beatsOf } from '../../src/ecg/beats.ts';
import { parseCsv } from '../../src/ecg/csv.ts';
import { DEFAULT_PREPROCESSING, prepareSegment } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { RHYTHMS, type Rhythm } from '../../src/ecg/rhythm.ts';
import { synthesise, toCsv } from '../../src/ecg/synth.ts';

const BASE = { seconds: 30, rate: 300, seed: 3 };

/** RR intervals in s over five minutes. */
function intervals(rhythm: Rhythm, heartRate: number, seed = 2): number[] {
  const beats = beatsOf(rhythm, 300, heartRate, new Random(seed));
  return beats.slice(1).map((b, i) => b.time - beats[i].time);
}

function statistics(x: number[]) {
  const mean = x.reduce((a, b) => a + b) / x.length;
  const deviation = Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length);
  const lag1 = x.slice(1).reduce((a, b, i) => a + (b - mean) * (x[i] - mean), 0) / x.length / deviation ** 2;
  return { mean, cv: deviation / mean, lag1 };
}

describe('rhythms', () => {
  test('when the rhythm is normal then RR varies by 3 to 6 %, and each follows the one before', () => {
    const { mean, cv, lag1 } = statistics(intervals('normal', 70));
    expect(60 / mean).toBeCloseTo(70, 0);
    expect(cv).toBeGreaterThan(0.03);
    expect(cv).toBeLessThan(0.06);
    expect(lag1).toBeGreaterThan(0.1);
  });

  test('when it is atrial fibrillation then RR varies by 20 to 28 %, independently, and there are no P waves', () => {
    const { mean, cv, lag1 } = statistics(intervals('af', 95));
    expect(60 / mean).toBeGreaterThan(88);
    expect(60 / mean).toBeLessThan(102);
    expect(cv).toBeGreaterThan(0.2);
    expect(cv).toBeLessThan(0.28);
    expect(Math.abs(lag1)).toBeLessThan(0.12);
    for (const beat of beatsOf('af', 30, 95, new Random(1))) {
      expect(beat.waves.every((w) => w.at > -0.1)).toBe(true);
    }
  });

  test('when beats are ectopic then they are early, wide, and followed by a compensatory pause', () => {
    const beats = beatsOf('ectopic', 300, 70, new Random(4));
    const early = beats.flatMap((b, i) =>
      b.kind === 'ventricular' && i > 0 && i + 1 < beats.length ? [i] : [],
    );
    expect(early.length).toBeGreaterThan(40);
    for (const i of early) {
      const before = beats[i].time - beats[i - 1].time;
      const after = beats[i + 1].time - beats[i].time;
      expect(before).toBeLessThan(0.7 * after);
      expect(beats[i - 1].kind).toBe('sinus');
      const width = (k: number) =>
        Math.max(...beats[k].waves.filter((w) => Math.abs(w.at) < 0.08).map((w) => w.width));
      expect(width(i)).toBeGreaterThan(2 * width(i - 1));
    }
  });

  test('when any seed makes 30 s of ectopic rhythm then there are at least three such beats', () => {
    for (let seed = 0; seed < 50; seed++) {
      const beats = beatsOf('ectopic', 30, 60, new Random(seed)).filter((b) => b.time > 0 && b.time < 30);
      expect(beats.filter((b) => b.kind === 'ventricular').length).toBeGreaterThanOrEqual(3);
    }
  });
});

describe('synthesise', () => {
  for (const rhythm of RHYTHMS) {
    test(`when ${rhythm} is made then it can be prepared without warnings and has a plausible size`, () => {
      for (const seed of [1, 2, 3]) {
        const { leads, rate } = synthesise({ ...BASE, rhythm, seed });
        const { mv } = leads[0];
        expect(mv.length).toBe(9000);
        expect(Math.max(...mv)).toBeLessThan(8);
        expect(Math.max(...mv) - Math.min(...mv)).toBeGreaterThan(0.5);
        expect(prepareSegment(mv, rate, DEFAULT_PREPROCESSING).warnings).toEqual([]);
      }
    });

    test(`when ${rhythm} is made twice with a seed then it is the same, with another not`, () => {
      const make = (seed: number) => synthesise({ ...BASE, rhythm, seed }).leads[0].mv;
      expect(make(5)).toEqual(make(5));
      expect(make(5)).not.toEqual(make(6));
    });
  }

  test('when the rate differs but the noise is none then it is the same ECG', () => {
    const make = (rate: number) => synthesise({ ...BASE, rate, rhythm: 'normal', noise: 0 }).leads[0].mv;
    const fine = make(600);
    const coarse = make(300);
    coarse.forEach((v, i) => {
      expect(v).toBeCloseTo(fine[2 * i], 12);
    });
  });

  test('when seed 3 makes a normal ECG then its first samples are these on every machine', () => {
    const { mv } = synthesise({ ...BASE, rhythm: 'normal' }).leads[0];
    expect([0, 1500, 3000].map((i) => mv[i].toFixed(6))).toMatchInlineSnapshot(`
      [
        "0.012171",
        "0.087064",
        "0.075196",
      ]
    `);
  });

  test('when options make no ECG then they are named', () => {
    const make = (wrong: object) => () => synthesise({ ...BASE, rhythm: 'normal', ...wrong });
    expect(make({ rhythm: 'waltz' })).toThrow('expected normal, af, ectopic, noise, got "waltz"');
    expect(make({ seconds: 0 })).toThrow('seconds: expected 1 to 86400, got 0');
    expect(make({ rate: 50 })).toThrow('rate: expected 100 to 2000');
    expect(make({ heartRate: 500 })).toThrow('heart rate: expected 30 to 200');
    expect(make({ noise: -1 })).toThrow('noise: expected 0 to 100');
    expect(make({ seed: Number.NaN })).toThrow('Seed: expected a number');
  });
});

describe('toCsv', () => {
  test('when a recording is written and read again then it is the same to 0.5 uV', () => {
    for (const rate of [100, 128, 300, 360, 512, 1000, 2000]) {
      const made = synthesise({ ...BASE, rate, rhythm: 'af' });
      const read = parseCsv(toCsv(made));
      expect(read.rate).toBe(rate);
      expect(read.leads[0].name).toBe('ECG');
      expect(read.leads[0].mv.length).toBe(made.leads[0].mv.length);
      for (let i = 0; i < read.leads[0].mv.length; i++) {
        if (Math.abs(read.leads[0].mv[i] - made.leads[0].mv[i]) > 0.000501)
          expect.fail(`sample ${i} differs`);
      }
    }
  });
});
