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

/** How busy evaluators are, for metrics. */
interface EvaluatorLoad {
  /** Those that are open. */
  workers: number;
  /** Jobs. */
  waiting: number;
  running: number;
  /** How often one ended and was started anew. */
  restarts: number;
  /** Clients' keys that are loaded; the same keys in two evaluators count twice. */
  loadedKeys: number;
  /** Milliseconds that a job which comes now has to wait, as an estimate; 0 before the first was evaluated. */
  waitMs: number;
}

/** Whoever evaluates requests: processes of this machine, or machines behind a queue. */
export interface Evaluators extends AsyncDisposable {
  /** By name; all open. */
  readonly models: ReadonlyMap<string, { manifest: ParsedManifest; keyBytes: number }>;
  /** Whether it takes jobs: at least one evaluator of every model is open. */
  readonly ready: boolean;
  readonly load: EvaluatorLoad;
  /**
   * Evaluates a request.
   *
   * @throws BlindbeatError BUSY when too many wait, or it is being shut down; FORMAT or MISMATCH for a request or keys
   * that do not fit; KEYS_NOT_FOUND for a key file that cannot be read; NOT_FOUND for a model that there is not; POISON for a
   * request that crashed two evaluators, for a while; ENVIRONMENT when none can be started; the signal's reason
   */
  evaluate(job: Job): Promise<Outcome>;
  /**
   * Forgets a client's loaded keys; settles when nobody has them any more. A job that waits would load them again: first
   * take their file away.
   */
  forget(keys: string): Promise<void>;
  /** Takes no more jobs, and settles when those that it has are done. */
  drain(): Promise<void>;
}
