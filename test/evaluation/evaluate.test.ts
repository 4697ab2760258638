import { describe, expect, test } from 'vitest';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { BlindbeatError } from '../../src/errors.ts';
import {
  compareModels,
  compareOutcomes,
  drawRecords,
  evaluateRecord,
  type Outcome,
  refusal,
  summarise,
  worstRanges,
} from '../../src/evaluation/evaluate.ts';
import { UNNAMED } from '../../src/evaluation/metrics.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 1024 });
const CLASSES = model.classes;
const ecg = synthesise({ rhythm: 'af', seconds: 12, rate: 300, seed: 3 });
const record = { id: 'r1', label: 'A', recording: () => ecg };

describe('evaluateRecord', () => {
  test('when a record is fine then it goes the way of the client and gets its class', () => {
    const { samples } = prepareSegment(ecg.leads[0].mv, 300, model.preprocessing);
    const { scores, ranges } = forward(model, samples);
    const outcome = evaluateRecord(model, record);
    expect(outcome).toEqual({
      id: 'r1',
      label: 'A',
      named: scores.indexOf(Math.max(...scores)),
      scores,
      ranges,
    });
  });

  test('when the client refuses a record then it has no class, and the reason is kept', () => {
    const flat = { ...ecg, leads: [{ name: 'ECG', mv: new Float64Array(3600) }] };
    const outcome = evaluateRecord(model, { ...record, recording: () => flat });
    expect(outcome).toEqual({
      id: 'r1',
      label: 'A',
      named: UNNAMED,
      reason: expect.stringContaining('flat'),
    });
  });

  test('when a score is beyond the limit then there is no class, but scores and ranges', () => {
    const outcome = evaluateRecord({ ...model, scoreLimit: 1e-6 }, record);
    expect(outcome).toMatchObject({ named: UNNAMED, reason: expect.stringContaining('beyond') });
    expect(outcome.scores).toHaveLength(4);
    expect(outcome.ranges).toHaveLength(2);
  });

  test('when something else goes wrong then it is not swallowed', () => {
    const broken = () => {
      throw new TypeError('a fault');
    };
    expect(() => evaluateRecord(model, { ...record, recording: broken })).toThrow(TypeError);
    expect(() => refusal(record, new BlindbeatError('MODEL', 'other'))).toThrow('other');
  });
});

const outcome = (id: string, label: string, named: string | null, scores?: number[]): Outcome => ({
  id,
  label,
  named: named === null ? UNNAMED : CLASSES.indexOf(named),
  scores,
});

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

  test('when values spread then the worst and whose they are is told, refused records aside', () => {
    const at = (id: string, score: number, ranges: [number, number][]) => ({
      ...outcome(id, 'N', 'N', [score, 0, 0, 0]),
      ranges,
    });
    const worst = worstRanges(
      model, // validated for -4 to 4 in both blocks
      [
        at('a', 2, [[-1, 3], [0, 1]]), // biome-ignore format: a table
        at('b', -5, [[-2, 1], [-6, 1]]), // biome-ignore format: a table
        outcome('c', 'N', null),
        at('d', Number.NaN, [[0, 0], [0, 0]]), // biome-ignore format: a table
      ],
      2,
    );
    expect(worst.scores.map(({ id, score }) => [id, score])).toEqual([
      ['d', Number.POSITIVE_INFINITY],
      ['b', -5],
    ]);
    expect(worst.blocks).toEqual([
      { low: -2, high: 3, range: [-4, 4], share: 0.75, id: 'a' },
      { low: -6, high: 1, range: [-4, 4], share: 1.5, id: 'b' },
    ]);
  });

  test('when encrypted and clear results are compared then errors, bits and differing classes are right', () => {
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

  test('when records are drawn then the seed decides, order stays, and a smaller draw lies within a larger', () => {
    const all = Array.from({ length: 50 }, (_, i) => i);
    const twenty = drawRecords(all, 20, 1);
    expect(twenty).toHaveLength(20);
    expect(twenty).toEqual(twenty.toSorted((a, b) => a - b));
    expect(drawRecords(all, 20, 2)).not.toEqual(twenty);
    expect(drawRecords(all, 5, 1).every((i) => twenty.includes(i))).toBe(true);
    expect(drawRecords(all, 99, 1)).toEqual(all);
  });
});
