import { stat } from 'node:fs/promises';
import { ContainerReader, concat, type Expected, type Header, readHeader } from '../ckks/wire/container.ts';
import { bodySizes, wireSizes } from '../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { createDigest } from '../digest.ts';
import { BlindbeatError } from '../errors.ts';
import { readPieces } from '../files/input.ts';

/** More than any header has: what is waited for before an upload is known to be of keys. */
export const HEAD_BYTES = 8192;
/** Bytes of the body that are looked at together. */
const PART = 1 << 16;

/** When a file was changed or used last, in milliseconds of the epoch. */
export async function fileDates(path: string): Promise<number> {
  return (await stat(path)).mtimeMs;
}

/**
 * The same pieces, of a file from its start, once its header was checked.
 *
 * @throws BlindbeatError FORMAT or MISMATCH, before any piece, for a file that is not of keys to this plan
 */
export async function* withHeader(
  pieces: AsyncIterable<Uint8Array>,
  expected: Expected,
  onHeader: (header: Header<'evaluation keys'>) => void,
): AsyncGenerator<Uint8Array> {
  const head: Uint8Array[] = [];
  let length = 0;
  let checked = false;
  const check = () => {
    const bytes = concat(head);
    onHeader(readHeader(bytes, 'evaluation keys', expected).header);
    checked = true;
    return bytes;
  };
  for await (const piece of pieces) {
    if (checked) yield piece;
    else {
      head.push(piece);
      length += piece.length;
      if (length >= HEAD_BYTES) yield check();
    }
  }
  if (!checked) yield check();
}

/**
 * Checks a whole file of evaluation keys on the disk, piece by piece.
 *
 * @param hash what its SHA-256 must be, hex
 * @throws BlindbeatError FORMAT for another hash or a damaged file; FORMAT or MISMATCH for one that is not of keys
 * to this plan; FILE
 */
export async function verifyKeyFile(path: string, hash: string, manifest: ParsedManifest): Promise<void> {
  const { planHash } = manifest;
  const digest = createDigest();
  const reader = new ContainerReader(
    'evaluation keys',
    { planHash },
    parts(bodySizes(manifest).evaluationKeys),
  );
  const limit = wireSizes(manifest).evaluationKeys;
  for await (const piece of readPieces(path, { what: 'evaluation keys', limit })) {
    digest.update(piece);
    for (const _ of reader.push(piece)); // what is in them, an evaluator checks
  }
  if (Buffer.from(digest.digest()).toString('hex') !== hash)
    throw new BlindbeatError(
      'FORMAT',
      'these keys have another SHA-256 than their address says: send them again',
    );
  reader.end();
}

function parts(bytes: number): number[] {
  const whole = Array.from({ length: Math.floor(bytes / PART) }, () => PART);
  return bytes % PART === 0 ? whole : [...whole, bytes % PART];
}
