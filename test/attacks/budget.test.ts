import { describe, expect, test } from 'vitest';
import { answersWithin, bitsLost, bitsPerAnswer, spareCoefficients } from '../../attacks/recovery/budget.ts';
import { primalBits } from '../../attacks/recovery/hardness.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { DISCLOSURE } from '../../src/model/disclose.ts';
import { loadModel } from '../../src/model/files.ts';

describe('how often --disclose may be used', () => {
  test('when the shipped plan is counted, then the budget is within it', async () => {
    const { parameters } = compile(await loadModel('deepcardio-deg2')).plan.manifest;
    const bits = bitsPerAnswer(4, DISCLOSURE.step);
    expect(bits).toBeCloseTo(Math.log2(33), 9);
    expect(spareCoefficients(parameters)).toBe(658);
    expect(answersWithin(parameters, bits)).toBe(206);
    expect(DISCLOSURE.answers).toBeLessThanOrEqual(206);
  });

  test('when a plan is at the bound, then no answer may be told', () => {
    expect(answersWithin({ n: 16384, logQP: 430 }, 1)).toBe(0);
    expect(spareCoefficients({ n: 4096, logQP: 106 })).toBe(0);
  });

  test('when noise grows or answers get fewer, then less is lost; without noise, all', () => {
    const lost = (answers: number, noise: number) => bitsLost(answers, { classes: 4, error: 1.25e-3, noise });
    expect(lost(DISCLOSURE.answers, DISCLOSURE.noise)).toBeCloseTo(6.7, 1);
    expect(lost(800, 0.1) / lost(200, 0.1)).toBeCloseTo(2, 1);
    expect(lost(200, 0.2)).toBeLessThan(lost(200, 0.1));
    expect(lost(0, 0.1)).toBe(0);
    expect(lost(200, 1e-6)).toBe(128);
  });
});

describe('the estimate of hardness', () => {
  test('when parameters of NewHope are estimated, then it says what its authors say', () => {
    // Alkim et al. 2016, table 1: n = 1024, q = 12289, deviation sqrt(8) of secret and error: block size 967.
    const eight = Math.sqrt(8);
    const bits = primalBits({ n: 1024, log2q: Math.log2(12289), error: eight, secret: eight });
    expect(Math.abs(bits / 0.292 - 967)).toBeLessThan(10);
  });

  test('when scores are rounded, then their equations alone are harder than the key', () => {
    const key = primalBits({ n: 16384, log2q: 412.85, error: 3.2 });
    expect(key).toBeGreaterThan(95);
    expect(primalBits({ n: 16384, log2q: 30, error: 1500 })).toBeGreaterThan(20 * key);
  });
});
