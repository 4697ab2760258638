import { prepareSegment } from '../ecg/preprocess.ts';
import { type Recording, selectLead } from '../ecg/recording.ts';
import { BlindbeatError } from '../errors.ts';
import type { Watch } from '../measure/progress.ts';
import { classify } from '../model/classify.ts';
import { forward } from '../model/forward.ts';
import type { Model } from '../model/model.ts';
import { type Interval, UNNAMED } from './metrics.ts';

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

/**
 * What the model makes of each record in the clear, in their order.
 *
 * @throws whatever a record's file throws that is no refusal; the signal's reason
 */
export async function evaluateRecords(
  model: Model,
  records: LabelledRecording[],
  { start, signal }: Watch,
): Promise<Outcome[]> {
  using task = start(`${model.name} in the clear`, { total: records.length });
  const outcomes: Outcome[] = [];
  for (const record of records) {
    outcomes.push(evaluateRecord(model, record));
    task.update(outcomes.length);
    await new Promise((next) => setImmediate(next)); // lets Ctrl-C in
    signal.throwIfAborted();
  }
  return outcomes;
}

/**
 * The path that ships, in the clear: one segment of the first lead, `forward`, and the class rule of
 * `classify`.
 */
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
