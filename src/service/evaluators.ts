import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import type { StageTime } from '../measure/stages.ts';

/** A request that was accepted. */
export interface Job {
  /** Names the model, as `Evaluators.models` does. */
  model: string;
  /** SHA-256 of the client's evaluation keys file, hex. */
  keys: string;
  /** Where that file is; it was checked and has that hash. It stays there until the job is done. */
  keyFile: string;
  request: Uint8Array;
  /** The client is gone: a job that waits is dropped, one that runs is finished and its outcome thrown away. */
  signal?: AbortSignal;
}

/** What came of a job. */
export interface Outcome {
  reply: Uint8Array;
  /** Milliseconds: waiting for an evaluator, loading the keys (0 where they were loaded), evaluating. */
  queueMs: number;
  loadKeysMs: number;
  evaluateMs: number;
  layers: StageTime[];
}

/** Whoever evaluates requests: processes of this machine, or machines behind a queue. */
export interface Evaluators extends AsyncDisposable {
  /** By name; all open. */
  readonly models: ReadonlyMap<string, { manifest: ParsedManifest; keyBytes: number }>;
  /** Whether it takes jobs: at least one evaluator of every model is open. */
  readonly ready: boolean;
  /** For metrics. */
  readonly load: { workers: number; waiting: number; running: number; restarts: number; loadedKeys: number };
  /**
   * Evaluates a request.
   *
   * @throws BlindbeatError BUSY when too many wait; FORMAT or MISMATCH for a request or keys that do not fit; POISON
   * for a request that ended two evaluators; ENVIRONMENT when none can be started; the signal's reason
   */
  evaluate(job: Job): Promise<Outcome>;
  /** Forgets a client's loaded keys. */
  forget(keys: string): Promise<void>;
  /** Takes no more jobs, and settles when those that it has are done. */
  drain(): Promise<void>;
}
