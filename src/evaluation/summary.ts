import { Random } from '../ecg/random.ts';
import { BlindbeatError } from '../errors.ts';
import {
  bootstrapIntervals,
  computeMetrics,
  type Interval,
  type Intervals,
  type Metrics,
} from './metrics.ts';
import type { Outcome } from './outcome.ts';

/** A model's figures on a set of records. */
export interface Evaluation extends Metrics {
  /** 95 % bootstrap interval of the CinC score. */
  ci95: Interval;
  /** The same of all figures. */
  intervals: Intervals;
}

/**
 * All figures of outcomes with their 95 % bootstrap intervals, drawn by the seed. Records without a class
 * count as misses.
 *
 * @throws BlindbeatError MISMATCH if a label is none of the model's classes
 */
export function summarise(outcomes: Outcome[], classes: string[], seed: number): Evaluation {
  const labels = labelsOf(outcomes, classes);
  const named = outcomes.map((o) => o.named);
  const random = new Random(seed);
  const intervals = bootstrapIntervals(labels, named, classes, () => random.next());
  return { ...computeMetrics(labels, named, classes), ci95: intervals.cincScore, intervals };
}

/**
 * The labels of records as indices into `classes`.
 *
 * @throws BlindbeatError MISMATCH if one is none of them
 */
export function labelsOf(outcomes: Outcome[], classes: string[]): number[] {
  return outcomes.map(({ id, label }) => {
    const index = classes.indexOf(label);
    if (index >= 0) return index;
    throw new BlindbeatError(
      'MISMATCH',
      `Record ${id} is labelled "${label}", which is none of the model's classes ${classes.join(', ')}. ` +
        "Choose a model with all of the data set's classes.",
    );
  });
}
