import { concurrently } from '../client/concurrently.ts';
import type { LocalServer } from '../client/local-server.ts';
import { type RoundTrip, Session, type SetupStep } from '../client/session.ts';
import type { CallOptions } from '../client/transport.ts';
import { median, peakMemory } from '../measure/machine.ts';
import { startParts, type Watch } from '../measure/progress.ts';
import { roundMs } from '../measure/stages.ts';
import type { Model } from '../model/model.ts';
import { type Agreement, compareOutcomes } from './agreement.ts';
import { type LabelledRecording, nameClass, type Outcome, prepareRecord, refusal } from './outcome.ts';
import { type Evaluation, summarise } from './summary.ts';

/** What became of one record under encryption. */
interface EncryptedOutcome extends Outcome {
  /** Milliseconds of the server's work; missing if the record was refused. */
  ms?: number;
}

/** How records fared under encryption. */
export interface EncryptedEvaluation {
  /** In the order of the records. */
  outcomes: EncryptedOutcome[];
  evaluation: Evaluation;
  /** With the clear outcomes of the same records. */
  agreement: Agreement;
  /** Of the server's work on one record, in milliseconds, and the threads that did it, if the server tells. */
  times: { medianMs: number; minMs: number; threads?: number };
  /** Milliseconds of what had to be done once. */
  setupMs: Partial<Record<SetupStep, number>>;
  /** The most memory that the processes ever held, in bytes; the server's if it tells. */
  peakMemory: { client: number; server?: number };
}

/** A client with keys, and whoever evaluates with them. */
interface SegmentClassifier extends Disposable {
  readonly steps: Partial<Record<SetupStep, number>>;
  classify(segment: Float32Array, options?: CallOptions): Promise<RoundTrip>;
}

/** Who classifies under encryption. */
export interface EncryptedBy {
  /** Has keys made where there are none; called when they are needed. */
  open(): Promise<SegmentClassifier>;
  /** Milliseconds that the stages of one record may take, if that is known. */
  estimatesMs?: number[];
  /** How many records are under way at a time. */
  atOnce: number;
}

/** A server on this machine, which stays the caller's, and new keys. */
export function byLocalServer({ transport, manifest, plan }: LocalServer, watch: Watch): EncryptedBy {
  const maxKeyBytes = plan.bytes.evaluationKeys;
  return {
    open: () => Session.open(transport, manifest, { ...watch, maxKeyBytes }),
    estimatesMs: plan.stages.map((stage) => stage.estimateMs),
    atOnce: 1,
  };
}

/**
 * Evaluates records once more: each is encrypted, computed by a server and decrypted.
 *
 * @param clear outcomes of the clear model, of these records and perhaps others in the same order
 * @throws BlindbeatError of a server that is gone; MISMATCH for an unknown label; the signal's reason
 */
export async function evaluateEncrypted(
  model: Model,
  records: LabelledRecording[],
  clear: Outcome[],
  { open, estimatesMs, atOnce, seed, start, signal }: Watch & EncryptedBy & { seed: number },
): Promise<EncryptedEvaluation> {
  using classifier = await open();
  using task = estimatesMs
    ? startParts(
        start,
        'encrypted',
        records.flatMap(() => estimatesMs),
      )
    : start('encrypted', { total: records.length });
  const parts = estimatesMs?.length ?? 1;
  const outcomes: EncryptedOutcome[] = [];
  const trips: RoundTrip[] = [];
  let done = 0;
  await concurrently(records, { atOnce, signal }, async (record, i, signal) => {
    try {
      const onProgress = (stages: number) => task.update(done * parts + stages);
      const trip = await classifier.classify(prepareRecord(model, record), { onProgress, signal });
      trips.push(trip);
      outcomes[i] = { ...nameClass(model, record, trip.decrypted.scores), ms: trip.steps.server };
    } catch (error) {
      outcomes[i] = refusal(record, error);
    }
    task.update(++done * parts);
  });
  const ids = new Set(records.map(({ id }) => id));
  const same = clear.filter(({ id }) => ids.has(id));
  const ms = outcomes.flatMap((o) => o.ms ?? []);
  return {
    outcomes,
    evaluation: summarise(outcomes, model.classes, seed),
    agreement: compareOutcomes(same, outcomes, model.classes),
    times: {
      medianMs: roundMs(median(ms)),
      minMs: roundMs(Math.min(...ms)),
      threads: most(trips.map(({ threads }) => threads)),
    },
    setupMs: classifier.steps,
    peakMemory: { client: peakMemory(), server: most(trips.map(({ peakMemory }) => peakMemory)) },
  };
}

/** The largest of those that are known. */
function most(values: (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}
