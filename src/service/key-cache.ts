import type { LoadOptions } from '../ckks/key-loader.ts';
import type { EvaluationKeys, FilePieces, Server } from '../ckks/server.ts';
import { BlindbeatError } from '../errors.ts';

/** Keys that stay loaded until they are given back, by disposing this. */
export interface KeyLease extends Disposable {
  readonly keys: EvaluationKeys;
}

interface Entry {
  /** Null while they are being loaded; then somebody waits for them. */
  keys: EvaluationKeys | null;
  loading: Promise<EvaluationKeys>;
  /** How many have them or wait for them. */
  leases: number;
}

/**
 * The evaluation keys of several clients in one server's memory, within its `keyMemory`: those that were least
 * recently used make room for others, never those in use. Disposing it drops what is not in use, and the rest when
 * it comes back.
 */
export class KeyCache implements Disposable {
  readonly #server: Server;
  /** By key pair, the least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** The key pairs whose keys are here or on their way, the least recently used first. */
  get keyIds(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * A client's keys, which are loaded if they are not here yet; once, however many ask at the same time.
   *
   * @param keyId names the key pair; keys of another one are refused
   * @param source the client's file; called when it must be loaded and there is room
   * @throws BlindbeatError ENVIRONMENT when the keys in use leave no room, USAGE when the cache was disposed; what
   * `Server.loadKeys` and the source throw
   */
  async lease(
    keyId: string,
    source: () => FilePieces,
    options: Omit<LoadOptions, 'keyId'> = {},
  ): Promise<KeyLease> {
    if (this.#closed)
      throw new BlindbeatError('USAGE', 'the cache of evaluation keys was disposed: make another');
    const entry = this.#entries.get(keyId) ?? this.#load(keyId, source, options);
    entry.leases++;
    this.#used(keyId, entry);
    const keys = await entry.loading;
    let held = true;
    const giveBack = () => {
      if (!held) return;
      held = false;
      entry.leases--;
      if (!this.#closed) this.#used(keyId, entry);
      else if (entry.leases === 0) keys[Symbol.dispose]();
    };
    return { keys, [Symbol.dispose]: giveBack };
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const { leases, keys } of this.#entries.values()) if (leases === 0) keys?.[Symbol.dispose]();
    this.#entries.clear();
  }

  #load(keyId: string, source: () => FilePieces, options: LoadOptions): Entry {
    for (const [oldest, { leases, keys }] of this.#entries) {
      if (this.#server.hasKeyRoom) break;
      if (leases > 0) continue;
      keys?.[Symbol.dispose]();
      this.#entries.delete(oldest);
    }
    const loading = this.#server.loadKeys(opened(source), { ...options, keyId });
    const entry: Entry = { keys: null, loading, leases: 0 };
    this.#entries.set(keyId, entry);
    loading.then(
      (keys) => {
        entry.keys = keys;
      },
      () => this.#entries.delete(keyId),
    );
    return entry;
  }

  /** Makes an entry the last to be dropped. */
  #used(keyId: string, entry: Entry): void {
    this.#entries.delete(keyId);
    this.#entries.set(keyId, entry);
  }
}

/** Opens a source when the first piece is asked for. */
async function* opened(source: () => FilePieces): AsyncGenerator<Uint8Array> {
  yield* source();
}
