import type { ParsedManifest } from '../../ckks/wire/manifest.ts';

/** The evaluation keys file that a storage keeps. */
export interface KeyFile {
  /** SHA-256 of the whole file, hex: what a service calls it. */
  hash: string;
  /** Bytes of the whole file. */
  size: number;
  /**
   * The bytes from `from` up to, not including, `to`.
   *
   * @throws BlindbeatError FILE if they are gone or were changed
   */
  slice(from: number, to: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** A client's keys of one plan. */
export interface StoredKeys {
  /** The file that `writeSecretKey` made. The caller's own, to be overwritten after use. */
  secretKey: Uint8Array;
  evaluationKeys: KeyFile;
}

/** Keys that were just made. */
export interface NewKeys {
  keyId: string;
  /** The file that `writeSecretKey` made; stays the caller's. */
  secretKey: Uint8Array;
  /** The file in pieces, each made when it is asked for. */
  evaluationKeys: Iterable<Uint8Array>;
}

/**
 * Where a client keeps its keys, so that it makes and sends them once: a folder in Node, IndexedDB in a browser.
 * Whoever can read it reads every ECG that was encrypted with them.
 */
export interface KeyStorage {
  /**
   * The keys of a plan, or null if there are none.
   *
   * @throws BlindbeatError FILE or FORMAT for keys that cannot be used, MISMATCH for another plan's in their place
   */
  load(manifest: ParsedManifest): Promise<StoredKeys | null>;
  /**
   * Keeps new keys of a plan that has none; all or nothing.
   *
   * @throws BlindbeatError FILE if there are keys already or they cannot be kept; the signal's reason
   */
  save(manifest: ParsedManifest, keys: NewKeys, signal?: AbortSignal): Promise<void>;
  /** Removes a plan's keys, if there are any. What was encrypted with them can never be decrypted. */
  delete(manifest: ParsedManifest): Promise<void>;
}
