import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AckPolicy, type Consumer, type JsMsg } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import * as v from 'valibot';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { requestDigest } from '../../ckks/wire/reply.ts';
import { BlindbeatError } from '../../errors.ts';
import { type EvaluatorEvent, type EvaluatorsOptions, openEvaluators } from '../evaluators/open.ts';
import type { Evaluators } from '../evaluators.ts';
import { ALIVE_MS, Directory } from './directory.ts';
import { Doors } from './doors.ts';
import { Engine, type EngineEvent, read } from './engine.ts';
import { KeyCopies } from './key-copies.ts';
import {
  type Alive,
  type Answer,
  FAULT,
  ForgetSchema,
  HEADER,
  type JobHeader,
  JobSchema,
  jobsSubject,
  type Models,
  ownerOf,
  PARTITIONS,
  STREAM,
  workerSubject,
} from './protocol.ts';

/** What a worker opens, and where. */
export interface NatsWorkerOptions extends Omit<EvaluatorsOptions, 'onEvent' | 'mostWaiting'> {
  /** Where nats-server is, as `Engine.connect` takes it. */
  servers: string;
  /** Folder for copies of keys. Default: one that goes with the worker. */
  dataDir?: string;
  onEvent?: (event: EngineEvent | EvaluatorEvent) => void;
}

/** A job goes to another worker when nothing was heard of its own for so long, in milliseconds; it says so more often. */
const ACK_WAIT_MS = 5000;
const WORKING_MS = 1500;
/** Workers that may die with a job. */
const MOST_DELIVERIES = 5;
/** How long a pull waits; a part of the requests that has become another worker's is let go after that. */
const PULL_MS = 2000;
const RETRY_MS = 250;
const HAND_BACK_MS = 500;
const SWEEP_MS = 600_000;

/** A worker of this machine that takes requests from nats-server. Disposing finishes what it has, and leaves. */
export class NatsWorker implements AsyncDisposable {
  /** By which others know it, until it ends. */
  readonly id = randomBytes(16).toString('hex');
  readonly #engine: Engine;
  readonly #evaluators: Evaluators;
  readonly #copies: KeyCopies;
  readonly #doors: Doors;
  readonly #directory: Directory;
  readonly #onEvent: (event: EngineEvent) => void;
  /** Jobs of one part of the requests at a time. */
  readonly #atOnce: number;
  /** The loops that take parts of the requests, by subject. */
  readonly #taking = new Map<string, Promise<void>>();
  readonly #jobs = new Set<Promise<void>>();
  readonly #owned: AsyncDisposableStack;
  #leaving = false;

