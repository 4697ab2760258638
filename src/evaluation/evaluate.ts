import { prepareSegment } from '../ecg/preprocess.ts';
import { Random } from '../ecg/random.ts';
import { type Recording, selectLead } from '../ecg/recording.ts';
import { BlindbeatError } from '../errors.ts';
import { classify } from '../model/classify.ts';
import { forward } from '../model/forward.ts';
import type { Model } from '../model/model.ts';
import {
  bootstrapIntervals,
  computeMetrics,
  type Interval,
  type Intervals,
  type Metrics,
  pairedInterval,
  UNNAMED,
} from './metrics.ts';

/** A record whose class is known, read when it is asked for. */
export interface LabelledRecording {
  id: string;
  label: string;
  recording(): Recording;
}

/** What became of one record. */
export interface Outcome {
  id: string;
  label: string;
  /** Index of the named class, or UNNAMED. */
  named: number;
  /** Why no class was named. */
  reason?: string;
  /** [classes]; missing if the record was refused before the network saw it. */
  scores?: ArrayLike<number>;
  /** Smallest and largest pre-activation of each block; only of the clear model. */
  ranges?: Interval[];
}

/** A model's figures on a set of records. */
export interface Evaluation extends Metrics {
  /** 95 % bootstrap interval of the CinC score. */
  ci95: Interval;
  /** The same of all figures. */
  intervals: Intervals;
}

/** `count` of the records, drawn by the seed and in their old order; a smaller draw lies within a larger one. */
export function drawRecords<T>(records: T[], count: number, seed: number): T[] {
  const drawn = new Set(new Random(seed).shuffle([...records]).slice(0, count));
  return records.filter((record) => drawn.has(record));
}

/** The path that ships, in the clear: one segment of the first lead through `forward` and the class rule of `classify`. */
export function evaluateRecord(model: Model, record: LabelledRecording): Outcome {
  try {
    return evaluateSegment(model, record, prepareRecord(model, record));
  } catch (error) {
    return refusal(record, error);
  }
}

/**
 * A record's segment, as the client makes it.
 *
 * @throws BlindbeatError ECG if the client refuses it
 */
export function prepareRecord(model: Model, record: LabelledRecording): Float32Array {
  const recording = record.recording();
  return prepareSegment(selectLead(recording).mv, recording.rate, model.preprocessing).samples;
}

/** As `evaluateRecord`, for a segment that is prepared already. */
export function evaluateSegment(
  model: Model,
  record: { id: string; label: string },
  segment: Float32Array,
): Outcome {
  const { scores, ranges } = forward(model, segment);
  return { ...nameClass(model, record, scores), ranges };
}

/** The outcome of scores, by the class rule. */
export function nameClass(
  model: Model,
  { id, label }: { id: string; label: string },
  scores: ArrayLike<number>,
): Outcome {
  try {
    return { id, label, named: classify(scores, model).index, scores };
  } catch (error) {
    return { ...refusal({ id, label }, error), scores };
  }
}

/**
 * The outcome of a record that the client refuses (ECG), or whose scores name no class (UNCLASSIFIABLE).
 *
 * @throws any other error that is given
 */
export function refusal({ id, label }: { id: string; label: string }, error: unknown): Outcome {
  const refused =
    error instanceof BlindbeatError && (error.code === 'ECG' || error.code === 'UNCLASSIFIABLE');
  if (!refused) throw error;
  return { id, label, named: UNNAMED, reason: error.message };
}

/**
 * All figures with their 95 % bootstrap intervals. Records without a class count as misses.
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

/** The first model's CinC score minus the second's on the same records, with its 95 % paired bootstrap interval. */
export function compareModels(
  first: Outcome[],
  second: Outcome[],
  classes: string[],
  seed: number,
): { cincScore: number; ci95: Interval } {
  const labels = labelsOf(first, classes);
  const [a, b] = [first, second].map((outcomes) => outcomes.map((o) => o.named));
  const score = (named: number[]) => computeMetrics(labels, named, classes).cincScore;
  const random = new Random(seed);
  return {
    cincScore: score(a) - score(b),
    ci95: pairedInterval(labels, a, b, classes, () => random.next()),
  };
}

