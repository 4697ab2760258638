import type { Interval, Metrics } from '../src/evaluation/metrics.ts';
import { evaluateSegment, type Outcome } from '../src/evaluation/outcome.ts';
import { worstRanges } from '../src/evaluation/ranges.ts';
import { summarise } from '../src/evaluation/summary.ts';
import type { Model } from '../src/model/model.ts';
import type { Corpus } from './data.ts';

/** The metrics of a model on part of a corpus. */
export interface CorpusEvaluation extends Metrics {
  /** 95 % bootstrap interval of the CinC score. */
  ci95: Interval;
  /** Largest |score|. */
  largestScore: number;
}

/** What `blindbeat evaluate` says of a model, on records of a corpus, whose segments are prepared already. */
export async function evaluateModel(
  model: Model,
  corpus: Corpus,
  indices: number[],
  onProgress: (done: number, total: number) => void = () => {},
): Promise<CorpusEvaluation> {
  const { samples } = model;
  const outcomes: Outcome[] = [];
  for (const i of indices) {
    const { name: id, label } = corpus.records[i];
    const segment = corpus.segments.subarray(i * samples, (i + 1) * samples);
    outcomes.push(evaluateSegment(model, { id, label }, segment));
    onProgress(outcomes.length, indices.length);
    if (outcomes.length % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const { intervals: _, ...evaluation } = summarise(outcomes, model.classes, 1);
  const [worst] = worstRanges(model, outcomes, 1).scores;
  return { ...evaluation, largestScore: Math.abs(worst.score) };
}
