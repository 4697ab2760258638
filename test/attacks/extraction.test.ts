import { describe, expect, test } from 'vitest';
import { targetsOf } from '../../attacks/extraction/answers.ts';
import { judge } from '../../attacks/extraction/judge.ts';
import { drawQueries } from '../../attacks/extraction/queries.ts';
import { allFeatures, ridgeScores } from '../../attacks/extraction/ridge.ts';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { RHYTHMS } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { AUGMENTATION } from '../../training/augment.ts';
import { randomModel } from '../helpers/random-model.ts';

describe('what answers tell', () => {
  const scores = Float32Array.of(1.23456, -0.5, 0.25, -3, 0.1, 0.2, 0.30001, 0.1);
  const labels = Uint8Array.of(3, 1);

  test('when scores are rounded, then so are the targets', () => {
    const told = targetsOf('scores-2', scores, labels, 4);
    expect(Array.from(told.scores!)).toEqual(
      Array.from(Float32Array.of(1.23, -0.5, 0.25, -3, 0.1, 0.2, 0.3, 0.1)),
    );
    expect(Array.from(told.classes)).toEqual([0, 2]);
  });

  test('when only classes or labels are told, then there are no scores', () => {
    expect(targetsOf('class', scores, labels, 4)).toEqual({ classes: Uint8Array.of(0, 2) });
    expect(targetsOf('labels', scores, labels, 4)).toEqual({ classes: labels });
  });

  test('when probabilities are told, then none is 0 and their softmax is about what was told', () => {
    const { scores: told } = targetsOf('probabilities', scores, labels, 4);
    expect(Array.from(told!.subarray(0, 4), (s) => Math.round(50 * Math.exp(s)) / 50)).toEqual([
      0.6, 0.1, 0.2, 0.02,
    ]);
  });
});

describe('students', () => {
  test('when scores equal the teacher up to a shift, then the judge sees no difference', () => {
    const scores = Float32Array.of(1, 0, -1, 0, 0, 2, 0, -1);
    const shifted = scores.map((s) => s + 5);
    expect(judge(shifted, scores, Uint8Array.of(0, 1), ['N', 'A', 'O', '~'])).toMatchObject({
      agreement: 1,
      scoreDifference: 0,
    });
  });

  test('when answers are a function of the rhythm, then ridge regression learns it; seed 1', () => {
    const model = randomModel({ samples: 4096 });
    const rhythms = RHYTHMS.slice(0, 2);
    const segments = new Float32Array(60 * 4096);
    const labels = new Uint8Array(60);
    for (let i = 0; i < 60; i++) {
      labels[i] = i % 2;
      const recording = synthesise({ rhythm: rhythms[i % 2], seconds: 30, rate: 300, seed: i });
      const { samples } = prepareSegment(recording.leads[0].mv, 300, model.preprocessing);
      segments.set(samples, i * 4096);
    }
    const features = allFeatures({ segments, labels, count: 60 }, 30);
    const half = { queries: features.slice(0, 40), judged: features.slice(40) };
    const scores = ridgeScores(half, { classes: labels.subarray(0, 40) }, 2);
    const right = Array.from(
      { length: 20 },
      (_, i) => +(scores[2 * i + 1] > scores[2 * i]) === labels[40 + i],
    );
    expect(right.filter((r) => r).length).toBeGreaterThanOrEqual(18);
  });

  test('when more queries are drawn than there are records, then the others are varied; seed 1', () => {
    const model = randomModel({ samples: 64 });
    const random = new Random(1);
    const signals = Float32Array.from({ length: 3 * 80 }, () => random.normal());
    const records = ['N', 'A', 'O'].map((label, i) => ({
      name: label,
      label,
      offset: 80 * i,
      length: 80,
      content: '',
    }));
    const segments = Float32Array.from({ length: 3 * 64 }, () => random.normal());
    const corpus = { records, signals, segments, refused: [] };
    const queries = drawQueries(corpus, [0, 1, 2], model, AUGMENTATION, 7, 1);
    const row = (i: number) => Array.from(queries.segments.subarray(64 * i, 64 * (i + 1)));
    expect([...queries.labels.subarray(0, 3)].sort()).toEqual([0, 1, 2]);
    expect(queries.labels.subarray(3, 6)).toEqual(queries.labels.subarray(0, 3));
    expect(row(0)).toEqual(
      Array.from(segments.subarray(64 * queries.labels[0], 64 * (queries.labels[0] + 1))),
    );
    expect(row(3)).not.toEqual(row(0));
    const fewer = drawQueries(corpus, [0, 1, 2], model, AUGMENTATION, 5, 1);
    expect(fewer.segments).toEqual(queries.segments.subarray(0, 5 * 64));
  });
});
