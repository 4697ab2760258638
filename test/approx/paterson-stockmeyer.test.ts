import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { approximate, evaluateApproximation } from '../../src/approx/approximate.ts';
import { type ChebyshevSeries, evaluateSeries } from '../../src/approx/chebyshev.ts';
import { type EvaluationScheme, evaluationScheme, runScheme } from '../../src/approx/paterson-stockmeyer.ts';

/** Levels from scratch: a product and a scalar that is no integer cost one each. */
function levelsOf({ steps, result }: EvaluationScheme): number {
  const levels = [0];
  for (const step of steps) {
    if (step.op === 'multiply') levels.push(Math.max(levels[step.left], levels[step.right]) + 1);
    else
      levels.push(
        Math.max(0, ...step.terms.map((t) => levels[t.node] + (Number.isInteger(t.scalar) ? 0 : 1))),
      );
  }
  return levels[result];
}

const dense = (degree: number): ChebyshevSeries => ({
  range: [-2, 5],
  coefficients: Array.from({ length: degree + 1 }, (_, k) => Math.sin(k * k + 1.3) / (1 + k / 10)),
});

describe('evaluation schemes', () => {
  test.each([
    // degree, levels, multiplications; every coefficient there
    [1, 0, 0],
    [2, 1, 1],
    [3, 2, 2],
    [4, 2, 2],
    [5, 3, 3],
    [6, 3, 3],
    [7, 3, 4],
    [8, 3, 5],
    [9, 4, 5],
    [12, 4, 6],
    [15, 4, 7],
    [16, 4, 8],
    [31, 5, 12],
    [32, 5, 13],
    [63, 6, 17],
  ])(
    'when the degree is %i then it takes %i levels and %i multiplications',
    (degree, levels, multiplications) => {
      const scheme = evaluationScheme(dense(degree));
      expect([scheme.levels, scheme.multiplications]).toEqual([levels, multiplications]);
      expect(scheme.steps.filter((s) => s.op === 'multiply')).toHaveLength(multiplications);
    },
  );

  test('when polynomials are random, even or odd, folded or not, then the scheme agrees with Clenshaw at its levels', () => {
    const coefficient = fc.oneof(fc.double({ min: -3, max: 3, noNaN: true }), fc.constant(0));
    fc.assert(
      fc.property(
        fc.array(coefficient, { minLength: 2, maxLength: 64 }),
        fc.constantFrom('all', 'even', 'odd'),
        fc.boolean(),
        (numbers, parity, fold) => {
          const coefficients = numbers.map((c, k) =>
            parity === 'all' || (k % 2 === 0) === (parity === 'even') ? c : 0,
          );
          // Folding divides by the last one: an arbitrarily small one is a rounding error's scale.
          coefficients[coefficients.length - 1] ||= 0.7;
          if (Math.abs(coefficients.at(-1)!) < 1e-3) coefficients[coefficients.length - 1] = 1.3;
          const series: ChebyshevSeries = { range: [-3, 1], coefficients };
          const scheme = evaluationScheme(series, { fold });
          const degree = coefficients.length - 1;
          expect(scheme.levels).toBe(levelsOf(scheme));
          expect(scheme.levels).toBeLessThanOrEqual(Math.ceil(Math.log2(fold ? degree : degree + 1)));
          const size = coefficients.reduce((s, c) => s + Math.abs(c), 0);
          for (const x of [-3, -2.2, -1, -0.01, 0.4, 1])
            expect(Math.abs(runScheme(scheme, x) - evaluateSeries(series, x))).toBeLessThan(1e-12 * size);
        },
      ),
      { numRuns: 40, seed: 6 },
    );
  });

  test('when an even polynomial has T_2, T_4 and T_8 only then three squarings do', () => {
    const scheme = evaluationScheme({ range: [-1, 1], coefficients: [0.3, 0, 0.5, 0, 0.7, 0, 0, 0, 0.2] });
    expect([scheme.levels, scheme.multiplications]).toEqual([3, 3]);
  });

  test('when it is a composite then levels add up and one product with the input ends it', () => {
    const found = approximate('relu', { range: [-6, 4], degree: [7, 15], method: 'composite' });
    const scheme = evaluationScheme(found);
    expect(scheme.levels).toBe(3 + 4 + 1);
    expect(scheme.levels).toBe(levelsOf(scheme));
    for (const x of [-6, -2, -0.1, 0, 0.05, 3, 4])
      expect(runScheme(scheme, x)).toBeCloseTo(evaluateApproximation(found, x), 12);
  });
});
