import { describe, expect, test } from 'vitest';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { UNNAMED } from '../../src/evaluation/metrics.ts';
import { evaluateRecord, refusal } from '../../src/evaluation/outcome.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 1024 });
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
