import { bytesToHex } from '@noble/hashes/utils.js';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { createDigest } from '../../digest.ts';
import { BlindbeatError } from '../../errors.ts';
import type { KeyStorage, NewKeys, StoredKeys } from './key-storage.ts';

/** Bytes of a piece as it is stored. */
const PIECE = 1 << 20;
/** Object stores: what is known of a plan's keys, by its hash; and the pieces of evaluation keys, by key pair. */
const KEYS = 'keys';
const PIECES = 'pieces';

interface KeyRecord {
  planHash: string;
  keyId: string;
  secretKey: Uint8Array<ArrayBuffer>;
  /** Of the evaluation keys file. */
  hash: string;
  size: number;
}

interface PieceRecord {
  keyId: string;
  index: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Keys in a browser's IndexedDB, which pages of the same origin share and nobody else reads. The secret key is there
 * as it is: whoever can run a script of that origin, or read the user's profile, has it. A browser may clear it
 * where a page has not asked for persistence (`navigator.storage.persist()`); then new keys are made.
 */
export class IndexedDbKeys implements KeyStorage {
  readonly #name: string;

  /** @param name of the database */
  constructor(name = 'blindbeat') {
    this.#name = name;
  }

  async load({ planHash }: ParsedManifest): Promise<StoredKeys | null> {
    using database = await this.#open();
    const found = await database.read<KeyRecord | undefined>(KEYS, (keys) => keys.get(planHash));
    if (!found) return null;
    const { keyId, secretKey, hash, size } = found;
    const slice = (from: number, to: number) => this.#slice(keyId, from, to);
    return { secretKey, evaluationKeys: { hash, size, slice } };
  }

  async save({ planHash }: ParsedManifest, keys: NewKeys, signal?: AbortSignal): Promise<void> {
    using database = await this.#open();
    const { keyId } = keys;
    const digest = createDigest();
    let size = 0;
    let index = 0;
    try {
      // A transaction ends when nothing is asked of it, so each piece has its own; the record comes last.
      for (const bytes of inPieces(keys.evaluationKeys)) {
        digest.update(bytes);
        size += bytes.length;
        const piece: PieceRecord = { keyId, index: index++, bytes };
        await database.write(PIECES, (pieces) => pieces.put(piece));
        signal?.throwIfAborted();
      }
      const secretKey = Uint8Array.from(keys.secretKey);
      const record: KeyRecord = { planHash, keyId, secretKey, hash: bytesToHex(digest.digest()), size };
      await database.write(KEYS, (stored) => stored.add(record));
      secretKey.fill(0);
    } catch (error) {
      await database.write(PIECES, (pieces) => pieces.delete(piecesOf(keyId)));
      throw error;
    }
  }

  async delete({ planHash }: ParsedManifest): Promise<void> {
    using database = await this.#open();
    const found = await database.read<KeyRecord | undefined>(KEYS, (keys) => keys.get(planHash));
    if (!found) return;
    await database.write(KEYS, (keys) => keys.delete(planHash));
    await database.write(PIECES, (pieces) => pieces.delete(piecesOf(found.keyId)));
  }

  async #slice(keyId: string, from: number, to: number): Promise<Uint8Array<ArrayBuffer>> {
    using database = await this.#open();
    const out = new Uint8Array(to - from);
    for (let index = Math.floor(from / PIECE); index * PIECE < to; index++) {
      const found = await database.read<PieceRecord | undefined>(PIECES, (p) => p.get([keyId, index]));
      const start = index * PIECE;
      const bytes = found?.bytes.subarray(Math.max(0, from - start), to - start);
      if (!bytes || bytes.length !== Math.min(to, start + PIECE) - Math.max(from, start))
        throw new BlindbeatError('FILE', 'the evaluation keys are no more in this browser: load them again');
      out.set(bytes, Math.max(from, start) - from);
    }
    return out;
  }

  async #open(): Promise<Database> {
    const { indexedDB } = globalThis;
    if (!indexedDB)
      throw new BlindbeatError(
        'ENVIRONMENT',
        'there is no IndexedDB here: in Node keep keys in a folder (KeyFolder)',
      );
    const opening = indexedDB.open(this.#name, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(KEYS, { keyPath: 'planHash' });
      opening.result.createObjectStore(PIECES, { keyPath: ['keyId', 'index'] });
    };
    return new Database(await outcomeOf(opening));
  }
}

/** One connection. */
class Database implements Disposable {
  readonly #database: IDBDatabase;

  constructor(database: IDBDatabase) {
    this.#database = database;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  /** What one question finds. */
  read<T>(store: string, ask: (store: IDBObjectStore) => IDBRequest): Promise<T> {
    return outcomeOf(ask(this.#database.transaction(store).objectStore(store)));
  }

  /** Settles when a change is on the disk. */
  async write(store: string, change: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    const transaction = this.#database.transaction(store, 'readwrite');
    const committed = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(refusedBy(transaction.error));
    });
    committed.catch(() => {}); // if the change itself fails, that is the error to tell
    await outcomeOf(change(transaction.objectStore(store)));
    await committed;
  }
}

function outcomeOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(refusedBy(request.error));
  });
}

function refusedBy(cause: DOMException | null): BlindbeatError {
  const words: Record<string, string> = {
    QuotaExceededError: 'the browser gives this page no more room: free some, or allow the page more',
    ConstraintError: 'there are keys of this plan already: another page made them, load this one again',
  };
  const why =
    words[cause?.name ?? ''] ?? `the browser does not keep them (${cause?.name ?? 'it does not say why'})`;
  return new BlindbeatError('FILE', `keys in the browser: ${why}`, { cause });
}

/** All pieces of a key pair. */
function piecesOf(keyId: string): IDBKeyRange {
  return IDBKeyRange.bound([keyId, 0], [keyId, Number.MAX_SAFE_INTEGER]);
}

/** The same bytes in pieces of equal length, but the last. */
function* inPieces(source: Iterable<Uint8Array>): Generator<Uint8Array<ArrayBuffer>> {
  let room = new Uint8Array(PIECE);
  let filled = 0;
  for (const bytes of source) {
    for (let offset = 0; offset < bytes.length; ) {
      const part = bytes.subarray(offset, offset + PIECE - filled);
      room.set(part, filled);
      offset += part.length;
      filled += part.length;
      if (filled < PIECE) continue;
      yield room;
      room = new Uint8Array(PIECE);
      filled = 0;
    }
  }
  if (filled > 0) yield room.slice(0, filled);
}
