import { BlindbeatError } from '../../errors.ts';
import { allPrimes, specialIndex } from '../ring/parameters.ts';
import { plaintextBuffer } from '../seal/bytes.ts';
import { type ClientModule, type Handle, loadSeal, type SEALContext, type Seal } from '../seal/seal.ts';
import type { ParsedManifest } from '../wire/manifest.ts';
import type { SecretKey } from './secret-key.ts';

/**
 * SEAL as the client of one plan uses it: its contexts, made when they are first needed, and operations,
 * which free all that they loaded, the secret key above all, however they end.
 */
export class ClientSeal implements Disposable {
  readonly manifest: ParsedManifest;
  readonly #seal: Seal<ClientModule>;
  readonly #operations = new Set<Operation>();
  readonly #contexts = new Map<number, SEALContext>();
  #disposed = false;

  private constructor(manifest: ParsedManifest, seal: Seal<ClientModule>) {
    this.manifest = manifest;
    this.#seal = seal;
  }

  static async open(manifest: ParsedManifest): Promise<ClientSeal> {
    return new ClientSeal(manifest, await loadSeal<ClientModule>());
  }

  /** SEAL objects alive. */
  get live(): number {
    return this.#seal.live;
  }

  /** Frees the contexts and all that operations that have not ended hold. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const operation of this.#operations) operation[Symbol.dispose]();
    for (const context of this.#contexts.values()) this.#seal.free(context);
    this.#contexts.clear();
  }

  /**
   * What one operation needs of SEAL; dispose it when the operation ends.
   *
   * @param what 'key' for all primes, 'request' for those of a fresh ciphertext and the special one, both
   * without the levels below, a quarter of the work of the whole chain; 'reply' for the last prime alone, all
   * that decryption needs
   * @throws BlindbeatError INTERNAL when the client was disposed
   */
  operation(what: 'key' | 'request' | 'reply'): Operation {
    if (this.#disposed) throw disposed();
    const { parameters } = this.manifest;
    const all = allPrimes(parameters);
    const places = {
      key: [...all.keys()],
      request: [...parameters.primes.keys(), specialIndex(parameters)],
      reply: [0],
    }[what];
    const moduli = places.map((place) => all[place]);
    const context = this.#contexts.get(moduli.length) ?? this.#seal.context(parameters.n, moduli, false);
    this.#contexts.set(moduli.length, context);
    const operation = new Operation(this.#seal, context, places, (ended) => this.#operations.delete(ended));
    this.#operations.add(operation);
    return operation;
  }
}

/** SEAL objects that live as long as one operation of a client. */
export class Operation implements Disposable {
  readonly context: SEALContext;
  /** The context's primes by their place among all of the plan. */
  readonly #places: number[];
  readonly #seal: Seal<ClientModule>;
  readonly #owned = new DisposableStack();

  constructor(
    seal: Seal<ClientModule>,
    context: SEALContext,
    places: number[],
    onEnd: (ended: Operation) => void,
  ) {
    this.#seal = seal;
    this.context = context;
    this.#places = places;
    this.#owned.defer(() => onEnd(this));
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /**
   * SEAL, counted.
   *
   * @throws BlindbeatError INTERNAL when the operation has ended
   */
  get seal(): Seal<ClientModule> {
    this.requireOpen();
    return this.#seal;
  }

  /**
   * @throws BlindbeatError INTERNAL when the operation has ended: its client was disposed
   */
  requireOpen(): void {
    if (this.#owned.disposed) throw disposed();
  }

  /** Registers a handle that is freed when the operation ends, the last one first. */
  own<T extends Handle>(handle: T): T {
    this.seal.own(handle);
    this.#owned.defer(() => this.#seal.free(handle));
    return handle;
  }

  /** SEAL's identifier of the level with all of the context's primes. */
  get parmsId(): Uint8Array {
    return this.seal.parmsIds(this.context).get(this.#places.length)!;
  }

  /**
   * The secret key modulo the context's primes, until the operation ends.
   *
   * @throws BlindbeatError as `SecretKey.residuesFor`
   */
  loadSecret(key: SecretKey, manifest: ParsedManifest) {
    const { n } = manifest.parameters;
    const residues = key.residuesFor(manifest);
    const limbs = this.#places.length;
    const buffer = plaintextBuffer(this.parmsId, n, limbs);
    buffer.setScale(1);
    const words = new Uint32Array(buffer.bytes.buffer, buffer.residues.byteOffset, 2 * limbs * n);
    this.#places.forEach((place, limb) => {
      for (let i = 0; i < n; i++) words[2 * (limb * n + i)] = residues[place * n + i];
    });
    const secret = this.own(new this.seal.module.SecretKey());
    try {
      this.seal.guard('FORMAT', 'the secret key', () => secret.loadFromArray(this.context, buffer.bytes));
    } finally {
      buffer.bytes.fill(0);
    }
    return secret;
  }
}

function disposed(): BlindbeatError {
  return new BlindbeatError('INTERNAL', 'the client was disposed: open another one');
}
