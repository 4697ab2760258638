import { createHash } from 'node:crypto';
import { concat } from '../../src/ckks/wire/container.ts';
import type { KeyStorage, NewKeys, StoredKeys } from '../../src/client/key-storage/key-storage.ts';

/** Keys of one plan in memory, with how often they were made. */
export class MemoryKeys implements KeyStorage {
  made = 0;
  #keys: { secretKey: Uint8Array; file: Uint8Array<ArrayBuffer> } | null = null;

  async load(): Promise<StoredKeys | null> {
    if (!this.#keys) return null;
    const { secretKey, file } = this.#keys;
    const hash = createHash('sha256').update(file).digest('hex');
    const slice = async (from: number, to: number) => file.slice(from, to);
    return { secretKey: secretKey.slice(), evaluationKeys: { hash, size: file.length, slice } };
  }

  async save(_: unknown, { secretKey, evaluationKeys }: NewKeys): Promise<void> {
    this.made++;
    this.#keys = { secretKey: secretKey.slice(), file: concat(evaluationKeys) };
  }

  async delete(): Promise<void> {
    this.#keys = null;
  }
}
