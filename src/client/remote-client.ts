import { Client, type ClientOptions } from '../ckks/client.ts';
import { keyCount } from '../ckks/keyswitch/key-set.ts';
import { writeSecretKey } from '../ckks/secret/secret-key.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { BlindbeatError, type ErrorCode } from '../errors.ts';
import type { StartTask } from '../measure/progress.ts';
import { timed } from '../measure/stages.ts';
import { Audit, type KnownRecording, wrongAnswer } from './audit.ts';
import type { HttpOptions } from './http/http-client.ts';
import { ServiceError } from './http/service-error.ts';
import { HttpTransport, type OfferedModel } from './http-transport.ts';
import type { KeyFile, KeyStorage } from './key-storage/key-storage.ts';
import { type RoundTrip, Session, type SetupStep } from './session.ts';
import type { CallOptions, Inference } from './transport.ts';

/** Which of a service's models. */
export interface ModelChoice {
  /** What the service calls it; may be left out where it has one only. */
  model?: string;
  /** The one to take where none is named and there are several. */
  preferred?: string;
  /** Or the plan that files of keys and requests were made for. */
  planHash?: string;
}

/** A service, and one of its models. */
export interface RemoteModel {
  transport: HttpTransport;
  model: OfferedModel;
  /** Checked: nothing of it was believed. */
  manifest: ParsedManifest;
}

/** What a client of a service may choose. */
export interface RemoteOptions extends ClientOptions {
  /** Where the keys are kept. */
  keys: KeyStorage;
  /**
   * With how many of the classifications a recording goes along whose scores the manifest tells, by chance, 0 to 1
   * (default: 0). The service cannot tell it apart; one that answers it wrong is refused with WRONG_ANSWER.
   */
  audit?: number;
  /** Shows long work: keys that are made and sent. */
  start?: StartTask;
  signal?: AbortSignal;
}

/** A round trip, and whether a known recording was answered right beside it. */
export interface AuditedRoundTrip extends RoundTrip {
  audited: boolean;
}

interface Parts {
  session: Session;
  audit: Audit;
  /** Names the service. */
  url: string;
  /** Has the keys forgotten on both sides. */
  forget(signal?: AbortSignal): Promise<void>;
}

/** What the client says of a reply that is not one to its request. */
const WRONG_REPLIES: ErrorCode[] = ['FORMAT', 'MISMATCH', 'UNCLASSIFIABLE'];
/** How often a segment is encrypted before a service that dies of it is left alone. */
const MOST_ENCRYPTIONS = 3;
const UNWATCHED: StartTask = () => ({ update() {}, [Symbol.dispose]() {} });

/**
 * Asks a service for a model and its manifest; no keys are needed yet.
 *
 * @throws BlindbeatError USAGE when it has several models and none was chosen, NOT_FOUND when it has no such model,
 * MISMATCH when none has that plan; as `HttpTransport`
 */
export async function findModel(
  url: string,
  { model, preferred, planHash, signal, ...http }: HttpOptions & ModelChoice & { signal?: AbortSignal } = {},
): Promise<RemoteModel> {
  const transport = new HttpTransport(url, http);
  const models = await transport.models(signal);
  const fitting = models.filter(
    (offered) =>
      (model === undefined || offered.id === model) &&
      (planHash === undefined || offered.planHash === planHash),
  );
  const found = fitting.length === 1 ? fitting[0] : fitting.find(({ id }) => id === preferred);
  if (!found) throw noSuchModel(transport.url, models, fitting, { model, planHash });
  return { transport, model: found, manifest: await transport.manifest(found, signal) };
}

function noSuchModel(
  url: string,
  models: OfferedModel[],
  fitting: OfferedModel[],
  { model, planHash }: ModelChoice,
): BlindbeatError {
  const offered = models.map(({ id }) => id).join(', ') || 'none';
  if (fitting.length > 1)
    return new BlindbeatError('USAGE', `${url} has several models, choose one of them: ${offered}`);
  if (planHash === undefined || (model !== undefined && !models.some(({ id }) => id === model)))
    return new BlindbeatError('NOT_FOUND', `${url} has no model ${model ?? ''}. Its models: ${offered}`);
  return new BlindbeatError(
    'MISMATCH',
    `${url} has no model of plan ${planHash.slice(0, 12)}, for which the keys were made: make new keys for one of ` +
      `its models (${offered})`,
  );
}