  private constructor(
    engine: Engine,
    evaluators: Evaluators,
    copies: KeyCopies,
    owned: AsyncDisposableStack,
    onEvent: (event: EngineEvent) => void,
  ) {
    this.#engine = engine;
    this.#evaluators = evaluators;
    this.#copies = copies;
    this.#doors = new Doors(engine.connection);
    this.#owned = owned;
    this.#onEvent = onEvent;
    this.#atOnce = evaluators.load.workers;
    this.#directory = new Directory(engine, onEvent, () => {});
    engine.listen(workerSubject(this.id, 'models'), v.object({}), onEvent, async () => this.#described());
    engine.listen(workerSubject(this.id, 'forget'), ForgetSchema, onEvent, async ({ keys }) => {
      await this.#forget(keys);
      return {};
    });
  }

  /**
   * Opens evaluators of this machine, and takes requests to their models from now on.
   *
   * @throws BlindbeatError what `openEvaluators`, `Engine.connect` and `KeyCopies.open` throw; the signal's reason
   */
  static async open(options: NatsWorkerOptions): Promise<NatsWorker> {
    const { servers, dataDir, onEvent = () => {}, ...rest } = options;
    await using owned = new AsyncDisposableStack();
    const engine = owned.use(await Engine.connect(servers, onEvent));
    const folder = dataDir ?? (await mkdtemp(join(tmpdir(), 'blindbeat-')));
    if (dataDir === undefined) owned.defer(() => rm(folder, { recursive: true, force: true }));
    const copies = await KeyCopies.open(join(folder, 'copies'), engine.keys);
    const mostWaiting = PARTITIONS * (rest.workers ?? 1) * rest.models.length;
    const evaluators = owned.use(await openEvaluators({ ...rest, mostWaiting, onEvent }));
    for (const { manifest } of evaluators.models.values()) await addConsumers(engine, manifest);
    rest.signal?.throwIfAborted();
    const worker = new NatsWorker(engine, evaluators, copies, owned.move(), onEvent);
    worker.#start();
    return worker;
  }

  get models(): string[] {
    return [...this.#evaluators.models.keys()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leaving = true;
    this.#sayAlive();
    const pulled = sleep(2 * PULL_MS); // or nats-server is away, and pulls do not end
    await Promise.race([Promise.all(this.#taking.values()), pulled.then(() => Promise.all(this.#jobs))]);
    await this.#owned.disposeAsync();
  }

  #start(): void {
    const tick = () => {
      this.#sayAlive();
      this.#takeParts();
    };
    const sweep = () => void this.#sweep();
    const timers = [setInterval(tick, ALIVE_MS), setInterval(sweep, SWEEP_MS)];
    for (const timer of timers) this.#owned.defer(() => clearInterval(timer));
    tick();
    sweep();
  }

  #sayAlive(): void {
    const { workers, running, restarts, loadedKeys } = this.#evaluators.load;
    const models = this.#leaving ? [] : this.#described().models.map(({ manifest }) => manifest.planHash);
    const alive: Alive = { worker: this.id, models, workers, running, restarts, loadedKeys };
    const { connection } = this.#engine;
    if (!connection.isClosed()) connection.publish(workerSubject(this.id, 'alive'), JSON.stringify(alive));
  }

  #described(): Models {
    return { models: [...this.#evaluators.models.values()] };
  }

  /** Takes those parts of the requests that are this worker's now. */
  #takeParts(): void {
    for (const { manifest } of this.#evaluators.models.values())
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const subject = jobsSubject(manifest.planHash, partition);
        if (this.#taking.has(subject) || !this.#owns(manifest, partition)) continue;
        const taking = this.#take(manifest, partition).finally(() => this.#taking.delete(subject));
        this.#taking.set(subject, taking);
      }
  }

  #owns({ planHash }: ParsedManifest, partition: number): boolean {
    if (this.#leaving || !this.#evaluators.ready) return false;
    const others = this.#directory.of(planHash).filter((worker) => worker !== this.id);
    return ownerOf([...others, this.id], planHash, partition) === this.id;
  }

  /** Takes jobs of a part of the requests while it is this worker's, and settles when all of them are done. */
  async #take(manifest: ParsedManifest, partition: number): Promise<void> {
    const running = new Set<Promise<void>>();
    let consumer: Consumer | null = null;
    while (this.#owns(manifest, partition)) {
      try {
        consumer ??= await this.#engine.jobs.consumers.get(STREAM, consumerName(manifest, partition));
        const message = await consumer.next({ expires: PULL_MS });
        if (!message) continue;
        const job = this.#handle(message, manifest).finally(() => {
          for (const jobs of [running, this.#jobs]) jobs.delete(job);
        });
        for (const jobs of [running, this.#jobs]) jobs.add(job);
        if (running.size >= this.#atOnce) await Promise.race(running);
      } catch {
        await sleep(RETRY_MS); // nats-server is away; that is noted elsewhere
      }
    }
    await Promise.all(running);
  }

  async #handle(message: JsMsg, manifest: ParsedManifest): Promise<void> {
    const working = setInterval(() => this.#engine.connection.isClosed() || message.working(), WORKING_MS);
    try {
      const job = jobIn(message, manifest);
      if (await this.#doors.wants(job)) {
        const answer = await this.#answer(message, job, manifest);
        if (!answer) return message.nak(HAND_BACK_MS);
        const { reply, ...header } = answer;
        await this.#doors.tell(job, header as Answer, reply);
      }
      message.ack();
    } catch (reason) {
      if (reason instanceof BlindbeatError) message.term(); // no job: nobody waits for it
      this.#onEvent({ type: 'refused', reason: reason as Error });
    } finally {
      clearInterval(working);
    }
  }

  /** What came of a job; null when another worker should try it. */
  async #answer(
    { data, info }: JsMsg,
    { keys }: JobHeader,
    manifest: ParsedManifest,
  ): Promise<(Answer & { reply?: Uint8Array }) | null> {
    try {
      if (info.deliveryCount > MOST_DELIVERIES) throw poison(data);
      const keyFile = await this.#copies.path(keys, manifest);
      const request = data.slice();
      const outcome = await this.#evaluators.evaluate({
        ...{ model: manifest.model.name, keys, keyFile, request },
      });
      const { reply, loadKeysMs, evaluateMs, layers } = outcome;
      return { type: 'evaluated', reply, loadKeysMs, evaluateMs, layers };
    } catch (reason) {
      if (!(reason instanceof BlindbeatError)) throw reason;
      const { code, message } = reason;
      if (code === 'BUSY') return null;
      if (code !== 'FILE') return { type: 'error', code, message };
      this.#onEvent({ type: 'refused', reason });
      const words = 'a worker cannot store keys now: try again later';
      return { type: 'error', code: 'ENVIRONMENT', message: words };
    }
  }

  async #forget(keys: string): Promise<void> {
    await this.#copies.forget(keys);
    await this.#evaluators.forget(keys);
  }

  /** Forgets what was deleted while this worker was away. */
  async #sweep(): Promise<void> {
    try {
      for (const keys of await this.#copies.sweep()) await this.#evaluators.forget(keys);
    } catch (reason) {
      this.#onEvent({ type: 'refused', reason: reason as Error });
    }
  }
}

/** @throws BlindbeatError INTERNAL for a message that is no job to this model */
function jobIn({ headers, data }: JsMsg, manifest: ParsedManifest): JobHeader {
  const job = read(JobSchema, headers?.get(HEADER) ?? '');
  const size = wireSizes(manifest).request;
  if (data.length === size) return job;
  throw new BlindbeatError(
    'INTERNAL',
    `${FAULT.title}: a request of ${data.length} bytes for one of ${size}`,
  );
}

function poison(request: Uint8Array): BlindbeatError {
  return new BlindbeatError(
    'POISON',
    `request ${requestDigest(request).slice(0, 12)} was given to ${MOST_DELIVERIES} workers and none answered: ` +
      'encrypt the segment anew, and if that is refused too, tell whoever runs the server',
  );
}

function consumerName({ planHash }: ParsedManifest, partition: number): string {
  return `${planHash.slice(0, 32)}-${partition}`;
}

async function addConsumers({ manager }: Engine, manifest: ParsedManifest): Promise<void> {
  for (let partition = 0; partition < PARTITIONS; partition++)
    await manager.consumers.add(STREAM, {
      durable_name: consumerName(manifest, partition),
      filter_subject: jobsSubject(manifest.planHash, partition),
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(ACK_WAIT_MS),
      max_deliver: -1, // counted by workers, who answer it
    });
}
