import { type Expected, type Header, type Kind, readContainer, readHeader } from '../ckks/wire/container.ts';
import { bodySizes, type WireSizes, wireSizes } from '../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { BlindbeatError } from '../errors.ts';
import { type Head, inFile, readHead, readPieces, readWhole } from '../files/input.ts';

/** Larger than any header: what is read of a file before it is known to be of the right kind and size. */
const HEAD_BYTES = 8192;

const SIZE_OF: Record<Kind, keyof WireSizes> = {
  'secret key': 'secretKey',
  'evaluation keys': 'evaluationKeys',
  request: 'request',
  reply: 'reply',
};

/**
 * Reads a key or ciphertext file. Its header and size are checked before the rest is read: a file of
 * another kind or plan is not.
 *
 * @param keyId the key pair that it must belong to, if that is known
 * @throws BlindbeatError FILE, FORMAT or MISMATCH
 */
export async function readContainerFile(
  path: string,
  kind: Kind,
  manifest: ParsedManifest,
  keyId?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { expected, limit } = await requireContainerFile(path, kind, manifest, keyId);
  const bytes = await readWhole(path, { what: nameOf(kind), limit });
  await inFile(path, () => readContainer(bytes, kind, expected));
  return bytes;
}

/**
 * Checks header and size of a key or ciphertext file, before long work.
 *
 * @returns reads the file piece by piece, without looking at it
 * @throws BlindbeatError as `readContainerFile`
 */
export async function openContainerFile(
  path: string,
  kind: Kind,
  manifest: ParsedManifest,
  keyId?: string,
): Promise<() => AsyncIterable<Uint8Array>> {
  const { limit } = await requireContainerFile(path, kind, manifest, keyId);
  return () => readPieces(path, { what: nameOf(kind), limit });
}

/** What a file's content must be, whose header and size are right. */
async function requireContainerFile(path: string, kind: Kind, manifest: ParsedManifest, keyId?: string) {
  const name = SIZE_OF[kind];
  const expected = { planHash: manifest.planHash, keyId, bodyBytes: bodySizes(manifest)[name] };
  const { size, bytes: head } = await readHeadOf(path, kind);
  await inFile(path, () => readHeader(head, kind, expected));
  const right = wireSizes(manifest)[name];
  if (size !== right) {
    throw new BlindbeatError(
      'FORMAT',
      `${path}: expected a blindbeat ${kind} of ${right} bytes, but it has ${size}: it was cut off or added to`,
    );
  }
  return { expected, limit: right };
}

/**
 * Reads only the header of a key or ciphertext file.
 *
 * @throws BlindbeatError FILE, FORMAT or MISMATCH
 */
export async function readHeaderFile<K extends Kind>(
  path: string,
  kind: K,
  expected: Expected = {},
): Promise<Header<K>> {
  const { bytes } = await readHeadOf(path, kind);
  return inFile(path, () => readHeader(bytes, kind, expected).header);
}

function readHeadOf(path: string, kind: Kind): Promise<Head> {
  return readHead(path, HEAD_BYTES, { what: nameOf(kind) });
}

function nameOf(what: string): string {
  return `a blindbeat ${what}`;
}
