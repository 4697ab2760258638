import { BlindbeatError } from '../../errors.ts';
import { allPrimes } from '../ring/parameters.ts';
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
   * @param what 'key' for key and top level only, a quarter of the work of the whole chain; 'reply' for the
   * last prime alone, all that decryption needs
   * @throws BlindbeatError INTERNAL when the client was disposed
   */
  operation(what: 'key' | 'reply'): Operation {
    if (this.#disposed) throw disposed();
    const { n, primes } = this.manifest.parameters;
    const moduli = what === 'key' ? allPrimes(this.manifest.parameters) : [primes[0]];
    const context = this.#contexts.get(moduli.length) ?? this.#seal.context(n, moduli, false);
    this.#contexts.set(moduli.length, context);
    const operation = new Operation(this.#seal, context, moduli.length, (ended) =>
      this.#operations.delete(ended),
    );
    this.#operations.add(operation);
    return operation;
  }
}

/** SEAL objects that live as long as one operation of a client. */
export class Operation implements Disposable {
  readonly context: SEALContext;
  /** Number of the context's primes: the first ones of the plan, or all. */
  readonly limbs: number;
  readonly #seal: Seal<ClientModule>;
  readonly #owned = new DisposableStack();

  constructor(
    seal: Seal<ClientModule>,
    context: SEALContext,
    limbs: number,
    onEnd: (ended: Operation) => void,
  ) {
    this.#seal = seal;
    this.context = context;
    this.limbs = limbs;
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
    return this.seal.parmsIds(this.context).get(this.limbs)!;
  }

  /**
   * The secret key modulo the context's primes, until the operation ends.
   *
   * @throws BlindbeatError as `SecretKey.residuesFor`
   */
  loadSecret(key: SecretKey, manifest: ParsedManifest) {
    const { n } = manifest.parameters;
    const residues = key.residuesFor(manifest);
    const buffer = plaintextBuffer(this.parmsId, n, this.limbs);
    buffer.setScale(1);
    const words = new Uint32Array(buffer.bytes.buffer, buffer.residues.byteOffset, 2 * this.limbs * n);
    for (let i = 0; i < this.limbs * n; i++) words[2 * i] = residues[i];
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
