import { Random } from '../src/ecg/random.ts';
import { forward } from '../src/model/forward.ts';
import type { Model } from '../src/model/model.ts';
import type { Corpus } from './data.ts';
import { argmaxRows, bootstrapInterval, computeMetrics, type Metrics } from './metrics.ts';

export interface Evaluation extends Metrics {
  /** 95 % bootstrap interval of the CinC score. */
  ci95: [number, number];
  largestScore: number;
}

/** The path that ships: each record's one segment through src/model/forward.ts with the exported numbers. */
export async function evaluateModel(
  model: Model,
  corpus: Corpus,
  indices: number[],
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Evaluation> {
  const { classes, samples } = model;
  const scores = new Float64Array(indices.length * classes.length);
  for (const [row, i] of indices.entries()) {
    const segment = corpus.segments.subarray(i * samples, (i + 1) * samples);
    scores.set(forward(model, segment).scores, row * classes.length);
    onProgress(row + 1, indices.length);
    if (row % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
  }
  const labels = indices.map((i) => classes.indexOf(corpus.records[i].label));
  const named = argmaxRows(scores, classes.length);
  const random = new Random(1);
  return {
    ...computeMetrics(labels, named, classes),
    ci95: bootstrapInterval(labels, named, classes, () => random.next()),
    largestScore: scores.reduce((most, s) => Math.max(most, Math.abs(s)), 0),
  };
}
