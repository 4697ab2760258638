import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildSchedule,
  decompositionCounts,
  fewestSteps,
  giantBlocks,
  stepCounts,
} from '../../../src/ckks/circuit/bsgs.ts';

describe('baby-step/giant-step schedules', () => {
  test('when an amount is made of key steps, then they add up to it and are the fewest', () => {
    expect(fewestSteps(0, [1])).toEqual([]);
    expect(fewestSteps(11, [1, 5]).sort()).toEqual([1, 5, 5]);
    expect(fewestSteps(30, [1, 10, 15, 25]).sort()).toEqual([15, 15]);
    expect(() => fewestSteps(7, [2, 4])).toThrow(/no key steps add up to a rotation by 7/);
  });

  const steps = fc.uniqueArray(fc.integer({ min: 2, max: 40 }), { maxLength: 8 }).map((more) => [1, ...more]);
  const amounts = fc
    .uniqueArray(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 80 })
    .map((more) => [0, ...more].sort((a, b) => a - b));

  test('when any amounts are scheduled with any steps, then all are reached by these steps', () => {
    fc.assert(
      fc.property(steps, amounts, fc.integer({ min: 1, max: 60 }), (keys, wanted, babyStep) => {
        const map = mapOf(wanted, 1, 1);
        const { babySteps, giantSteps, babyAmounts } = buildSchedule(map, {
          babyStep,
          paired: false,
          keySteps: keys,
        });
        const reached = new Set([0]);
        for (const { from, steps: taken } of babySteps) {
          expect(reached).toContain(from);
          for (const { amount, step } of taken) {
            expect(keys).toContain(step);
            expect(from + step).toBe(amount);
            expect(reached).not.toContain(amount);
            reached.add(amount);
          }
        }
        for (const amount of babyAmounts) expect(reached).toContain(amount);
        let giant = giantSteps[0].amount;
        const covered: number[] = [];
        for (const { amount, accumulatorSteps, rows } of giantSteps) {
          expect(giant - accumulatorSteps.reduce((a, b) => a + b, 0)).toBe(amount);
          giant = amount;
          rows[0].forEach((vector, k) => {
            if (vector) covered.push(amount + babyAmounts[k]);
          });
        }
        expect(giant).toBe(0);
        expect(covered.sort((a, b) => a - b)).toEqual(wanted);
      }),
    );
  });

  test('when contiguous amounts are counted, then it is as many decompositions as the tree has', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 100 }), (keys, count) => {
        const sorted = [...keys].sort((a, b) => a - b);
        const map = mapOf(
          Array.from({ length: count }, (_, a) => a),
          1,
          1,
        );
        const { babySteps } = buildSchedule(map, { babyStep: count, paired: false, keySteps: keys });
        expect(babySteps.length).toBe(decompositionCounts(count, sorted)[count]);
      }),
    );
  });

  test('when giant steps are put in blocks, then every one is held once, by a step from its base', () => {
    fc.assert(
      fc.property(steps, fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }), (keys, more) => {
        const amounts = [0, ...more].sort((a, b) => a - b);
        const sorted = [...keys].sort((a, b) => a - b);
        const blocks = giantBlocks(amounts, sorted, stepCounts(60, sorted))!;
        const held = blocks.flatMap(({ base, holdsBase, members }) => [
          ...(holdsBase ? [base] : []),
          ...members.map((step) => base + step),
        ]);
        expect(held.sort((a, b) => a - b)).toEqual(amounts);
        blocks.forEach(({ base, members }, k) => {
          expect(base).toBeGreaterThan(k === 0 ? -1 : blocks[k - 1].base);
          for (const step of members) expect(sorted).toContain(step);
        });
      }),
    );
  });
});

/** A map with weights on these amounts. */
function mapOf(amounts: number[], inputs = 4, outputs = 4) {
  const row = () => Array.from({ length: outputs }, () => new Array(inputs).fill(Float64Array.of(1)));
  return { period: 1, inputs, outputs, weights: new Map(amounts.map((a) => [a, row()])) };
}
