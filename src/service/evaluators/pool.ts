import { setTimeout as sleep } from 'node:timers/promises';
import { requestDigest } from '../../ckks/wire/reply.ts';
import { BlindbeatError } from '../../errors.ts';
import { roundMs } from '../../measure/stages.ts';
import type { Evaluators, Job, Outcome } from '../evaluators.ts';
import { nextAssignment, type Waiting } from './assignment.ts';
import { RecentDurations } from './durations.ts';
import { Losses } from './losses.ts';
import type { WorkerOptions } from './messages.ts';
import { type OpenedModels, Worker } from './worker.ts';

/** What happens to workers, for a log. */
export type EvaluatorEvent =
  /** `ms`: from the start of the process. */
  | { type: 'opened'; worker: number; pid: number; ms: number }
  | { type: 'ended'; worker: number; pid: number; reason: Error }
  /** It could not be opened, and will be tried again in so many milliseconds. */
  | { type: 'failed'; worker: number; reason: Error; retryMs: number }
  /** A worker ended with this request, by its digest, which another one gets. */
  | { type: 'lost'; request: string }
  /** A request ended as many workers as it may, and is refused from now on. */
  | { type: 'poison'; request: string };

/** How a pool works; times in milliseconds. */
export interface PoolOptions {
  /** What each worker opens. */
  content: WorkerOptions;
  workers: number;
  /** Jobs that may wait. */
  mostWaiting: number;
  /** A worker that works and gives no sign of life for so long is killed. */
  deadlineMs: number;
  /** How long a request is refused that ended workers. */
  poisonMs: number;
  onEvent(event: EvaluatorEvent): void;
  /** Gives up opening. */
  signal?: AbortSignal;
}

/** A job that was accepted. */
interface Ticket extends Waiting {
  job: Job;
  /** Digest of the request. */
  request: string;
  arrived: number;
  outcome: PromiseWithResolvers<Outcome>;
  /** Nobody waits for the outcome any more. */
  abandoned: boolean;
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
/** When so many starts of every worker failed in a row, jobs no longer wait for one to succeed. */
const HOPELESS = 3;

/** Worker processes of this machine, and the jobs that wait for them. Disposing kills them. */
export class WorkerPool implements Evaluators {
  readonly models: OpenedModels;
  readonly #options: PoolOptions;
  readonly #places: Place[];
  /** Until each place is given up. */
  readonly #kept: Promise<void>[];
  /** The oldest first. */
  #waiting: Ticket[] = [];
  /** By digest: the same request does not run twice at a time, so that it ends no more workers than it may. */
  readonly #running = new Map<string, Ticket>();
  readonly #losses: Losses;
  readonly #durations = new RecentDurations();
  readonly #closing = new AbortController();
  readonly #drained = Promise.withResolvers<void>();
  #draining = false;
  #restarts = 0;

  private constructor(options: PoolOptions, workers: Worker[]) {
    this.#options = options;
    this.models = workers[0].models;
    this.#losses = new Losses(options.poisonMs);
    this.#places = workers.map((worker, k) => ({ number: k + 1, worker, failures: 0, notOpened: 0 }));
    this.#kept = this.#places.map((place) => this.#keep(place));
  }

  /**
   * Starts all workers.
   *
   * @throws BlindbeatError as `Worker.open`; MISMATCH if a model changed meanwhile; the signal's reason
   */
  static async open(options: PoolOptions): Promise<WorkerPool> {
    const failed = new AbortController();
    const signal = AbortSignal.any([failed.signal, ...(options.signal ? [options.signal] : [])]);
    const starts = Array.from({ length: options.workers }, async (_, k) => {
      const started = performance.now();
      const worker = await Worker.open(options.content, { deadlineMs: options.deadlineMs, signal });
      options.onEvent({ type: 'opened', worker: k + 1, pid: worker.pid, ms: since(started) });
      return worker;
    });
    for (const start of starts) start.catch((reason) => failed.abort(reason));
    const opened = (await Promise.allSettled(starts)).flatMap((s) =>
      s.status === 'fulfilled' ? [s.value] : [],
    );
    using owned = new DisposableStack();
    for (const worker of opened) owned.use(worker);
    signal.throwIfAborted();
    for (const worker of opened) requireSameModels(opened[0].models, worker.models);
    owned.move();
    return new WorkerPool(options, opened);
  }

  get ready(): boolean {
    return !this.#draining && this.#workers.length > 0;
  }

  get load() {
    const workers = this.#workers;
    const [waiting, running] = [this.#waiting.length, this.#running.size];
    const turns = (waiting + running) / Math.max(1, workers.length);
    return {
      workers: workers.length,
      waiting,
      running,
      restarts: this.#restarts,
      loadedKeys: workers.reduce((sum, { loadedKeys }) => sum + loadedKeys, 0),
      waitMs: Math.round(turns * this.#durations.jobMs),
    };
  }

  async evaluate(job: Job): Promise<Outcome> {
    job.signal?.throwIfAborted();
    const ticket = this.#accept(job);
    const abandon = () => this.#abandon(ticket);
    job.signal?.addEventListener('abort', abandon, { once: true });
    try {
      return await ticket.outcome.promise;
    } finally {
      job.signal?.removeEventListener('abort', abandon);
    }
  }

  async forget(keys: string): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.forget(keys)));
  }

