import { randomBytes } from 'node:crypto';
import { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { JetStreamApiError } from '@nats-io/jetstream';
import { headers, type Msg } from '@nats-io/transport-node';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import { type ParsedManifest, parseManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { readPieces } from '../../files/input.ts';
import { roundMs } from '../../measure/stages.ts';
import { RecentDurations } from '../evaluators/durations.ts';
import type { Evaluators, Job, Outcome } from '../evaluators.ts';
import { closed, keysNotFound, noSuchModel, tooManyWait } from '../refusals.ts';
import { Directory } from './directory.ts';
import { Engine, type EngineEvent, read } from './engine.ts';
import {
  type Alive,
  AnswerSchema,
  doorSubject,
  FAULT,
  HEADER,
  type JobHeader,
  jobsSubject,
  MOST_AGE_MS,
  ModelsSchema,
  partitionOf,
  workerSubject,
} from './protocol.ts';

/** How a front door works. */
export interface NatsOptions {
  /** Where nats-server is, as `Engine.connect` takes it. */
  servers: string;
  /** Jobs of this front door that may wait or run; more are refused as BUSY. Default 64. */
  mostWaiting?: number;
  /** Milliseconds until a first worker must have been heard of. Default 30,000. */
  firstWorkerMs?: number;
  onEvent?: (event: EngineEvent) => void;
  /** Gives up opening. */
  signal?: AbortSignal;
}

interface Opened {
  manifest: ParsedManifest;
  keyBytes: number;
}

/** A job that is not answered yet. */
interface Pending {
  job: Job;
  manifest: ParsedManifest;
  arrived: number;
  outcome: PromiseWithResolvers<Outcome>;
}

/** How long accepting a job, or deleting keys, is tried while nats-server cannot be reached, and how often, in milliseconds. */
const ACCEPT_MS = 30_000;
const RETRY_MS = 250;
const ASK_MS = 5000;
/** Bytes of a message beside the request: its subject and headers. */
const MESSAGE_OVERHEAD = 1024;
const MOST_MET = 10_000;
/** Of JetStream: the stream has as many messages as it may. */
const STREAM_FULL = 10077;

/** Workers on other machines, behind a queue of nats-server. It computes nothing itself. Disposing closes the connection. */
export class NatsEvaluators implements Evaluators {
  readonly #models = new Map<string, Opened>();
  readonly #door = randomBytes(16).toString('hex');
  readonly #engine: Engine;
  readonly #directory: Directory;
  readonly #mostWaiting: number;
  readonly #onEvent: (event: EngineEvent) => void;
  readonly #pending = new Map<string, Pending>();
  /** Workers whose models were asked for. */
  readonly #met = new Set<string>();
  /** Keys that are being sent to the store. */
  readonly #storing = new Map<string, Promise<void>>();
  readonly #durations = new RecentDurations();
  readonly #drained = Promise.withResolvers<void>();
  readonly #firstModel = Promise.withResolvers<void>();
  #draining = false;

  private constructor(engine: Engine, { mostWaiting = 64, onEvent = () => {} }: NatsOptions) {
    this.#engine = engine;
    this.#mostWaiting = mostWaiting;
    this.#onEvent = onEvent;
    this.#firstModel.promise.catch(() => {});
    this.#directory = new Directory(engine, onEvent, (alive) => void this.#meet(alive));
    engine.connection.subscribe(doorSubject(this.#door, '*'), {
      callback: (error, message) => {
        if (!error) this.#hear(message);
      },
    });
  }

  /**
   * Connects, and waits for a first worker.
   *
   * @throws BlindbeatError USAGE or ENVIRONMENT as `Engine.connect`; ENVIRONMENT when no worker is heard of, or when
   * nats-server takes no message of a request's size; the signal's reason
   */
  static async open(options: NatsOptions): Promise<NatsEvaluators> {
    const { servers, firstWorkerMs = 30_000, onEvent = () => {}, signal } = options;
    signal?.throwIfAborted();
    await using owned = new AsyncDisposableStack();
    const hear = (event: EngineEvent) => {
      onEvent(event);
      if (event.type === 'reconnected') evaluators.#acceptAgain();
    };
    const engine = owned.use(await Engine.connect(servers, hear));
    const evaluators: NatsEvaluators = new NatsEvaluators(engine, options);
    const none = new BlindbeatError(
      'ENVIRONMENT',
      `no worker was heard of for ${firstWorkerMs / 1000} s: start one (blindbeat worker --nats ...)`,
    );
    const first = evaluators.#firstModel;
    const timer = setTimeout(() => first.reject(none), firstWorkerMs);
    const abort = () => first.reject(signal!.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await first.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
    owned.move();
    return evaluators;
  }

  /** Those of workers that were heard of, one after the other; they stay when their workers go. */
  get models(): ReadonlyMap<string, Opened> {
    return this.#models;
  }

  get ready(): boolean {
    const all = [...this.#models.values()];
    return !this.#draining && all.every(({ manifest }) => this.#directory.of(manifest.planHash).length > 0);
  }

  get load() {
    const { workers } = this.#directory;
    const sum = (count: (worker: Alive) => number) => workers.reduce((all, worker) => all + count(worker), 0);
    const jobs = this.#pending.size;
    const processes = sum((worker) => worker.workers);
    const running = Math.min(
      jobs,
      sum((worker) => worker.running),
    );
    return {
      workers: processes,
      waiting: jobs - running,
      running,
      restarts: sum((worker) => worker.restarts),
      loadedKeys: sum((worker) => worker.loadedKeys),
      waitMs: Math.round((jobs / Math.max(1, processes)) * this.#durations.jobMs),
    };
  }

  async evaluate(job: Job): Promise<Outcome> {
    job.signal?.throwIfAborted();
    const model = this.#models.get(job.model);
    if (this.#draining) throw closed();
    if (!model) throw noSuchModel(job.model, this.#models);
    if (this.#pending.size >= this.#mostWaiting) throw tooManyWait(this.#mostWaiting);
    const outcome = Promise.withResolvers<Outcome>();
    outcome.promise.catch(() => {}); // it may be refused before anybody waits for it
    const id = randomBytes(16).toString('hex');
    const pending = { job, manifest: model.manifest, arrived: performance.now(), outcome };
    this.#pending.set(id, pending);
    const abandon = () => outcome.reject(job.signal!.reason);
    const late = setTimeout(
      () => outcome.reject(new BlindbeatError('BUSY', 'no worker answered: try again later')),
      MOST_AGE_MS,
    );
    job.signal?.addEventListener('abort', abandon, { once: true });
    try {
      await Promise.race([this.#accept(id, pending), outcome.promise]);
      const result = await outcome.promise;
      this.#durations.add(job.model, result);
      return result;
    } finally {
      clearTimeout(late);
      job.signal?.removeEventListener('abort', abandon);
      this.#pending.delete(id);
      this.#tellDrained();
    }
  }

  async forget(keys: string): Promise<void> {
    await this.#storing.get(keys)?.catch(() => {});
    const { connection, keys: store } = this.#engine;
    for (const start = performance.now(); ; await sleep(RETRY_MS))
      try {
        await store.delete(keys);
        break;
      } catch (cause) {
        if (performance.now() - start < ACCEPT_MS && !connection.isClosed()) continue;
        const words =
          'these keys are deleted here, but workers cannot be told now: tell whoever runs the server';
        throw new BlindbeatError('ENVIRONMENT', words, { cause });
      }
    const told = this.#directory.workers.map(({ worker }) =>
      connection.request(workerSubject(worker, 'forget'), JSON.stringify({ keys }), { timeout: ASK_MS }),
    );
    await Promise.allSettled(told); // one that is gone looks what the store has when it is back
  }

  async drain(): Promise<void> {
    this.#draining = true;
    this.#tellDrained();
    await this.#drained.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#draining = true;
    for (const { outcome } of this.#pending.values()) outcome.reject(closed());
    await this.#engine[Symbol.asyncDispose]();
  }

  #tellDrained(): void {
    if (this.#draining && this.#pending.size === 0) this.#drained.resolve();
  }

  /** Settles when nats-server has keys and request on its disk; it is tried again while that cannot be reached. */
  async #accept(id: string, { job, manifest }: Pending): Promise<void> {
    const header: JobHeader = { door: this.#door, job: id, keys: job.keys };
    const subject = jobsSubject(manifest.planHash, partitionOf(job.keys));
    const msgID = randomBytes(16).toString('hex'); // the same twice is one message
    for (const start = performance.now(); ; await sleep(RETRY_MS)) {
      if (!this.#pending.has(id)) return;
      try {
        await this.#store(job);
        const options = { msgID, headers: headers(), timeout: ASK_MS };
        options.headers.set(HEADER, JSON.stringify(header));
        await this.#engine.jobs.publish(subject, job.request, options);
        return;
      } catch (cause) {
        if (cause instanceof BlindbeatError) throw cause;
        const isFull = cause instanceof JetStreamApiError && cause.code === STREAM_FULL;
        if (!isFull && performance.now() - start < ACCEPT_MS && !this.#engine.connection.isClosed()) continue;
        const words = 'the queue takes no requests now: try again later';
        throw new BlindbeatError('BUSY', words, { cause });
      }
    }
  }

  /**
   * A nats-server that was killed may have lost the last that it wrote: it is given all that is not answered once more.
   * What it has twice, workers find answered when they come to it.
   */
  #acceptAgain(): void {
    for (const [id, pending] of this.#pending) this.#accept(id, pending).catch(pending.outcome.reject);
  }

  /** Has keys in the store. */
  async #store({ keys, keyFile, model }: Job): Promise<void> {
    const info = await this.#engine.keys.info(keys);
    if (info && !info.deleted) return;
    const limit = wireSizes(this.#models.get(model)!.manifest).evaluationKeys;
    const put = async () => {
      const pieces = ReadableStream.from(copied(readPieces(keyFile, { what: 'evaluation keys', limit })));
      try {
        await this.#engine.keys.put({ name: keys }, pieces as globalThis.ReadableStream<Uint8Array>);
      } catch (cause) {
        if (!(cause instanceof BlindbeatError)) throw cause;
        throw keysNotFound(cause);
      }
    };
    const storing = this.#storing.get(keys) ?? put().finally(() => this.#storing.delete(keys));
    this.#storing.set(keys, storing);
    await storing;
  }

  /** A worker asks whether a job is still waited for, or tells what came of it; it is told that this was heard. */
  #hear(message: Msg): void {
    const pending = this.#pending.get(message.subject.split('.').at(-1)!);
    const header = message.headers?.get(HEADER);
    if (!header) message.respond(pending ? '1' : '0');
    else {
      try {
        if (pending) this.#answered(pending, header, message.data);
        message.respond();
      } catch (reason) {
        this.#onEvent({ type: 'refused', reason: reason as Error });
      }
    }
  }

  #answered({ manifest, arrived, outcome }: Pending, header: string, reply: Uint8Array): void {
    const answer = read(AnswerSchema, header);
    const replyBytes = wireSizes(manifest).reply;
    if (answer.type === 'error') {
      outcome.reject(new BlindbeatError(answer.code, answer.message));
      return;
    }
    if (reply.length !== replyBytes)
      throw new BlindbeatError(
        'INTERNAL',
        `${FAULT.title}: a reply of ${reply.length} bytes for one of ${replyBytes}`,
      );
    const { type: _, ...times } = answer;
    const { loadKeysMs, evaluateMs } = times;
    const queueMs = Math.max(0, roundMs(performance.now() - arrived - loadKeysMs - evaluateMs));
    outcome.resolve({ reply: reply.slice(), queueMs, ...times });
  }

  /** Asks a worker that was not heard of before for its models. */
  async #meet({ worker, models }: Alive): Promise<void> {
    if (this.#met.has(worker) || models.length === 0) return;
    if (this.#met.size >= MOST_MET) this.#met.clear();
    this.#met.add(worker);
    try {
      const options = { timeout: ASK_MS };
      const answer = await this.#engine.connection.request(workerSubject(worker, 'models'), '{}', options);
      for (const { manifest, keyBytes } of read(ModelsSchema, answer.string()).models)
        this.#add(parseManifest(manifest), keyBytes);
      this.#firstModel.resolve();
    } catch (reason) {
      if (reason instanceof BlindbeatError) this.#firstModel.reject(reason);
      else this.#met.delete(worker); // it did not answer: at its next word
      this.#onEvent({ type: 'refused', reason: reason as Error });
    }
  }

  /** @throws BlindbeatError MISMATCH for another model of a known name; ENVIRONMENT for requests that are too large */
  #add(manifest: ParsedManifest, keyBytes: number): void {
    const { name } = manifest.model;
    const known = this.#models.get(name);
    if (known && known.manifest.planHash !== manifest.planHash)
      throw new BlindbeatError(
        'MISMATCH',
        `two workers have different models of the name "${name}" (plan ${known.manifest.planHash.slice(0, 12)}, which ` +
          `is taken, and ${manifest.planHash.slice(0, 12)}): give all of them the same, and start front doors anew`,
      );
    const needed = wireSizes(manifest).request + MESSAGE_OVERHEAD;
    const most = this.#engine.connection.info!.max_payload;
    if (needed > most)
      throw new BlindbeatError(
        'ENVIRONMENT',
        `a request to "${name}" takes ${needed} bytes, and nats-server's messages at most ${most}: ` +
          `set max_payload: ${needed} or more in its configuration`,
      );
    if (!known) this.#models.set(name, { manifest, keyBytes });
  }
}

/** The same pieces, each in memory of its own: the reader of files writes over the last one. */
async function* copied(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield piece.slice();
}
