import type { StageTime } from '../measure/stages.ts';

/** What a call may be given. */
export interface CallOptions {
  /** Told how many parts of the server's work are done: keys that are loaded, or stages that are computed. */
  onProgress?: (done: number) => void;
  /** Ends the call, which then throws the signal's reason. The transport may be of no use afterwards. */
  signal?: AbortSignal;
}

/** What it took a server to load a client's keys. */
export interface LoadedKeys {
  /** Milliseconds of the server's work. */
  ms: number;
  /** What the loaded keys hold of the server's memory, in bytes, if the server tells. */
  bytes?: number;
}

/** A reply, and what it took. */
export interface ServerReply {
  reply: Uint8Array;
  /** Milliseconds of the server's computation, in all and by stage. */
  ms: number;
  layers: StageTime[];
  /** Milliseconds that the request and the reply were on their way. */
  upMs: number;
  downMs: number;
  /** Milliseconds before the computation, of a service that tells: until somebody was free, and had the keys loaded. */
  queueMs?: number;
  loadKeysMs?: number;
  /** How many threads computed, if the server tells. */
  threads?: number;
  /** The most memory that the server's process ever held, in bytes, if the server tells. */
  peakMemory?: number;
}

/**
 * Whoever has a client's evaluation keys and evaluates its requests. A call throws the server's refusal as a
 * BlindbeatError (FORMAT, MISMATCH), and ENVIRONMENT or INTERNAL when the server is gone.
 */
export interface Inference {
  /** Has one request evaluated with the loaded keys. */
  infer(request: Uint8Array<ArrayBuffer>, options?: CallOptions): Promise<ServerReply>;
}

/**
 * What a client needs of a server of its own, whose manifest it knows. Every call throws as `infer` does. Disposing
 * ends the connection.
 */
export interface Transport extends Inference, Disposable {
  /**
   * Sends the next piece of the evaluation keys file; settles when the piece is on its way, so that they do
   * not pile up.
   */
  sendKeys(piece: Uint8Array, options?: CallOptions): Promise<void>;
  /** Says that the keys are complete; settles when the server has loaded the last of them. */
  loadKeys(options?: CallOptions): Promise<LoadedKeys>;
}