function labelsOf(outcomes: Outcome[], classes: string[]): number[] {
  return outcomes.map(({ id, label }) => {
    const index = classes.indexOf(label);
    if (index >= 0) return index;
    throw new BlindbeatError(
      'MISMATCH',
      `Record ${id} is labelled "${label}", which is none of the model's classes ${classes.join(', ')}. Choose a model with all of the data set's classes.`,
    );
  });
}

/** How far the values of a set of records went. */
export interface WorstRanges {
  /** The records with the largest |score|, largest first. */
  scores: { id: string; label: string; score: number }[];
  blocks: BlockRange[];
}

interface BlockRange {
  /** Smallest and largest pre-activation. */
  low: number;
  high: number;
  /** The model's validated range. */
  range: Interval;
  /** How much of the validated range was used: distance from its middle, 1 at its ends. */
  share: number;
  /** The record that used most. */
  id: string;
}

/** The worst of all records that reached the network; with `count` records of the largest scores. */
export function worstRanges(model: Model, outcomes: Outcome[], count = 3): WorstRanges {
  const scores = outcomes
    .filter((o) => o.scores !== undefined)
    .map(({ id, label, scores }) => ({ id, label, score: largest(scores!) }))
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score) || (a.id < b.id ? -1 : 1))
    .slice(0, count);
  const blocks = model.blocks.map(({ activation: { range } }, block) => {
    const worst: BlockRange = {
      low: Number.POSITIVE_INFINITY,
      high: Number.NEGATIVE_INFINITY,
      range,
      share: 0,
      id: '',
    };
    const middle = (range[0] + range[1]) / 2;
    for (const { id, ranges } of outcomes) {
      if (!ranges) continue;
      const [low, high] = ranges[block];
      worst.low = Math.min(worst.low, low);
      worst.high = Math.max(worst.high, high);
      const share = Math.max(middle - low, high - middle) / (range[1] - middle);
      if (share > worst.share) Object.assign(worst, { share, id });
    }
    return worst;
  });
  return { scores, blocks };
}

/** The score of the largest magnitude, with its sign; what is no number is infinitely large. */
function largest(scores: ArrayLike<number>): number {
  return Array.from(scores, (s) => (Number.isNaN(s) ? Number.POSITIVE_INFINITY : s)).reduce((a, b) =>
    Math.abs(b) > Math.abs(a) ? b : a,
  );
}

/** Encrypted against clear results of the same records. */
export interface Agreement {
  /** Records of both that reached the network. */
  compared: number;
  sameClass: number;
  /** sameClass / compared */
  agreement: number;
  /** Largest and rms difference of a score, over all scores of all records that have them on both sides. */
  maxError: number;
  rmsError: number;
  /** -log2(rmsError): bits after the binary point of a score that are right. */
  precisionBits: number;
  /** Records of unequal classes, with the clear margin: largest minus second largest score. */
  different: { id: string; clear: string | null; encrypted: string | null; margin: number }[];
  /** The smallest clear margin of all compared records. */
  smallestMargin: number;
}

/** Compares outcome by outcome; both lists are of the same records in the same order. */
export function compareOutcomes(clear: Outcome[], encrypted: Outcome[], classes: string[]): Agreement {
  const pairs = clear
    .map((c, i) => ({ id: c.id, c, e: encrypted[i] }))
    .filter(({ c }) => c.scores !== undefined);
  const errors = pairs
    .filter(({ e }) => e.scores !== undefined)
    .flatMap(({ c, e }) => Array.from(c.scores!, (s, k) => Math.abs(s - e.scores![k])));
  const margins = pairs.map(({ c }) => marginOf(c.scores!));
  const name = ({ named }: Outcome) => (named === UNNAMED ? null : classes[named]);
  const different = pairs.flatMap(({ id, c, e }, i) =>
    c.named === e.named ? [] : [{ id, clear: name(c), encrypted: name(e), margin: margins[i] }],
  );
  const sameClass = pairs.length - different.length;
  const rmsError = Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
  return {
    compared: pairs.length,
    sameClass,
    agreement: sameClass / pairs.length,
    maxError: errors.reduce((most, e) => Math.max(most, e), 0),
    rmsError,
    precisionBits: -Math.log2(rmsError),
    different,
    smallestMargin: margins.reduce((least, m) => Math.min(least, m), Number.POSITIVE_INFINITY),
  };
}

function marginOf(scores: ArrayLike<number>): number {
  const [first, second] = Array.from(scores).sort((a, b) => b - a);
  return first - second;
}
