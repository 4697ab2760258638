import { requestDigest } from '../../ckks/wire/reply.ts';
import { BlindbeatError } from '../../errors.ts';
import { roundMs } from '../../measure/stages.ts';
import type { Evaluators, Job, Outcome } from '../evaluators.ts';
import { closed, noSuchModel, tooManyWait } from '../refusals.ts';
import { nextAssignment, type Waiting } from './assignment.ts';
import { Crew, type CrewEvent, type CrewOptions } from './crew.ts';
import { RecentDurations } from './durations.ts';
import { Losses } from './losses.ts';
import type { OpenedModels, Worker } from './worker.ts';

/** What happens to workers and to requests that end them, for a log. */
export type EvaluatorEvent =
  | CrewEvent
  /** A worker ended with this request, by its digest, which another one gets. */
  | { type: 'lost'; request: string }
  /** A request ended as many workers as it may, and is refused from now on. */
  | { type: 'poison'; request: string };

/** How a pool works. */
export interface PoolOptions extends CrewOptions {
  /** Jobs that may wait. */
  mostWaiting: number;
  /** Milliseconds for which a request is refused that ended workers. */
  poisonMs: number;
  onEvent(event: EvaluatorEvent): void;
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

/** Worker processes of this machine, and the jobs that wait for them. Disposing kills them. */
export class WorkerPool implements Evaluators {
  readonly models: OpenedModels;
  readonly #options: PoolOptions;
  readonly #crew: Crew;
  /** In the order of their turns. */
  #waiting: Ticket[] = [];
  /** By digest: the same request does not run twice at a time, so that it ends no more workers than it may. */
  readonly #running = new Map<string, Ticket>();
  readonly #losses: Losses;
  readonly #durations = new RecentDurations();
  readonly #drained = Promise.withResolvers<void>();
  #draining = false;
  #closed = false;

  private constructor(options: PoolOptions, crew: Crew) {
    this.#options = options;
    this.#crew = crew;
    this.models = crew.models;
    this.#losses = new Losses(options.poisonMs);
    crew.keep({
      onOpened: () => this.#assign(),
      onFailed: (reason) => this.#refuseWaiting(() => this.#hopeless(reason)),
    });
  }

  /**
   * Starts all workers.
   *
   * @throws BlindbeatError as `Crew.open`; the signal's reason
   */
  static async open(options: PoolOptions): Promise<WorkerPool> {
    return new WorkerPool(options, await Crew.open(options));
  }

  get ready(): boolean {
    return !this.#draining && this.#crew.workers.length > 0;
  }

  get load() {
    const { workers, restarts } = this.#crew;
    const [waiting, running] = [this.#waiting.length, this.#running.size];
    const turns = (waiting + running) / Math.max(1, workers.length);
    return {
      workers: workers.length,
      waiting,
      running,
      restarts,
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
    await Promise.all(this.#crew.workers.map((worker) => worker.forget(keys)));
  }

  async drain(): Promise<void> {
    this.#draining = true;
    this.#tellDrained();
    await this.#drained.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#draining = true;
    this.#closed = true;
    this.#refuseWaiting(() => closed());
    await this.#crew[Symbol.asyncDispose]();
  }

  #accept(job: Job): Ticket {
    if (this.#draining) throw closed();
    if (!this.models.has(job.model)) throw noSuchModel(job.model, this.models);
    const request = requestDigest(job.request);
    const refusal = this.#losses.refusal(request) ?? this.#hopeless();
    if (refusal) throw refusal;
    const { mostWaiting } = this.#options;
    if (this.#waiting.length >= mostWaiting) throw tooManyWait(mostWaiting);
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

  /**
   * Begins what can be begun. What a client sent beside the job that is begun goes to the end: who sends many at a time
   * keeps nobody waiting for all of them.
   */
  #assign(): void {
    for (;;) {
      const jobs = this.#waiting.filter(({ request }) => !this.#running.has(request));
      const next = nextAssignment(jobs, this.#crew.workers, ({ job }) => this.#durations.of(job.model));
      if (!next) return;
      for (const earlier of jobs.slice(0, jobs.indexOf(next.job))) earlier.overtaken++;
      const rest = this.#waiting.filter((ticket) => ticket !== next.job);
      const isSame = ({ keys }: Ticket) => keys === next.job.keys;
      this.#waiting = [...rest.filter((ticket) => !isSame(ticket)), ...rest.filter(isSame)];
      void this.#run(next.job, next.seat);
    }
  }

  async #run(ticket: Ticket, worker: Worker): Promise<void> {
    const { job, request, outcome } = ticket;
    const queueMs = roundMs(performance.now() - ticket.arrived);
    this.#running.set(request, ticket);
    try {
      const result = await worker.evaluate(job);
      this.#losses.clear(request);
      this.#durations.add(job.model, result);
      outcome.resolve({ queueMs, ...result });
    } catch (error) {
      if (worker.failure) this.#lost(ticket, worker.failure);
      else outcome.reject(refusalOf(error));
    }
    this.#running.delete(request);
    this.#assign();
    this.#tellDrained();
  }

  /** A worker ended with this job: another one gets it before all others, unless it has ended too many. */
  #lost(ticket: Ticket, reason: Error): void {
    const { request, outcome } = ticket;
    if (this.#closed) {
      outcome.reject(closed());
      return;
    }
    this.#losses.add(request, reason instanceof BlindbeatError && reason.code === 'ENVIRONMENT');
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

  /** The refusal of all jobs when no worker can be opened, or null. */
  #hopeless(cause?: unknown): BlindbeatError | null {
    if (!this.#crew.isHopeless) return null;
    return new BlindbeatError(
      'ENVIRONMENT',
      'no evaluator can be started; it is tried again and again: try later, or see the log of the server',
      { cause },
    );
  }
}

/** A file of keys that cannot be read is of no interest to the client, its path least of all: keys can be sent again. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof BlindbeatError) || error.code !== 'FILE') return error;
  const words = 'evaluation keys not found: send them again';
  return new BlindbeatError('KEYS_NOT_FOUND', words, { cause: error });
}
