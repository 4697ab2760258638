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
  /** Freed when the last one who has them gives them back: they are no longer in the cache. */
  dropped: boolean;
}

/**
 * The evaluation keys of several clients in one server's memory, within its `keyMemory`: those that were least
 * recently used make room for others, never those in use. Disposing it drops what is not in use, and the rest when
 * it comes back.
 */
export class KeyCache implements Disposable {
  readonly #server: Server;
  /** By name, the least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** The names of the keys that are here or on their way, the least recently used first. */
  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * A client's keys, which are loaded if they are not here yet; once, however many ask at the same time.
   *
   * @param name of the keys: whoever asks by it gets the keys that were loaded by it. Where clients are strangers to each
   * other, the SHA-256 of the file: anybody can write a file that claims to be of somebody else's key pair
   * @param source the client's file; called when it must be loaded and there is room
   * @throws BlindbeatError ENVIRONMENT when the keys in use leave no room, USAGE when the cache was disposed; what
   * `Server.loadKeys` and the source throw
   */
  async lease(name: string, source: () => FilePieces, options: LoadOptions = {}): Promise<KeyLease> {
    if (this.#closed)
      throw new BlindbeatError('USAGE', 'the cache of evaluation keys was disposed: make another');
    const entry = this.#entries.get(name) ?? this.#load(name, source, options);
    entry.leases++;
    this.#used(name, entry);
    const keys = await entry.loading;
    let held = true;
    const giveBack = () => {
      if (!held) return;
      held = false;
      entry.leases--;
      if (!entry.dropped) this.#used(name, entry);
      else if (entry.leases === 0) keys[Symbol.dispose]();
    };
    return { keys, [Symbol.dispose]: giveBack };
  }

  /** Drops keys by their name: now, or when the last one who has them gives them back. */
  forget(name: string): void {
    const entry = this.#entries.get(name);
    if (!entry) return;
    entry.dropped = true;
    this.#entries.delete(name);
    if (entry.leases === 0) entry.keys?.[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const name of this.names) this.forget(name);
  }

  #load(name: string, source: () => FilePieces, options: LoadOptions): Entry {
    for (const [oldest, { leases }] of this.#entries) {
      if (this.#server.hasKeyRoom) break;
      if (leases === 0) this.forget(oldest);
    }
    const loading = this.#server.loadKeys(opened(source), options);
    const entry: Entry = { keys: null, loading, leases: 0, dropped: false };
    this.#entries.set(name, entry);
    loading.then(
      (keys) => {
        entry.keys = keys;
      },
      () => {
        if (!entry.dropped) this.#entries.delete(name);
      },
    );
    return entry;
  }

  /** Makes an entry the last to be dropped. */
  #used(name: string, entry: Entry): void {
    this.#entries.delete(name);
    this.#entries.set(name, entry);
  }
}

/** Opens a source when the first piece is asked for. */
async function* opened(source: () => FilePieces): AsyncGenerator<Uint8Array> {
  yield* source();
}
