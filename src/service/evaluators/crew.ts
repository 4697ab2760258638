import { setTimeout as sleep } from 'node:timers/promises';
import { BlindbeatError } from '../../errors.ts';
import { roundMs } from '../../measure/stages.ts';
import type { WorkerOptions } from './messages.ts';
import { type OpenedModels, Worker } from './worker.ts';

/** What happens to workers. */
export type CrewEvent =
  /** `ms`: from the start of the process. */
  | { type: 'opened'; worker: number; pid: number; ms: number }
  | { type: 'ended'; worker: number; pid: number; reason: Error }
  /** It could not be opened, and will be tried again in so many milliseconds. */
  | { type: 'failed'; worker: number; reason: Error; retryMs: number };

/** Which workers there are. */
export interface CrewOptions {
  /** How many. */
  workers: number;
  /** What each of them opens. */
  content: WorkerOptions;
  /** Milliseconds; one that evaluates and gives no sign of life for so long is killed. */
  deadlineMs: number;
  onEvent(event: CrewEvent): void;
  /** Gives up opening. */
  signal?: AbortSignal;
}

/** Who has work for them. */
export interface Employer {
  /** A worker was opened again. */
  onOpened(): void;
  /** A worker could not be opened; perhaps none can (`isHopeless`). */
  onFailed(reason: unknown): void;
}

/** A place for a worker process, which is filled again when it ends. */
interface Place {
  number: number;
  worker: Worker | null;
  /** How many processes in a row ended without having evaluated anything, or did not open. */
  failures: number;
  /** How many of the last ones did not open. */
  notOpened: number;
}

/** Milliseconds until a worker is started again after its first failure; twice as long after each further one. */
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 30_000;
/** When so many starts of every worker failed in a row, nobody need wait for one to succeed. */
const HOPELESS = 3;

/** Worker processes; one that ends is started anew, later and later if that does not help. Disposing kills them. */
export class Crew implements AsyncDisposable {
  readonly models: OpenedModels;
  readonly #options: CrewOptions;
  readonly #places: Place[];
  readonly #closing = new AbortController();
  /** Until each place is given up. */
  #kept: Promise<void>[] = [];
  #restarts = 0;

  private constructor(options: CrewOptions, workers: Worker[]) {
    this.#options = options;
    this.models = workers[0].models;
    this.#places = workers.map((worker, k) => ({ number: k + 1, worker, failures: 0, notOpened: 0 }));
  }

  /**
   * Starts all workers; `keep` must follow.
   *
   * @throws BlindbeatError as `Worker.open`; MISMATCH if a model changed meanwhile; the signal's reason
   */
  static async open(options: CrewOptions): Promise<Crew> {
    const { content, deadlineMs, onEvent } = options;
    const failed = new AbortController();
    const signal = AbortSignal.any([failed.signal, ...(options.signal ? [options.signal] : [])]);
    const starts = Array.from({ length: options.workers }, async (_, k) => {
      const started = performance.now();
      const worker = await Worker.open(content, { deadlineMs, signal });
      onEvent({ type: 'opened', worker: k + 1, pid: worker.pid, ms: since(started) });
      return worker;
    });
    for (const start of starts) start.catch((reason) => failed.abort(reason));
    const settled = await Promise.allSettled(starts);
    const opened = settled.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
    using owned = new DisposableStack();
    for (const worker of opened) owned.use(worker);
    signal.throwIfAborted();
    for (const worker of opened) requireSameModels(opened[0].models, worker.models);
    owned.move();
    return new Crew(options, opened);
  }

  /** Starts those anew that end, until it is disposed. */
  keep(employer: Employer): void {
    this.#kept = this.#places.map((place) => this.#keep(place, employer));
  }

  /** Those that are open. */
  get workers(): Worker[] {
    return this.#places.flatMap(({ worker }) => (worker && !worker.failure ? [worker] : []));
  }

  /** How many ended. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Whether none is open, and each has often enough been tried. */
  get isHopeless(): boolean {
    return this.#places.every(({ worker, notOpened }) => !worker && notOpened >= HOPELESS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const { worker } of this.#places) worker?.[Symbol.dispose]();
    await Promise.all(this.#kept);
  }

  async #keep(place: Place, employer: Employer): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      const { worker } = place;
      if (worker) {
        await worker.ended;
        this.#left(place, worker);
        await worker.closed; // its memory is free
      }
      if (signal.aborted) return;
      await sleep(retryMs(place), undefined, { signal }).catch(() => {});
      if (!signal.aborted) await this.#fill(place, employer);
    }
  }

  async #fill(place: Place, employer: Employer): Promise<void> {
    const { content, deadlineMs, onEvent } = this.#options;
    const { number } = place;
    const started = performance.now();
    try {
      using owned = new DisposableStack();
      const worker = owned.use(await Worker.open(content, { deadlineMs, signal: this.#closing.signal }));
      requireSameModels(this.models, worker.models);
      owned.move();
      place.worker = worker;
      place.notOpened = 0;
      onEvent({ type: 'opened', worker: number, pid: worker.pid, ms: since(started) });
      employer.onOpened();
    } catch (reason) {
      if (this.#closing.signal.aborted) return;
      place.failures++;
      place.notOpened++;
      onEvent({ type: 'failed', worker: number, reason: reason as Error, retryMs: retryMs(place) });
      employer.onFailed(reason);
    }
  }

  #left(place: Place, worker: Worker): void {
    place.worker = null;
    if (this.#closing.signal.aborted) return;
    this.#restarts++;
    place.failures = worker.answers > 1 ? 0 : place.failures + 1;
    const { failure, pid } = worker;
    this.#options.onEvent({ type: 'ended', worker: place.number, pid, reason: failure! });
  }
}

function retryMs({ failures }: Place): number {
  return failures === 0 ? 0 : Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
}

/** Milliseconds. */
function since(start: number): number {
  return roundMs(performance.now() - start);
}

function requireSameModels(expected: OpenedModels, found: OpenedModels): void {
  for (const [name, { manifest }] of expected) {
    if (found.get(name)?.manifest.planHash === manifest.planHash) continue;
    throw new BlindbeatError(
      'MISMATCH',
      `the model "${name}" changed after the server was started: restart the server, and have clients make new keys`,
    );
  }
}
