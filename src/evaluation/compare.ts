import { Random } from '../ecg/random.ts';
import { BlindbeatError } from '../errors.ts';
import type { Watch } from '../measure/progress.ts';
import type { Model } from '../model/model.ts';
import { computeMetrics, type Interval, pairedInterval } from './metrics.ts';
import { evaluateRecords, type LabelledRecording, type Outcome } from './outcome.ts';
import { type Evaluation, labelsOf, summarise } from './summary.ts';

/** The first model's CinC score minus the second's, with its 95 % paired bootstrap interval. */
export interface Difference {
  cincScore: number;
  ci95: Interval;
}

/** A second model's figures, and how far the first one's score is above its. */
export interface Comparison {
  evaluation: Evaluation;
  difference: Difference;
}

/**
 * Evaluates a second model in the clear on the records of `outcomes`, which are the first one's.
 *
 * @throws BlindbeatError MISMATCH if a label is none of the classes; the signal's reason
 */
export async function compareWith(
  rival: Model,
  records: LabelledRecording[],
  outcomes: Outcome[],
  { seed, ...watch }: Watch & { seed: number },
): Promise<Comparison> {
  const { classes } = rival;
  const others = await evaluateRecords(rival, records, watch);
  return {
    evaluation: summarise(others, classes, seed),
    difference: compareModels(outcomes, others, classes, seed),
  };
}

/**
 * The difference of two models on the same records in the same order.
 *
 * @throws BlindbeatError MISMATCH if a label is none of the classes
 */
export function compareModels(
  first: Outcome[],
  second: Outcome[],
  classes: string[],
  seed: number,
): Difference {
  const labels = labelsOf(first, classes);
  const [a, b] = [first, second].map((outcomes) => outcomes.map((o) => o.named));
  const score = (named: number[]) => computeMetrics(labels, named, classes).cincScore;
  const random = new Random(seed);
  return {
    cincScore: score(a) - score(b),
    ci95: pairedInterval(labels, a, b, classes, () => random.next()),
  };
}

/** @throws BlindbeatError MISMATCH if two models do not name the same classes in the same order */
export function requireSameClasses(model: Model, rival: Model): void {
  if (rival.classes.join() === model.classes.join()) return;
  throw new BlindbeatError(
    'MISMATCH',
    `${model.name} names ${model.classes.join(', ')}, but ${rival.name} names ${rival.classes.join(', ')}: ` +
      'choose models of the same classes',
  );
}
