import type { LocalServer } from '../client/local-server.ts';
import { Session, type SetupStep } from '../client/session.ts';
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
  /** Of the server's work on one record, in milliseconds, and the threads that did it. */
  times: { medianMs: number; minMs: number; threads: number };
  /** Milliseconds of what happens once. */
  setupMs: Record<SetupStep, number>;
  /** The most memory that the processes ever held, in bytes. */
  peakMemory: { client: number; server: number };
}

/**
 * Evaluates records once more, with new keys: each is encrypted, computed by the server and decrypted.
 *
 * @param server has opened the model; it stays the caller's
 * @param clear outcomes of the clear model, of these records and perhaps others in the same order
 * @throws BlindbeatError of a server that is gone; MISMATCH for an unknown label; the signal's reason
 */
export async function evaluateEncrypted(
  model: Model,
  records: LabelledRecording[],
  clear: Outcome[],
  { server, seed, ...watch }: Watch & { server: LocalServer; seed: number },
): Promise<EncryptedEvaluation> {
  const { start, signal } = watch;
  using session = await Session.open(server.transport, server.manifest, {
    ...watch,
    maxKeyBytes: server.plan.bytes.evaluationKeys,
  });
  const estimates = server.plan.stages.map((stage) => stage.estimateMs);
  using task = startParts(
    start,
    'encrypted',
    records.flatMap(() => estimates),
  );
  const outcomes: EncryptedOutcome[] = [];
  let threads = 0;
  let serverMemory = 0;
  for (const [i, record] of records.entries()) {
    const before = i * estimates.length;
    try {
      const trip = await session.classify(prepareRecord(model, record), {
        onProgress: (stages) => task.update(before + stages),
        signal,
      });
      outcomes.push({ ...nameClass(model, record, trip.decrypted.scores), ms: trip.steps.server });
      threads = Math.max(threads, trip.threads);
      serverMemory = Math.max(serverMemory, trip.peakMemory ?? 0);
    } catch (error) {
      outcomes.push(refusal(record, error));
    }
    task.update(before + estimates.length);
    signal.throwIfAborted();
  }
  const ids = new Set(records.map(({ id }) => id));
  const same = clear.filter(({ id }) => ids.has(id));
  const ms = outcomes.flatMap((o) => o.ms ?? []);
  return {
    outcomes,
    evaluation: summarise(outcomes, model.classes, seed),
    agreement: compareOutcomes(same, outcomes, model.classes),
    times: { medianMs: roundMs(median(ms)), minMs: roundMs(Math.min(...ms)), threads },
    setupMs: session.steps,
    peakMemory: { client: peakMemory(), server: serverMemory },
  };
}
