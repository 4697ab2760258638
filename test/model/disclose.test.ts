import { describe, expect, test } from 'vitest';
import { DISCLOSURE, disclose } from '../../src/model/disclose.ts';

const MODEL = { classes: ['N', 'A', 'O', '~'], scoreLimit: 32 };
const many = (scores: number[], count = 2000) => Array.from({ length: count }, () => disclose(scores, MODEL));

describe('what is disclosed of an answer', () => {
  test('when a class leads clearly, then it is named with its probability in steps', () => {
    for (const { class: name, probability } of many([3, -1, 0, -2], 200)) {
      expect(name).toBe('N');
      expect(Math.abs(probability - 0.9)).toBeLessThan(0.11);
      expect(probability * 10).toBeCloseTo(Math.round(probability * 10), 9);
    }
  });

  test('when two classes are level, then noise decides, anew each time', () => {
    const named = many([1, -9, 1, -9]).filter((d) => d.class === 'N').length;
    expect(named).toBeGreaterThan(800);
    expect(named).toBeLessThan(1200);
  });

  test('when one class leads by a few deviations of the noise, then the other is rarely named', () => {
    const lead = 3 * Math.SQRT2 * DISCLOSURE.noise;
    const wrong = many([1 + lead, -9, 1, -9], 20_000).filter((d) => d.class !== 'N').length / 20_000;
    expect(wrong).toBeGreaterThan(0.0003); // of a normal number beyond 3 deviations: 0.00135
    expect(wrong).toBeLessThan(0.0035);
  });

  test('when all that can be told is listed, then it is as much as the budget counts', () => {
    const told = new Set<string>();
    for (let size = 0; size < 5; size += 0.05)
      for (let c = 0; c < 4; c++) {
        const scores = [0, 0, 0, 0];
        scores[c] = size;
        for (const d of many(scores, 5)) told.add(JSON.stringify(d));
      }
    expect(told.size).toBe(32);
  });

  test('when a score is beyond the limit, then nothing is told', () => {
    expect(() => disclose([33, 0, 0, 0], MODEL)).toThrow(/no class can be named/);
    expect(() => disclose([Number.NaN, 0, 0, 0], MODEL)).toThrow(/no class can be named/);
  });
});
