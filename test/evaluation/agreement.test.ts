import { describe, expect, test } from 'vitest';
import { compareOutcomes, largestDifference } from '../../src/evaluation/agreement.ts';
import { CLASSES, outcome } from './helpers.ts';

describe('agreement', () => {
  test('when encrypted and clear results are compared then errors, bits and classes are right', () => {
    const clear = [
      outcome('a', 'N', 'N', [2, 1, 0, 0]),
      outcome('b', 'A', 'A', [1, 1.25, 0, 0]),
      outcome('c', 'O', null), // refused by the client on both sides
      outcome('d', 'O', 'O', [0, 0, 3, 0]),
    ];
    const encrypted = [
      outcome('a', 'N', 'N', [2, 1, 0, 0.5]),
      outcome('b', 'A', 'N', [1.5, 1.25, 0, 0]),
      outcome('c', 'O', null),
      outcome('d', 'O', null), // beyond the limit: no scores to compare
    ];
    expect(compareOutcomes(clear, encrypted, CLASSES)).toEqual({
      compared: 3,
      sameClass: 1,
      agreement: 1 / 3,
      maxError: 0.5,
      rmsError: 0.25, // sqrt(2 * 0.5^2 / 8)
      precisionBits: 2,
      different: [
        { id: 'b', clear: 'A', encrypted: 'N', margin: 0.25 },
        { id: 'd', clear: 'O', encrypted: null, margin: 3 },
      ],
      smallestMargin: 0.25,
    });
  });

  test('when two lists of scores differ then the largest difference counts, whatever its sign', () => {
    expect(largestDifference([1, 2, 3], [1.5, 2, 1])).toBe(2);
    expect(largestDifference(Float64Array.of(1, -2), [1, -2])).toBe(0);
  });
});
