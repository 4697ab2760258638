import { readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { containerSize, readHeader } from '../ckks/wire/container.ts';
import { bodySizes } from '../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { BlindbeatError } from '../errors.ts';
import { appendPieces, commitFile } from '../files/append.ts';
import { readHead } from '../files/input.ts';
import { makeFolder } from '../files/output.ts';
import { formatBytes } from '../measure/format.ts';
import { fileDates, HEAD_BYTES, verifyKeyFile, withHeader } from './key-file.ts';

/** How much is kept, and how long. */
export interface KeyStoreLimits {
  /** Bytes of one owner's keys, and of all keys. */
  quota: number;
  room: number;
  /** Milliseconds that keys stay after they were used last, and a part of some after its last byte. */
  keepMs: number;
  keepPartMs: number;
}

/** One GB for an owner: fifteen key pairs of the shipped model. */
const DEFAULT_LIMITS: KeyStoreLimits = {
  quota: 1e9,
  room: 20e9,
  keepMs: 30 * 24 * 3_600_000,
  keepPartMs: 24 * 3_600_000,
};

/** What a store has of a key file. */
export interface StoredKeys {
  /** SHA-256 of the whole file, hex. */
  hash: string;
  /** Bytes of the whole file, and those that are here. */
  size: number;
  received: number;
  /** Whether all of it is here and was checked. */
  complete: boolean;
  /** When it will be deleted, unless it is used before. */
  expires: Date;
}

/** A key file that stays where it is until this is disposed. */
export interface KeyFileLease extends Disposable {
  readonly path: string;
  /** Of the key pair. */
  readonly keyId: string;
}

/** An upload: its bytes, and what ends it. */
export interface Upload {
  pieces: AsyncIterable<Uint8Array>;
  /** Makes `pieces` throw this. */
  stop(reason: Error): void;
}

interface Entry {
  owner: string;
  hash: string;
  planHash: string;
  /** Of the key pair; unknown until the header was read. */
  keyId: string;
  size: number;
  received: number;
  complete: boolean;
  /** When it was used last; and what of that the file's date tells. */
  usedMs: number;
  notedMs: number;
  leases: number;
  /** Whoever waits until nobody has it. */
  idle: PromiseWithResolvers<void> | null;
  /** What is arriving, and its end. */
  upload: { stop(reason: Error): void; done: Promise<void> } | null;
}

/** How far a file's date may lag behind its use. */
const NOTED_WITHIN_MS = 3_600_000;
const OWNER = /^[a-z0-9]{1,64}$/;
const FILE = /^([0-9a-f]{64})\.(keys|part)$/;

/**
 * Evaluation keys of many owners as files, OWNER/HASH.keys, and HASH.part of those that are arriving. There is no
 * other record: what is here is found again after a restart, uploads go on where they were, and a file's date says
 * when it was used. An owner sees its own keys alone.
 */
export class KeyStore {
  readonly #folder: string;
  readonly #limits: KeyStoreLimits;
  readonly #entries = new Map<string, Entry>();
  /** Files that are being deleted. */
  readonly #removing = new Map<string, Promise<void>>();

  private constructor(folder: string, limits: KeyStoreLimits) {
    this.#folder = folder;
    this.#limits = limits;
  }

  /**
   * Opens a folder, which is made if need be. Files with a name of ours and the wrong header or size are deleted; all
   * other names are let be.
   *
   * @throws BlindbeatError FILE if the folder cannot be made
   */
  static async open(folder: string, limits: Partial<KeyStoreLimits> = {}): Promise<KeyStore> {
    await makeFolder(folder);
    const store = new KeyStore(folder, { ...DEFAULT_LIMITS, ...limits });
    for (const owner of await readdir(folder))
      if (OWNER.test(owner))
        for (const name of await readdir(join(folder, owner)).catch(() => []))
          await store.#index(owner, name);
    return store;
  }

  /** Files and bytes that are here. */
  get load(): { files: number; bytes: number } {
    const entries = [...this.#entries.values()];
    return { files: entries.length, bytes: entries.reduce((sum, { received }) => sum + received, 0) };
  }

  /**
   * What is here of a key file, if it is an owner's.
   *
   * @throws BlindbeatError KEYS_NOT_FOUND; MISMATCH for keys to another plan
   */
  find(owner: string, hash: string, manifest: ParsedManifest): StoredKeys {
    return this.#described(this.#require(owner, hash, manifest));
  }

  /**
   * Refuses where there is no complete key file.
   *
   * @throws BlindbeatError as `lease`
   */
  requireComplete(owner: string, hash: string, manifest: ParsedManifest): void {
    if (!this.#require(owner, hash, manifest).complete) throw notFound();
  }

  /**
   * Has a complete key file stay until it is given back, and counts as its use.
   *
   * @throws BlindbeatError KEYS_NOT_FOUND if it is not here or not complete; MISMATCH for keys to another plan
   */
  async lease(owner: string, hash: string, manifest: ParsedManifest): Promise<KeyFileLease> {
    this.requireComplete(owner, hash, manifest);
    const entry = this.#require(owner, hash, manifest);
    entry.leases++;
    await this.#use(entry);
    let held = true;
    const giveBack = () => {
      if (held && --entry.leases === 0) entry.idle?.resolve();
      held = false;
    };
    return { path: this.#path(entry), keyId: entry.keyId, [Symbol.dispose]: giveBack };
  }

  /**
   * Takes a key file or a part of it. What was written stays when `upload` throws, for another attempt; what is
   * complete is checked as a whole and deleted if it is not what its name says. An upload that hangs gives way to
   * a newer one of the same file.
   *
   * @param from how many bytes there were before
   * @throws BlindbeatError MISMATCH when another number of bytes is here, with it as `received`; FORMAT or
   * MISMATCH for a file that is not one of keys to this plan, damaged or another than its hash says; TOO_LARGE for
   * more bytes than a file has, or than the owner may keep; ENVIRONMENT when there is no room; what `upload` throws
   */
  async receive(
    owner: string,
    hash: string,
    manifest: ParsedManifest,
    from: number,
    upload: Upload,
  ): Promise<StoredKeys> {
    const { entry, end } = await this.#begin(owner, hash, manifest, from, upload);
    try {
      if (entry.complete) await this.#use(entry);
      else {
        await this.#append(entry, manifest, from, upload.pieces);
        if (entry.received === entry.size) await this.#complete(entry, manifest);
      }
      return this.#described(entry);
    } catch (cause) {
      if (entry.received === 0 || isTooLarge(cause)) await this.#delete(entry).catch(() => {}); // the cause tells more
      throw noRoom(cause);
    } finally {
      end();
    }
  }

  /**
   * Deletes keys, once those who have them gave them back.
   *
   * @returns whether they were here
   * @throws BlindbeatError ENVIRONMENT if the disk refuses
   */
  async remove(owner: string, hash: string): Promise<boolean> {
    const entry = this.#entries.get(keyOf(owner, hash));
    if (!entry) return false;
    await this.#delete(
      entry,
      new BlindbeatError('KEYS_NOT_FOUND', 'the keys were deleted while they arrived'),
    );
    return true;
  }

  /**
   * Deletes what has expired, and what belongs to nobody any more.
   *
   * @returns hashes of the files
   */
  async sweep(isOwner: (owner: string) => boolean): Promise<string[]> {
    const now = Date.now();
    const old = [...this.#entries.values()].filter(
      (entry) => !isOwner(entry.owner) || (this.#expires(entry) < now && !entry.upload && entry.leases === 0),
    );
    const gone = new BlindbeatError('FORBIDDEN', 'the token of these keys is gone');
    await Promise.all(old.map((entry) => this.#delete(entry, gone)));
    return old.map(({ hash }) => hash);
  }

  /** Puts off when keys expire. */
  async #use(entry: Entry): Promise<void> {
    entry.usedMs = Date.now();
    if (entry.usedMs - entry.notedMs < NOTED_WITHIN_MS) return;
    entry.notedMs = entry.usedMs;
    await utimes(this.#path(entry), new Date(), new Date()).catch(() => {}); // then it goes a little early
  }

  async #index(owner: string, name: string): Promise<void> {
    const [, hash, kind] = FILE.exec(name) ?? [];
    if (hash === undefined) return;
    const path = join(this.#folder, owner, name);
    try {
      const { bytes, size: received } = await readHead(path, HEAD_BYTES, { what: 'evaluation keys' });
      const { header } = readHeader(bytes, 'evaluation keys', {});
      const size = containerSize('evaluation keys', header);
      const complete = kind === 'keys';
      if (complete ? received !== size : received >= size) throw new BlindbeatError('FORMAT', 'cut off');
      const usedMs = await fileDates(path);
      const { planHash, keyId } = header;
      const entry = { owner, hash, planHash, keyId, size, received, complete, usedMs, notedMs: usedMs };
      this.#entries.set(keyOf(owner, hash), { ...entry, leases: 0, idle: null, upload: null });
    } catch (cause) {
      if (cause instanceof BlindbeatError && cause.code === 'FORMAT') await rm(path, { force: true });
    }
  }

  /** The entry for an upload from there on, after what still arrives was stopped and what is deleted is gone. */
  async #begin(owner: string, hash: string, manifest: ParsedManifest, from: number, { stop }: Upload) {
    const key = keyOf(owner, hash);
    for (;;) {
      const found = this.#entries.get(key);
      const removing = this.#removing.get(key);
      if (found?.upload) {
        found.upload.stop(new BlindbeatError('INTERRUPTED', 'a newer upload of the same keys took over'));
        await found.upload.done;
      } else if (!found && removing) await removing;
      else {
        const entry = this.#entryFrom(found, owner, hash, manifest, from);
        const done = Promise.withResolvers<void>();
        entry.upload = { stop, done: done.promise };
        const end = () => {
          entry.upload = null;
          done.resolve();
        };
        return { entry, end };
      }
    }
  }

  #entryFrom(
    found: Entry | undefined,
    owner: string,
    hash: string,
    manifest: ParsedManifest,
    from: number,
  ): Entry {
    if (found) requirePlan(found, manifest);
    if (found?.complete) return found;
    const received = found?.received ?? 0;
    if (from > 0 && from !== received) throw new WrongPlace(received);
    if (found) return found;
    const { planHash } = manifest;
    const bodyBytes = bodySizes(manifest).evaluationKeys;
    const size = containerSize('evaluation keys', { planHash, keyId: '0'.repeat(32), bodyBytes });
    this.#requireRoom(owner, size);
    const entry: Entry = {
      ...{ owner, hash, planHash, size, keyId: '', received: 0, complete: false },
      ...{ usedMs: Date.now(), notedMs: Date.now(), leases: 0, idle: null, upload: null },
    };
    this.#entries.set(keyOf(owner, hash), entry);
    return entry;
  }

  async #append(
    entry: Entry,
    manifest: ParsedManifest,
    from: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    entry.received = from; // of an upload that begins anew, nothing is kept
    const expected = { planHash: manifest.planHash, bodyBytes: bodySizes(manifest).evaluationKeys };
    const checked =
      from > 0
        ? pieces
        : withHeader(pieces, expected, (header) => Object.assign(entry, { keyId: header.keyId }));
    await makeFolder(join(this.#folder, entry.owner));
    await appendPieces(this.#path(entry), from, within(checked, entry.size - from), (received) => {
      entry.received = received;
      entry.usedMs = entry.notedMs = Date.now();
    });
  }

  /** Checks a file that is all here; it is deleted when it is not what it should be. */
  async #complete(entry: Entry, manifest: ParsedManifest): Promise<void> {
    const part = this.#path(entry);
    try {
      await verifyKeyFile(part, entry.hash, manifest);
      await commitFile(part, this.#path({ ...entry, complete: true }));
      entry.complete = true;
    } catch (cause) {
      entry.received = 0;
      throw cause;
    }
  }

  async #delete(entry: Entry, reason?: Error): Promise<void> {
    const key = keyOf(entry.owner, entry.hash);
    if (this.#entries.get(key) !== entry) return this.#removing.get(key);
    this.#entries.delete(key);
    const removed = this.#unlink(entry, reason).finally(() => this.#removing.delete(key));
    this.#removing.set(key, removed);
    await removed;
  }

  async #unlink(entry: Entry, reason?: Error): Promise<void> {
    if (reason && entry.upload) {
      entry.upload.stop(reason);
      await entry.upload.done;
    }
    if (entry.leases > 0) {
      entry.idle = Promise.withResolvers();
      await entry.idle.promise;
    }
    await rm(this.#path(entry), { force: true }).catch((cause) => {
      throw new BlindbeatError('ENVIRONMENT', 'this server cannot delete keys now: tell who runs it', {
        cause,
      });
    });
  }

  #require(owner: string, hash: string, manifest: ParsedManifest): Entry {
    const entry = this.#entries.get(keyOf(owner, hash));
    if (!entry || this.#expires(entry) < Date.now()) throw notFound();
    requirePlan(entry, manifest);
    return entry;
  }

  /** What is arriving counts as a whole file. */
  #requireRoom(owner: string, size: number): void {
    const entries = [...this.#entries.values()];
    const sum = (list: Entry[]) => list.reduce((total, entry) => total + entry.size, 0);
    const { quota, room } = this.#limits;
    if (sum(entries.filter((entry) => entry.owner === owner)) + size > quota) {
      throw new BlindbeatError(
        'TOO_LARGE',
        `these keys take ${formatBytes(size)}, and with the others of this token more than the ${formatBytes(quota)} ` +
          'that it may keep: delete some (DELETE /v1/keys/HASH)',
      );
    }
    if (sum(entries) + size > room)
      throw new BlindbeatError('ENVIRONMENT', 'this server has no room for more keys now: try again later');
  }

  #expires({ complete, usedMs }: Entry): number {
    return usedMs + (complete ? this.#limits.keepMs : this.#limits.keepPartMs);
  }

  #path({ owner, hash, complete }: Pick<Entry, 'owner' | 'hash' | 'complete'>): string {
    return join(this.#folder, owner, `${hash}.${complete ? 'keys' : 'part'}`);
  }

  #described(entry: Entry): StoredKeys {
    const { hash, size, received, complete } = entry;
    return { hash, size, received, complete, expires: new Date(this.#expires(entry)) };
  }
}

/** An upload that does not go on where the last one ended. */
export class WrongPlace extends BlindbeatError {
  /** Where it must go on: the bytes that are here. */
  readonly received: number;

  constructor(received: number) {
    super('MISMATCH', `${received} bytes of these keys are here: go on with the byte of that number`);
    this.received = received;
  }
}

function keyOf(owner: string, hash: string): string {
  return `${owner}/${hash}`;
}

function notFound(): BlindbeatError {
  return new BlindbeatError(
    'KEYS_NOT_FOUND',
    'evaluation keys not found: send them (PUT /v1/keys/HASH?model=ID)',
  );
}

function requirePlan({ planHash }: Entry, manifest: ParsedManifest): void {
  if (planHash === manifest.planHash) return;
  throw new BlindbeatError(
    'MISMATCH',
    `these keys were made for plan ${planHash.slice(0, 12)}, but the model's plan is ` +
      `${manifest.planHash.slice(0, 12)}: name the right model, or make new keys to its manifest`,
  );
}

/** The same pieces, of which there may not be more. */
async function* within(pieces: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  let rest = most;
  for await (const piece of pieces) {
    rest -= piece.length;
    if (rest < 0)
      throw new BlindbeatError('TOO_LARGE', 'more bytes came than a file of keys to this plan has');
    yield piece;
  }
}

/** What came then was another file. */
function isTooLarge(cause: unknown): boolean {
  return cause instanceof BlindbeatError && cause.code === 'TOO_LARGE';
}

/** A disk that refuses is the server's, and no fault of a client. */
function noRoom(cause: unknown): unknown {
  if (!(cause instanceof BlindbeatError) || cause.code !== 'FILE') return cause;
  return new BlindbeatError('ENVIRONMENT', 'this server cannot store keys now: try again later', { cause });
}
