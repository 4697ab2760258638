import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fitCosts, type Measurement, measureOperations, parseCalibration } from '../../src/ckks/calibrate.ts';
import { ClearBackend } from '../../src/ckks/evaluator/clear.ts';
import { OPERATIONS } from '../../src/ckks/evaluator/operations.ts';
import { FAST_COST, operationMs } from '../../src/ckks/planner/cost.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { mutated } from '../helpers/mutate.ts';

const LIMBS = [2, 4, 6, 10, 14];
const measurements = (ms: (limbs: number, operation: (typeof OPERATIONS)[number]) => number): Measurement[] =>
  OPERATIONS.flatMap((operation) => LIMBS.map((limbs) => ({ operation, limbs, ms: ms(limbs, operation) })));

describe('the fit of costs', () => {
  test.each([4096, 8192, 16384, 32768])(
    'when times follow the model at n = %i, then its constants come back',
    (n) => {
      const costs = fitCosts(
        measurements((limbs, operation) => operationMs(FAST_COST, operation, limbs, n)),
        n,
      );
      for (const operation of OPERATIONS) {
        expect(costs[operation].squared).toBeCloseTo(FAST_COST[operation].squared, 9);
        expect(costs[operation].linear).toBeCloseTo(FAST_COST[operation].linear, 9);
      }
    },
  );

  test('when times are off by some percent, then so are the fitted ones, and no constant is negative', () => {
    const costs = fitCosts(
      measurements((limbs) => (0.04 * limbs ** 2 + 0.2 * limbs) * (1 + 0.1 * Math.sin(37 * limbs))),
      16384,
    );
    for (const limbs of LIMBS) {
      const fitted = operationMs(costs, 'rotate', limbs, 16384);
      expect(Math.abs(fitted / (0.04 * limbs ** 2 + 0.2 * limbs) - 1)).toBeLessThan(0.1);
    }
    for (const shape of [(l: number) => 5 - l / 4, (l: number) => l ** 3, () => 0]) {
      for (const { squared, linear } of Object.values(fitCosts(measurements(shape), 16384))) {
        expect(squared).toBeGreaterThanOrEqual(0);
        expect(linear).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test('when operations are measured, then each has a time that is not negative', () => {
    const make = () => ({ real: new Float64Array(1024).fill(1), imaginary: null });
    const measured = measureOperations({ backend: new ClearBackend(), make, scale: 1 }, 2, 1);
    expect(measured.map(({ operation }) => operation)).toEqual([...OPERATIONS]);
    for (const { ms } of measured) expect(ms).toBeGreaterThanOrEqual(0);
  });
});

describe('a file of costs', () => {
  const sound = { format: 'blindbeat costs', version: 1, n: 8192, costs: FAST_COST, measured: [] };

  test('when it is sound, then it is read', () => {
    expect(parseCalibration(JSON.parse(JSON.stringify(sound))).costs).toEqual(FAST_COST);
  });

  test.each<[string, unknown, RegExp]>([
    ['nothing', null, /costs: expected an object, got null/],
    ['of another format', { ...sound, format: 'x' }, /format: expected "blindbeat costs", got "x"/],
    ['of a later version', { ...sound, version: 2 }, /version: expected 1, got 2/],
    ['without costs', { ...sound, costs: undefined }, /costs: expected an object, got nothing/],
    [
      'without rotations',
      { ...sound, costs: { ...FAST_COST, rotate: undefined } },
      /costs\.rotate: expected an object, got nothing/,
    ],
    [
      'negative',
      { ...sound, costs: { ...FAST_COST, square: { squared: 0, linear: -1 } } },
      /costs\.square\.linear: expected a number of at least 0, got -1/,
    ],
  ])('when it is %s, then the error says so', (_, value, message) => {
    expect(() => parseCalibration(value)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(() => parseCalibration(value)).toThrow(message);
  });

  test('when it is changed anywhere, then it is refused or every operation has a time', () => {
    let accepted = 0;
    const measured = measurements(() => 1).slice(0, 3);
    fc.assert(
      fc.property(mutated({ ...sound, measured }), (value) => {
        try {
          const { costs } = parseCalibration(value);
          accepted++;
          for (const operation of OPERATIONS) {
            const ms = operationMs(costs, operation, 3, 16384);
            expect(ms).toBeGreaterThanOrEqual(0);
            expect(ms).toBeLessThan(Infinity);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(BlindbeatError);
          expect(error).toMatchObject({ code: 'FORMAT' });
        }
      }),
      { numRuns: 500, seed: 1 },
    );
    expect(accepted).toBeGreaterThan(20);
  });
});
