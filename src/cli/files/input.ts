import { open, readFile, stat } from 'node:fs/promises';
import { parseCalibration } from '../../ckks/calibrate.ts';
import type { Costs } from '../../ckks/planner/cost.ts';
import {
  type Expected,
  type Header,
  type Kind,
  readContainer,
  readHeader,
} from '../../ckks/wire/container.ts';
import { bodySizes, type WireSizes, wireSizes } from '../../ckks/wire/file-sizes.ts';
import { type Manifest, parseManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { formatBytes } from '../../measure/format.ts';

/** Larger than any header: what is read of a file before it is known to be of the right kind and size. */
const HEAD_BYTES = 8192;
const MAX_JSON_BYTES = 1 << 20;
/** No text or record of one lead is larger; a day at 1000 Hz as CSV is not either. */
const MAX_ECG_BYTES = 500e6;

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
  manifest: Manifest,
  keyId?: string,
): Promise<Uint8Array> {
  const name = SIZE_OF[kind];
  const expected = { planHash: manifest.planHash, keyId, bodyBytes: bodySizes(manifest)[name] };
  await readHeaderFile(path, kind, expected);
  const size = await sizeOf(path, kind);
  const right = wireSizes(manifest)[name];
  if (size !== right) {
    throw new BlindbeatError(
      'FORMAT',
      `${path}: expected a blindbeat ${kind} of ${right} bytes, but it has ${size}: it was cut off or added to`,
    );
  }
  const bytes = await read(path);
  // Before long work. Evaluation keys are large, and checked when they are loaded.
  if (kind !== 'evaluation keys') await inFile(path, () => readContainer(bytes, kind, expected));
  return bytes;
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
  await sizeOf(path, kind);
  return inFile(path, async () => readHeader(await readHead(path), kind, expected).header);
}

async function readHead(path: string): Promise<Uint8Array> {
  const file = await open(path).catch((cause) => {
    throw unreadable(path, cause);
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Reads and checks a manifest.
 *
 * @throws BlindbeatError FILE or FORMAT
 */
export async function readManifest(path: string): Promise<Manifest> {
  return readJson(path, 'manifest', parseManifest);
}

/**
 * Reads the costs that `blindbeat bench --calibrate` wrote.
 *
 * @throws BlindbeatError FILE or FORMAT
 */
export async function readCosts(path: string): Promise<Costs> {
  return readJson(path, 'cost file', (value) => parseCalibration(value).costs);
}

async function readJson<T>(
  path: string,
  what: 'manifest' | 'cost file',
  parse: (value: unknown) => T,
): Promise<T> {
  const size = await sizeOf(path, what);
  if (size > MAX_JSON_BYTES) {
    throw new BlindbeatError(
      'FORMAT',
      `${path}: expected a blindbeat ${what} of a few kB, but the file has ${formatBytes(size)}`,
    );
  }
  const text = new TextDecoder().decode(await read(path));
  return inFile(path, async () => parse(parseJson(text)));
}

/**
 * Refuses ECG files that are larger than any ECG, before they are read.
 *
 * @throws BlindbeatError ECG
 */
export async function requireEcgSize(path: string): Promise<void> {
  const size = await stat(path).then(
    (s) => s.size,
    () => 0, // what is missing is for the reader to explain
  );
  if (size > MAX_ECG_BYTES) {
    throw new BlindbeatError(
      'ECG',
      `${path} has ${formatBytes(size)}; an ECG file may have up to ${formatBytes(MAX_ECG_BYTES)}. Cut the part out that matters.`,
    );
  }
}

/** Whether others may read a file; false where the system does not say. */
export async function isReadableByOthers(path: string): Promise<boolean> {
  return process.platform !== 'win32' && ((await stat(path)).mode & 0o077) !== 0;
}

/** Runs what reads a file's content; its errors name the file. */
export async function inFile<T>(path: string, f: () => T | Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (cause) {
    if (!(cause instanceof BlindbeatError) || cause.message.startsWith(path)) throw cause;
    throw new BlindbeatError(cause.code, `${path}: ${cause.message}`, { cause });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new BlindbeatError('FORMAT', 'not a usable manifest: it is no JSON', { cause });
  }
}

async function sizeOf(path: string, kind: Kind | 'manifest' | 'cost file'): Promise<number> {
  const found = await stat(path).catch((cause) => {
    const reason = cause.code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${cause.code})`;
    throw new BlindbeatError('FILE', `Expected a blindbeat ${kind} at ${path}: ${reason}. Check the path.`, {
      cause,
    });
  });
  if (found.isFile()) return found.size;
  const instead = found.isDirectory() ? 'a folder' : 'no ordinary file';
  throw new BlindbeatError(
    'FILE',
    `Expected a blindbeat ${kind} at ${path}, which is ${instead}. Give the file itself.`,
  );
}

async function read(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause) => {
    throw unreadable(path, cause);
  });
}

function unreadable(path: string, cause: NodeJS.ErrnoException): BlindbeatError {
  return new BlindbeatError('FILE', `${path} cannot be read (${cause.code}). Check its permissions.`, {
    cause,
  });
}