  async drain(): Promise<void> {
    this.#draining = true;
    this.#tellDrained();
    await this.#drained.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#draining = true;
    this.#closing.abort(closed());
    this.#refuseWaiting(() => closed());
    for (const { worker } of this.#places) worker?.[Symbol.dispose]();
    await Promise.all(this.#kept);
  }

  /** Those that are open. */
  get #workers(): Worker[] {
    return this.#places.flatMap(({ worker }) => (worker && !worker.failure ? [worker] : []));
  }

  #accept(job: Job): Ticket {
    if (this.#draining) throw closed();
    if (!this.models.has(job.model)) {
      const names = [...this.models.keys()].join(', ');
      throw new BlindbeatError('NOT_FOUND', `there is no model "${job.model}" here: ask for one of ${names}`);
    }
    const request = requestDigest(job.request);
    const refusal = this.#losses.refusal(request) ?? this.#hopeless();
    if (refusal) throw refusal;
    const { mostWaiting } = this.#options;
    if (this.#waiting.length >= mostWaiting)
      throw new BlindbeatError(
        'BUSY',
        `${mostWaiting} requests wait already, which is the most: try again later`,
      );
    const outcome = Promise.withResolvers<Outcome>();
    const { keys } = job;
    const ticket = {
      job,
      keys,
      request,
      arrived: performance.now(),
      outcome,
      overtaken: 0,
      abandoned: false,
    };
    this.#waiting.push(ticket);
    this.#assign();
    return ticket;
  }

  /** Begins what can be begun. */
  #assign(): void {
    for (;;) {
      const jobs = this.#waiting.filter(({ request }) => !this.#running.has(request));
      const next = nextAssignment(jobs, this.#workers, ({ job }) => this.#durations.of(job.model));
      if (!next) return;
      const index = this.#waiting.indexOf(next.job);
      for (const older of this.#waiting.slice(0, index)) older.overtaken++;
      this.#waiting.splice(index, 1);
      void this.#run(next.job, next.seat);
    }
  }

  async #run(ticket: Ticket, worker: Worker): Promise<void> {
    const { job, request, outcome } = ticket;
    const queueMs = since(ticket.arrived);
    this.#running.set(request, ticket);
    try {
      const result = await worker.evaluate(job);
      this.#losses.clear(request);
      this.#durations.add(job.model, result);
      outcome.resolve({ queueMs, ...result });
    } catch (error) {
      if (worker.failure) this.#lost(ticket);
      else outcome.reject(error);
    }
    this.#running.delete(request);
    this.#assign();
    this.#tellDrained();
  }

  /** A worker ended with this job: another one gets it before all others, unless it has ended too many. */
  #lost(ticket: Ticket): void {
    const { request, outcome } = ticket;
    if (this.#closing.signal.aborted) {
      outcome.reject(closed());
      return;
    }
    this.#losses.add(request);
    const refusal = this.#losses.refusal(request);
    if (refusal) {
      this.#options.onEvent({ type: 'poison', request });
      outcome.reject(refusal);
      this.#refuseWaiting((waiting) => (waiting.request === request ? refusal : null));
    } else if (!ticket.abandoned) {
      this.#options.onEvent({ type: 'lost', request });
      ticket.overtaken = Number.POSITIVE_INFINITY;
      this.#waiting.unshift(ticket);
    }
  }

  #abandon(ticket: Ticket): void {
    ticket.abandoned = true;
    ticket.outcome.reject(ticket.job.signal!.reason);
    this.#waiting = this.#waiting.filter((waiting) => waiting !== ticket);
    this.#tellDrained();
  }

  #refuseWaiting(refusal: (ticket: Ticket) => BlindbeatError | null): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const ticket of waiting) {
      const error = refusal(ticket);
      if (error) ticket.outcome.reject(error);
      else this.#waiting.push(ticket);
    }
    this.#tellDrained();
  }

  #tellDrained(): void {
    if (this.#draining && this.#waiting.length === 0 && this.#running.size === 0) this.#drained.resolve();
  }

  /** Has a worker at this place until the pool is closed. */
  async #keep(place: Place): Promise<void> {
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
      if (!signal.aborted) await this.#fill(place);
    }
  }

  async #fill(place: Place): Promise<void> {
    const started = performance.now();
    try {
      const { content, deadlineMs } = this.#options;
      const worker = await Worker.open(content, { deadlineMs, signal: this.#closing.signal });
      using owned = new DisposableStack();
      owned.use(worker);
      requireSameModels(this.models, worker.models);
      owned.move();
      place.worker = worker;
      place.notOpened = 0;
      this.#options.onEvent({ type: 'opened', worker: place.number, pid: worker.pid, ms: since(started) });
      this.#assign();
    } catch (reason) {
      if (this.#closing.signal.aborted) return;
      place.failures++;
      place.notOpened++;
      const { number } = place;
      this.#options.onEvent({
        type: 'failed',
        worker: number,
        reason: reason as Error,
        retryMs: retryMs(place),
      });
      this.#refuseWaiting(() => this.#hopeless(reason));
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

  /** The refusal of all jobs when no worker can be opened, or null. */
  #hopeless(cause?: unknown): BlindbeatError | null {
    if (this.#places.some(({ worker, notOpened }) => worker || notOpened < HOPELESS)) return null;
    return new BlindbeatError(
      'ENVIRONMENT',
      'no evaluator can be started; it is tried again and again: try later, or see the log of the server',
      { cause },
    );
  }
}

function retryMs({ failures }: Place): number {
  return failures === 0 ? 0 : Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
}

/** Milliseconds. */
function since(start: number): number {
  return roundMs(performance.now() - start);
}

function closed(): BlindbeatError {
  return new BlindbeatError('BUSY', 'the server is being shut down: try again later');
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