/**
 * A client of a service: makes keys or takes up those that it keeps, sends them once, and has segments classified,
 * as many at a time as is wanted. Disposing it clears the secret key from memory.
 */
export class RemoteClient implements Disposable {
  readonly manifest: ParsedManifest;
  /** What of the evaluation keys had to be sent, in bytes. */
  readonly sentKeyBytes: number;
  readonly #parts: Parts;

  private constructor(manifest: ParsedManifest, sentKeyBytes: number, parts: Parts) {
    this.manifest = manifest;
    this.sentKeyBytes = sentKeyBytes;
    this.#parts = parts;
  }

  /**
   * Finds a model of a service, and opens a client for it.
   *
   * @param url the service's address, perhaps with a path in front of its own
   * @throws BlindbeatError as `findModel` and `open`
   */
  static async connect(
    url: string,
    { keys, start, maxKeyBytes, audit, ...options }: RemoteOptions & HttpOptions & ModelChoice,
  ): Promise<RemoteClient> {
    const { signal } = options;
    return RemoteClient.open(await findModel(url, options), { keys, start, maxKeyBytes, audit, signal });
  }

  /**
   * Has keys for a model, makes them if there are none, and sees to it that the service has the evaluation keys.
   *
   * @throws BlindbeatError USAGE for keys of more than `maxKeyBytes`; as the storage and `HttpTransport`; the signal's
   * reason
   */
  static async open(remote: RemoteModel, options: RemoteOptions): Promise<RemoteClient> {
    const { manifest } = remote;
    const { keys: storage, start = UNWATCHED, signal } = options;
    const audit = new Audit(manifest, options.audit ?? 0);
    const steps: Partial<Record<SetupStep, number>> = {};
    let stored = await storage.load(manifest);
    if (!stored) {
      await timed(steps, 'keygen', () => makeKeys(manifest, { ...options, start }));
      stored = await storage.load(manifest);
    }
    if (!stored) throw new BlindbeatError('FILE', 'the keys that were just made are not where they are kept');
    const { secretKey, evaluationKeys } = stored;
    try {
      const inference = new ServedKeys(remote, evaluationKeys, { start, signal });
      const sent = await timed(steps, 'upKeys', () => inference.send());
      if (sent === 0) delete steps.upKeys;
      const session = await Session.resume(inference, manifest, secretKey, steps);
      const { transport, model } = remote;
      const forget = async (signal?: AbortSignal) => {
        await transport.deleteKeys(model, evaluationKeys.hash, signal);
        await storage.delete(manifest);
      };
      return new RemoteClient(manifest, sent, { session, audit, url: transport.url, forget });
    } finally {
      secretKey.fill(0);
    }
  }

  /** Milliseconds of what had to be done once: `keygen` and `upKeys`. */
  get steps(): Partial<Record<SetupStep, number>> {
    return this.#parts.session.steps;
  }

  /**
   * Encrypts a prepared segment, has it evaluated with one POST and decrypts the reply. When it is audited there is
   * another POST, before or after it: one at a time, so that with the first the service cannot know of a second. A
   * segment whose request is refused because it ended evaluators is encrypted anew, twice at most.
   *
   * @param segment `manifest.samples` numbers as `prepareSegment` makes them
   * @throws BlindbeatError as `Session.classify`; WRONG_ANSWER when an audit finds one
   */
  async classify(segment: Float32Array, options?: Pick<CallOptions, 'signal'>): Promise<AuditedRoundTrip> {
    const known = this.#parts.audit.draw();
    if (known?.first) await this.#audit(known, options);
    const trip = await this.#ask(segment, options);
    if (known && !known.first) await this.#audit(known, options);
    return { ...trip, audited: known !== null };
  }

