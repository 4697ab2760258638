import { describe, expect, test } from 'vitest';
import { compareModels, requireSameClasses } from '../../src/evaluation/compare.ts';
import { summarise } from '../../src/evaluation/summary.ts';
import { randomModel } from '../helpers/random-model.ts';
import { CLASSES, outcome } from './helpers.ts';

describe('figures of outcomes', () => {
  test('when a label is none of the classes then the record is told', () => {
    expect(() => summarise([outcome('r7', 'X', 'N')], CLASSES, 1)).toThrow(/r7.*"X"/);
  });

  test('when two models are compared then the difference is the first minus the second', () => {
    const labels = ['N', 'A', 'O', 'N', 'A', 'O'];
    const right = labels.map((l, i) => outcome(`r${i}`, l, l));
    const none = labels.map((l, i) => outcome(`r${i}`, l, null));
    expect(compareModels(right, none, CLASSES, 1).cincScore).toBe(1);
    expect(compareModels(none, right, CLASSES, 1).cincScore).toBe(-1);
    expect(compareModels(right, right, CLASSES, 1)).toEqual({ cincScore: 0, ci95: [0, 0] });
  });

  test('when two models name other classes then both lists are told', () => {
    const model = randomModel({ samples: 256 });
    const other = { ...model, name: 'other', classes: ['A', 'N'] };
    expect(() => requireSameClasses(model, other)).toThrow(/names N, A, O, ~, but other names A, N/);
    expect(() => requireSameClasses(model, { ...other, classes: [...model.classes] })).not.toThrow();
  });
});
