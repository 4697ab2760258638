import { randomUUID } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ObjectStore } from '@nats-io/obj';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { appendPieces, commitFile } from '../../files/append.ts';
import { isFile } from '../../files/input.ts';
import { makeFolder } from '../../files/output.ts';
import { fileDates, verifyKeyFile } from '../key-file.ts';
import { keysNotFound } from '../refusals.ts';

/** How long keys may take to come from the store, in milliseconds: 64 MB take a second on one machine. */
const MOST_COPY_MS = 120_000;
const FILE = /^([0-9a-f]{64})\.keys$/;

/** A worker's own copies of evaluation keys, as files HASH.keys, each copied and checked once. */
export class KeyCopies {
  readonly #folder: string;
  readonly #store: ObjectStore;
  readonly #copying = new Map<string, Promise<void>>();

  private constructor(folder: string, store: ObjectStore) {
    this.#folder = folder;
    this.#store = store;
  }

  /**
   * Opens a folder, which is made if need be.
   *
   * @throws BlindbeatError FILE if it cannot be made
   */
  static async open(folder: string, store: ObjectStore): Promise<KeyCopies> {
    await makeFolder(folder);
    return new KeyCopies(folder, store);
  }

  /**
   * The file of a client's keys.
   *
   * @throws BlindbeatError KEYS_NOT_FOUND if the store has no sound ones; FILE; what the store throws when it cannot be
   * reached
   */
  async path(hash: string, manifest: ParsedManifest): Promise<string> {
    const path = this.#path(hash);
    if (isFile(path)) return path;
    const copying =
      this.#copying.get(hash) ?? this.#copy(hash, manifest).finally(() => this.#copying.delete(hash));
    this.#copying.set(hash, copying);
    await copying;
    return path;
  }

  /** Deletes a copy, also one that is being made. */
  async forget(hash: string): Promise<void> {
    await this.#copying.get(hash)?.catch(() => {});
    await rm(this.#path(hash), { force: true });
  }

  /**
   * Deletes what the store has no more, and what killed workers left of copies that they made.
   *
   * @returns hashes
   */
  async sweep(): Promise<string[]> {
    const names = await readdir(this.#folder);
    for (const part of names.filter((name) => name.endsWith('.part'))) {
      const path = join(this.#folder, part);
      if ((await fileDates(path).catch(() => 0)) < Date.now() - MOST_COPY_MS) await rm(path, { force: true });
    }
    const hashes = names.flatMap((name) => FILE.exec(name)?.[1] ?? []);
    const gone: string[] = [];
    for (const hash of hashes) if (!(await this.#isStored(hash))) gone.push(hash);
    for (const hash of gone) await this.forget(hash);
    return gone;
  }

  async #copy(hash: string, manifest: ParsedManifest): Promise<void> {
    const found = (await this.#isStored(hash)) ? await this.#store.get(hash) : null;
    if (!found) throw keysNotFound();
    found.error.catch(() => {}); // the check below tells more
    const part = join(this.#folder, `${hash}.${randomUUID()}.part`); // another worker may copy the same
    try {
      const size = wireSizes(manifest).evaluationKeys;
      if (found.info.size !== size)
        throw new BlindbeatError('FORMAT', `keys of ${found.info.size} bytes, where ${size} were expected`);
      await appendPieces(part, 0, within(found.data, MOST_COPY_MS), () => {});
      await verifyKeyFile(part, hash, manifest);
      await commitFile(part, this.#path(hash));
    } catch (cause) {
      await rm(part, { force: true });
      if (!(cause instanceof BlindbeatError) || cause.code === 'FILE') throw cause;
      await this.#store.delete(hash); // whoever still has them sends sound ones
      throw keysNotFound(cause);
    }
  }

  async #isStored(hash: string): Promise<boolean> {
    const info = await this.#store.info(hash);
    return info !== null && !info.deleted;
  }

  #path(hash: string): string {
    return join(this.#folder, `${hash}.keys`);
  }
}

/** What a stream has, unless it takes too long. */
async function* within(stream: ReadableStream<Uint8Array>, ms: number): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void reader.cancel();
  }, ms);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (late) throw new Error('the store of keys took too long');
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(timer);
    reader.releaseLock();
  }
}
