import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import { type ParsedManifest, parseManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { parse } from '../../schema.ts';
import type { Job, Outcome } from '../evaluators.ts';
import { Child, errorOf, isFault, moduleBeside } from '../processes/child.ts';
import {
  FAULT,
  type FromWorker,
  LoadedSchema,
  OpenedSchema,
  replySchema,
  type ToWorker,
  type WorkerOptions,
} from './messages.ts';

const MODULE = moduleBeside(import.meta.url, './worker-process');
/** Milliseconds that a model may take to be opened, at least: nothing is heard meanwhile. */
const OPENING_MS = 120_000;

/** A model that a worker has opened. */
interface OpenedModel {
  manifest: ParsedManifest;
  /** Bytes of memory that one client's loaded keys take. */
  keyBytes: number;
}

/** By name. */
export type OpenedModels = ReadonlyMap<string, OpenedModel>;

/** How a worker process is started. */
export interface StartOptions {
  /** Milliseconds without a sign of life after which a process that evaluates is killed. */
  deadlineMs: number;
  /** Gives up opening. */
  signal: AbortSignal;
  /** What the process runs. */
  module?: string;
}

/** What a worker is doing. */
interface Call {
  /** Takes the answer, or throws if it can be none. */
  take(answer: FromWorker): void;
  reject(error: Error): void;
  /** Milliseconds without a sign of life after which it is given up. */
  deadlineMs: number;
  /** The hash of the keys with which it evaluates. */
  keys?: string;
}

/**
 * The scheduler's end of one worker process. It believes nothing that cannot be: who tells such a thing, hangs or
 * fails by a fault of ours is killed, and is of no use any more. Disposing kills it.
 */
export class Worker implements Disposable {
  /** Settles with the reason when the process is of no more use. */
  readonly ended: Promise<Error>;
  /** How often it has answered: that it is open, and what it was asked since. */
  answers = 0;
  #models: OpenedModels = new Map();
  readonly #child: Child<ToWorker, FromWorker>;
  readonly #deadlineMs: number;
  #call: Call | null = null;
  #loaded: ReadonlySet<string> = new Set();
  /** Those who wait until keys are forgotten, in the order in which they asked. */
  readonly #forgetting: (() => void)[] = [];
  #watch: NodeJS.Timeout | undefined;

  private constructor(module: string, deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
    const ended = Promise.withResolvers<Error>();
    this.ended = ended.promise;
    this.#child = new Child(module, {
      onMessage: (message) => this.#receive(message),
      onEnd: (reason) => {
        clearTimeout(this.#watch);
        this.#call?.reject(reason);
        this.#call = null;
        for (const forgotten of this.#forgetting) forgotten();
        ended.resolve(reason);
      },
    });
  }

  /**
   * Starts a process and has it open its models.
   *
   * @throws BlindbeatError what loading, compiling and opening them does; USAGE for two of one name; ENVIRONMENT or
   * INTERNAL when the process ends; the signal's reason
   */
  static async open(
    options: WorkerOptions,
    { deadlineMs, signal, module = MODULE }: StartOptions,
  ): Promise<Worker> {
    signal.throwIfAborted();
    const worker = new Worker(module, deadlineMs);
    const abort = () => worker.#child.end(signal.reason);
    signal.addEventListener('abort', abort);
    try {
      const read = (answer: FromWorker) => openedModels(answer, options.models.length);
      worker.#models = await worker.#ask({ type: 'open', options }, read, Math.max(OPENING_MS, deadlineMs));
      return worker;
    } catch (error) {
      worker[Symbol.dispose]();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  get models(): OpenedModels {
    return this.#models;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Settles when the process is no more. */
  get closed(): Promise<void> {
    return this.#child.closed;
  }

  /** Why it is of no more use. */
  get failure(): Error | null {
    return this.#child.failure;
  }

  get free(): boolean {
    return this.#call === null && this.failure === null;
  }

  get loadedKeys(): number {
    return this.#loaded.size;
  }

  /** Whether these keys are loaded, or being loaded. */
  has(keys: string): boolean {
    return this.#loaded.has(keys) || this.#call?.keys === keys;
  }

  /**
   * Evaluates a request; one at a time.
   *
   * @throws BlindbeatError FORMAT, MISMATCH, FILE: the worker's refusal; the reason of the worker's end, which is
   * `failure` then
   */
  async evaluate({ model, keys, keyFile, request }: Job): Promise<Omit<Outcome, 'queueMs'>> {
    const schema = replySchema(wireSizes(this.#models.get(model)!.manifest).reply);
    const read = (answer: FromWorker) => parse(schema, answer, FAULT);
    const { type: _, ...outcome } = await this.#ask(
      { type: 'evaluate', model, keys, keyFile, request },
      read,
      this.#deadlineMs,
      keys,
    );
    return outcome;
  }

  /** Has the process drop a client's loaded keys; settles when it has, or is gone. */
  async forget(keys: string): Promise<void> {
    if (this.failure) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#forgetting.push(resolve);
    this.#tell({ type: 'forget', keys });
    await promise;
  }

  [Symbol.dispose](): void {
    this.#child[Symbol.dispose]();
  }

  async #ask<T>(
    message: ToWorker,
    read: (answer: FromWorker) => T,
    deadlineMs: number,
    keys?: string,
  ): Promise<T> {
    if (this.failure) throw this.failure;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#call = { take: (answer) => resolve(read(answer)), reject, deadlineMs, keys };
    this.#heard();
    this.#tell(message);
    return promise;
  }

  /** Sends a message; a process that cannot be sent anything is of no use. */
  #tell(message: ToWorker): void {
    this.#child.send(message).catch((error) => this.#child.end(error));
  }

  /** It is given time again, or has nothing to do. */
  #heard(): void {
    clearTimeout(this.#watch);
    if (!this.#call) return;
    const { deadlineMs } = this.#call;
    this.#watch = setTimeout(() => {
      const words = `the server process gave no sign of life for ${deadlineMs / 1000} s and was killed`;
      this.#child.end(new BlindbeatError('INTERNAL', words));
    }, deadlineMs);
  }

  #receive(message: FromWorker): void {
    try {
      this.#take(message);
    } catch (error) {
      this.#child.end(error as Error);
    }
  }

  #take(message: FromWorker): void {
    switch (message.type) {
      case 'alive':
        this.#heard();
        return;
      case 'loaded':
        this.#loaded = new Set(parse(LoadedSchema, message, FAULT).keys);
        return;
      case 'forgotten':
        this.#forgetting.shift()?.();
        return;
      case 'error':
        if (isFault(message)) throw errorOf(message);
        this.#waitedFor().reject(errorOf(message));
        break;
      default:
        this.#waitedFor().take(message);
    }
    this.answers++;
    this.#call = null;
    this.#heard();
  }

  /** @throws BlindbeatError INTERNAL when nobody waits for an answer */
  #waitedFor(): Call {
    if (this.#call) return this.#call;
    throw new BlindbeatError('INTERNAL', `${FAULT.title}: an answer that nobody waits for`);
  }
}

function openedModels(answer: FromWorker, count: number): OpenedModels {
  const { models } = parse(OpenedSchema, answer, FAULT);
  const entries = models.map(({ manifest, keyBytes }) => {
    const parsed = parseManifest(manifest);
    return [parsed.model.name, { manifest: parsed, keyBytes }] as const;
  });
  const opened = new Map(entries);
  if (opened.size === count) return opened;
  throw new BlindbeatError(
    'INTERNAL',
    `${FAULT.title}: ${opened.size} models where ${count} were to be opened`,
  );
}
