import { Client, type ClientOptions } from '../ckks/client.ts';
import { keyCount } from '../ckks/keyswitch/key-set.ts';
import { readSecretKey, type SecretKey } from '../ckks/secret/secret-key.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { type Decrypted, requestDigest } from '../ckks/wire/reply.ts';
import type { Watch } from '../measure/progress.ts';
import { roundMs, timed } from '../measure/stages.ts';
import type { CallOptions, Inference, ServerReply, Transport } from './transport.ts';

/** What happens once. */
export type SetupStep = 'keygen' | 'upKeys' | 'loadKeys';
/** What happens with every segment. */
export type SegmentStep = 'encrypt' | 'upRequest' | 'server' | 'down' | 'decrypt';

/** One segment's way to the server and back. */
export interface RoundTrip
  extends Pick<ServerReply, 'layers' | 'threads' | 'peakMemory' | 'queueMs' | 'loadKeysMs'> {
  decrypted: Decrypted;
  /** Milliseconds. */
  steps: Record<SegmentStep, number>;
}

/**
 * A client with its keys, and whoever has its evaluation keys. Disposing clears the secret key.
 */
export class Session implements Disposable {
  /** Milliseconds of what had to be done. */
  readonly steps: Partial<Record<SetupStep, number>>;
  /** What the loaded keys hold of the server's memory, in bytes, if the server tells. */
  readonly loadedKeys?: number;
  readonly #inference: Inference;
  readonly #client: Client;
  readonly #secret: SecretKey;
  readonly #owned: DisposableStack;

  private constructor(
    steps: Partial<Record<SetupStep, number>>,
    loadedKeys: number | undefined,
    parts: { inference: Inference; client: Client; secret: SecretKey; owned: DisposableStack },
  ) {
    this.steps = steps;
    this.loadedKeys = loadedKeys;
    this.#inference = parts.inference;
    this.#client = parts.client;
    this.#secret = parts.secret;
    this.#owned = parts.owned;
  }

  /**
   * Makes keys for the plan of `manifest`, sends them piece by piece and has them loaded. The transport stays
   * the caller's, to be disposed after the session.
   *
   * @throws BlindbeatError USAGE for keys of more than `maxKeyBytes`; whatever the transport does; the signal's reason
   */
  static async open(
    transport: Transport,
    manifest: ParsedManifest,
    { start, signal, ...options }: Watch & ClientOptions,
  ): Promise<Session> {
    using owned = new DisposableStack();
    const steps: Record<SetupStep, number> = { keygen: 0, upKeys: 0, loadKeys: 0 };
    const total = keyCount(manifest.keys);
    const client = owned.use(await Client.open(manifest, options));
    const secret = await timed(steps, 'keygen', () => {
      using _task = start('making keys', { total: 1 });
      return owned.use(client.createSecretKey());
    });
    {
      using task = start('making evaluation keys', { total });
      const pieces = client.evaluationKeys(secret, (done) => task.update(done));
      // However this ends: what SEAL holds of the secret key is freed.
      using _pieces = { [Symbol.dispose]: () => void pieces.return(undefined) };
      for (;;) {
        const { value, done } = await timed(steps, 'keygen', () => pieces.next());
        if (done) break;
        await timed(steps, 'upKeys', () => transport.sendKeys(value, { signal }));
        signal.throwIfAborted();
      }
    }
    const { ms, bytes } = await timed(steps, 'upKeys', () => {
      using task = start('loading the keys', { total });
      return transport.loadKeys({ onProgress: (done) => task.update(done), signal });
    });
    // What the server did meanwhile is no part of the keys' way.
    steps.loadKeys = roundMs(ms);
    steps.upKeys = roundMs(Math.max(0, steps.upKeys - ms));
    return new Session(steps, bytes, { inference: transport, client, secret, owned: owned.move() });
  }

  /**
   * Takes up keys of the plan of `manifest` that were made before, whose evaluation keys `inference` has.
   *
   * @param secretKey the file that `writeSecretKey` made, which stays the caller's
   * @param steps milliseconds of what was done for them
   * @throws BlindbeatError FORMAT or MISMATCH for another plan's key or a damaged one
   */
  static async resume(
    inference: Inference,
    manifest: ParsedManifest,
    secretKey: Uint8Array,
    steps: Partial<Record<SetupStep, number>> = {},
  ): Promise<Session> {
    using owned = new DisposableStack();
    const client = owned.use(await Client.open(manifest));
    const secret = owned.use(readSecretKey(secretKey, manifest));
    return new Session(steps, undefined, { inference, client, secret, owned: owned.move() });
  }

  /**
   * Encrypts a prepared segment, has it evaluated and decrypts the reply.
   *
   * @param segment `manifest.samples` numbers as `prepareSegment` makes them
   * @param options `onProgress` is told how many of the plan's stages are done
   * @throws BlindbeatError ECG for a segment that the client refuses, MISMATCH for a reply to another request,
   * UNCLASSIFIABLE when no class can be named, and whatever the transport throws
   */
  async classify(segment: Float32Array, options: CallOptions = {}): Promise<RoundTrip> {
    const times = { encrypt: 0, decrypt: 0 };
    const request = await timed(times, 'encrypt', () => this.#client.encrypt(this.#secret, segment));
    const { reply, ms, upMs, downMs, ...answer } = await this.#inference.infer(request, options);
    const decrypted = await timed(times, 'decrypt', () =>
      this.#client.decrypt(this.#secret, reply, requestDigest(request)),
    );
    return {
      decrypted,
      ...answer,
      steps: {
        encrypt: times.encrypt,
        upRequest: roundMs(upMs),
        server: ms,
        down: roundMs(downMs),
        decrypt: times.decrypt,
      },
    };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
