import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesToHex } from '@noble/hashes/utils.js';
import { readHeader } from '../../ckks/wire/container.ts';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import { manifestText, type ParsedManifest } from '../../ckks/wire/manifest.ts';
import { createDigest } from '../../digest.ts';
import { BlindbeatError } from '../../errors.ts';
import { isReadableByOthers, readRange } from '../../files/input.ts';
import { removeLeftovers } from '../../files/leftovers.ts';
import { makeFolder, OutputFiles } from '../../files/output.ts';
import { openContainerFile, readContainerFile } from '../container-files.ts';
import type { KeyFile, KeyStorage, NewKeys, StoredKeys } from './key-storage.ts';

/** The files of a client's keys in a folder: those of `blindbeat keygen`. */
export function keyFiles(folder: string) {
  return {
    manifest: join(folder, 'manifest.json'),
    secretKey: join(folder, 'secret.key'),
    evaluationKeys: join(folder, 'evaluation.keys'),
  };
}

/**
 * Writes the files of new keys, for `output` to give them their names; the secret key's for its owner alone.
 *
 * @throws BlindbeatError FILE if one cannot be written; INTERRUPTED when the signal is aborted
 */
export async function writeKeyFiles(
  output: OutputFiles,
  folder: string,
  manifest: ParsedManifest,
  { secretKey, evaluationKeys }: Omit<NewKeys, 'keyId'>,
  signal?: AbortSignal,
): Promise<void> {
  const files = keyFiles(folder);
  await output.write(files.secretKey, secretKey, { mode: 0o600 });
  await output.write(files.manifest, manifestText(manifest));
  await output.write(files.evaluationKeys, evaluationKeys, { signal });
}

/**
 * An evaluation keys file on disk, of which header and size are right.
 *
 * @param keyId the key pair that it must belong to, if that is known
 * @throws BlindbeatError FILE, FORMAT or MISMATCH
 */
export async function openKeyFile(path: string, manifest: ParsedManifest, keyId?: string): Promise<KeyFile> {
  const pieces = await openContainerFile(path, 'evaluation keys', manifest, keyId);
  const digest = createDigest();
  for await (const piece of pieces()) digest.update(piece);
  const { evaluationKeys: size } = wireSizes(manifest);
  return {
    hash: bytesToHex(digest.digest()),
    size,
    slice: (from, to) => readRange(path, [from, to], { what: 'a blindbeat evaluation keys', size }),
  };
}

/** What is said of a secret key, or another secret, that others can read. */
export function openToOthers(path: string): string {
  return `${path} can be read by others on this machine: chmod 600 it`;
}

/** Keys in a folder, for Node, as `blindbeat keygen` lays them out. */
export class KeyFolder implements KeyStorage {
  readonly #folderOf: (manifest: ParsedManifest) => string;
  readonly #onWarning: (sentence: string) => void;

  /**
   * @param folder of one plan's keys, or which folder has those of a plan; made when keys are
   * @param onWarning told when others can read the secret key, and of files of killed runs that were removed
   */
  constructor(
    folder: string | ((manifest: ParsedManifest) => string),
    onWarning: (sentence: string) => void = () => {},
  ) {
    this.#folderOf = typeof folder === 'string' ? () => folder : folder;
    this.#onWarning = onWarning;
  }

  async load(manifest: ParsedManifest): Promise<StoredKeys | null> {
    const folder = this.#folderOf(manifest);
    const files = keyFiles(folder);
    const there = [files.secretKey, files.evaluationKeys].filter((file) => existsSync(file));
    if (there.length === 0) return null;
    if (there.length === 1)
      throw new BlindbeatError(
        'FILE',
        `${folder} has ${there[0]} without its other half: put that back, or remove it to make new keys`,
      );
    const secretKey = await readContainerFile(files.secretKey, 'secret key', manifest);
    if (await isReadableByOthers(files.secretKey)) this.#onWarning(openToOthers(files.secretKey));
    const { keyId } = readHeader(secretKey, 'secret key', {}).header;
    return { secretKey, evaluationKeys: await openKeyFile(files.evaluationKeys, manifest, keyId) };
  }

  async save(manifest: ParsedManifest, keys: NewKeys, signal?: AbortSignal): Promise<void> {
    const folder = this.#folderOf(manifest);
    await makeFolder(folder);
    for (const path of (await removeLeftovers(folder)).removed)
      this.#onWarning(`${path} was left by a run that was killed: removed`);
    await using output = new OutputFiles();
    await writeKeyFiles(output, folder, manifest, keys, signal);
    const { secretKey, evaluationKeys } = keyFiles(folder);
    const found = [secretKey, evaluationKeys].filter((file) => existsSync(file));
    if (found.length > 0)
      throw new BlindbeatError(
        'FILE',
        `there is already ${found.join(', ')}: another run made keys, try again`,
      );
    await output.commit();
  }

  async delete(manifest: ParsedManifest): Promise<void> {
    for (const file of Object.values(keyFiles(this.#folderOf(manifest)))) await rm(file, { force: true });
  }
}