  /**
   * One round trip. A request that ended evaluators, more likely by chance than by what is in it, is refused from then on: the
   * segment is encrypted anew.
   */
  async #ask(segment: Float32Array, options?: Pick<CallOptions, 'signal'>): Promise<RoundTrip> {
    for (let times = 1; ; times++) {
      try {
        return await this.#parts.session.classify(segment, options);
      } catch (error) {
        const isPoison = error instanceof ServiceError && error.code === 'POISON';
        if (!isPoison || times === MOST_ENCRYPTIONS) throw error;
      }
    }
  }

  async #audit(known: KnownRecording, options?: Pick<CallOptions, 'signal'>): Promise<void> {
    const { audit, url } = this.#parts;
    try {
      const { decrypted } = await this.#ask(known.segment, options);
      audit.requireRight(known, decrypted, url);
    } catch (error) {
      // A reply that is none to it is as wrong as one with other scores; a refusal is no reply.
      const isWrong = error instanceof BlindbeatError && WRONG_REPLIES.includes(error.code);
      throw isWrong && !(error instanceof ServiceError) ? wrongAnswer(url, error) : error;
    }
  }

  /**
   * Ends the client, and has its keys forgotten: by the service, and where they are kept. Replies that were kept can
   * never be decrypted again.
   *
   * @throws BlindbeatError as the storage and `HttpTransport`; the keys are then still there
   */
  async deleteKeys(signal?: AbortSignal): Promise<void> {
    await this.#parts.forget(signal);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#parts.session[Symbol.dispose]();
  }
}

/** Evaluation with keys that the service has, or gets again when it has them no more. */
export class ServedKeys implements Inference {
  readonly #remote: RemoteModel;
  readonly #file: KeyFile;
  readonly #watch: { start: StartTask; signal?: AbortSignal };
  #sending: Promise<number> | null = null;

  constructor(remote: RemoteModel, file: KeyFile, watch: { start: StartTask; signal?: AbortSignal }) {
    this.#remote = remote;
    this.#file = file;
    this.#watch = watch;
  }

  /** Sends what the service has not; once, however many ask at the same time. */
  send(): Promise<number> {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = null;
    });
    return this.#sending;
  }

  async infer(request: Uint8Array<ArrayBuffer>, { signal }: CallOptions = {}) {
    const { transport, model } = this.#remote;
    const asked = { model, keys: this.#file.hash, request, signal };
    try {
      return await transport.infer(asked);
    } catch (error) {
      if (!(error instanceof ServiceError && error.code === 'KEYS_NOT_FOUND')) throw error;
      await this.send();
      signal?.throwIfAborted();
      return transport.infer(asked);
    }
  }

  async #send(): Promise<number> {
    const { transport, model } = this.#remote;
    const { start, signal } = this.#watch;
    using sending = new DisposableStack();
    let task: ReturnType<StartTask> | undefined;
    return await transport.uploadKeys(model, this.#file, {
      onProgress: (received) => {
        if (received === this.#file.size && !task) return; // the service had them
        task ??= sending.use(start('sending the keys', { total: this.#file.size }));
        task.update(received);
      },
      signal,
    });
  }
}

async function makeKeys(
  manifest: ParsedManifest,
  { keys, maxKeyBytes, start, signal }: RemoteOptions & { start: StartTask },
): Promise<void> {
  using client = await Client.open(manifest, { maxKeyBytes });
  using secret = client.createSecretKey();
  using task = start('making evaluation keys', { total: keyCount(manifest.keys) });
  const pieces = client.evaluationKeys(secret, (done) => task.update(done));
  // However this ends: what SEAL holds of the secret key is freed.
  using _pieces = { [Symbol.dispose]: () => void pieces.return(undefined) };
  const secretKey = writeSecretKey(secret, manifest);
  try {
    await keys.save(manifest, { keyId: secret.keyId, secretKey, evaluationKeys: pieces }, signal);
  } finally {
    secretKey.fill(0);
  }
}
