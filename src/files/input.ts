import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { BlindbeatError, type ErrorCode } from '../errors.ts';
import { formatBytes } from '../measure/format.ts';

/** What a file that is read must be. */
export interface InputOptions {
  /** In the words of errors: "a WFDB header". */
  what: string;
  /** The most bytes that it may have. */
  limit: number;
  /** Code of the error about a larger file; by default FILE. */
  tooLarge?: ErrorCode;
}

/** The first bytes of a file, and how many it has. */
export interface Head {
  bytes: Uint8Array<ArrayBuffer>;
  size: number;
}

/**
 * The one way in which files are read. A path that leads to no ordinary file (a folder, a device, a pipe, a
 * socket) is neither opened for reading nor waited for, and never are more bytes read than the file had when
 * it was opened.
 *
 * @throws BlindbeatError FILE if there is no such file, it is no ordinary one, it cannot be read or changes
 * meanwhile; `tooLarge` if it is larger than the limit
 */
export async function readWhole(path: string, options: InputOptions): Promise<Uint8Array<ArrayBuffer>> {
  return withFile(path, options, async (file, size) => {
    if (size > options.limit) throw tooLarge(path, size, options);
    const bytes = new Uint8Array(size);
    const got = await fill(file, bytes);
    const { bytesRead: more } = await file.read(new Uint8Array(1), 0, 1, size);
    if (got < size || more > 0) throw changed(path, options);
    return bytes;
  });
}

/**
 * The same piece by piece: one is read while another is used, and is of use until the next is asked for.
 *
 * @throws BlindbeatError as `readWhole`
 */
export async function* readPieces(
  path: string,
  options: InputOptions,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  try {
    await using opened = await openOrdinary(path, options);
    const { file, size } = opened;
    if (size > options.limit) throw tooLarge(path, size, options);
    const rooms = [0, 1].map(() => new Uint8Array(PIECE));
    let got = 0;
    const read = async (room: Uint8Array<ArrayBuffer>, from: number) => {
      const { bytesRead } = await file.read(room, 0, Math.min(PIECE, size - from), from);
      return room.subarray(0, bytesRead);
    };
    let next = read(rooms[0], 0);
    for (let turn = 1; got < size; turn++) {
      const piece = await next;
      if (piece.length === 0) break;
      got += piece.length;
      next = read(rooms[turn % 2], got);
      next.catch(() => {}); // told when it is waited for
      yield piece;
    }
    await next;
    const { bytesRead: more } = await file.read(new Uint8Array(1), 0, 1, size);
    if (got < size || more > 0) throw changed(path, options);
  } catch (cause) {
    throw explained(path, options, cause);
  }
}

/**
 * A part of a file that must have `size` bytes.
 *
 * @param from the first byte
 * @param to the byte behind the last one
 * @throws BlindbeatError FILE as `readWhole`, and for a file of another size
 */
export async function readRange(
  path: string,
  [from, to]: [from: number, to: number],
  { what, size: expected }: What & { size: number },
): Promise<Uint8Array<ArrayBuffer>> {
  return withFile(path, { what }, async (file, size) => {
    const bytes = new Uint8Array(to - from);
    if (size !== expected || (await fill(file, bytes, from)) < bytes.length) throw changed(path, { what });
    return bytes;
  });
}

/**
 * At most the first `most` bytes of a file, whatever its size.
 *
 * @throws BlindbeatError FILE as `readWhole`
 */
export async function readHead(path: string, most: number, { what }: { what: string }): Promise<Head> {
  return withFile(path, { what }, async (file, size) => {
    const bytes = new Uint8Array(Math.min(most, size));
    return { bytes: bytes.subarray(0, await fill(file, bytes)), size };
  });
}

/**
 * Reads a text that a user names.
 *
 * @param what it is in the words of errors
 * @param limit the most bytes that it may have
 * @throws BlindbeatError FILE
 */
export async function readTextFile(path: string, what: string, limit: number): Promise<string> {
  return new TextDecoder().decode(await readWhole(path, { what, limit }));
}

/**
 * `readWhole` at once, for those that cannot wait.
 *
 * @throws BlindbeatError as `readWhole`
 */
export function readWholeNow(path: string, options: InputOptions): Uint8Array<ArrayBuffer> {
  const before = explain(path, options, () => statSync(path));
  requireOrdinary(path, options, before);
  const file = explain(path, options, () => openSync(path, FLAGS));
  try {
    const found = explain(path, options, () => fstatSync(file));
    requireOrdinary(path, options, found);
    const { size } = found;
    if (size > options.limit) throw tooLarge(path, size, options);
    return explain(path, options, () => {
      const bytes = new Uint8Array(size);
      let got = 0;
      for (let count = 1; got < size && count > 0; got += count)
        count = readSync(file, bytes, got, Math.min(MOST_AT_ONCE, size - got), got);
      if (got < size || readSync(file, new Uint8Array(1), 0, 1, size) > 0) throw changed(path, options);
      return bytes;
    });
  } finally {
    closeSync(file);
  }
}

/** Whether a path leads to an ordinary file. */
export function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
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

/** A pipe that took a file's place since it was looked at is opened without waiting. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
/** The system reads no more in one call. */
const MOST_AT_ONCE = 2 ** 30;

/** Bytes of a piece of `readPieces`. */
const PIECE = 1 << 20;

type What = Pick<InputOptions, 'what'>;

interface OpenFile extends AsyncDisposable {
  file: FileHandle;
  size: number;
}

async function withFile<T>(
  path: string,
  options: What,
  use: (file: FileHandle, size: number) => Promise<T>,
): Promise<T> {
  try {
    await using opened = await openOrdinary(path, options);
    return await use(opened.file, opened.size);
  } catch (cause) {
    throw explained(path, options, cause);
  }
}

/**
 * Looks before it opens, because to open a device can do something, and again at what it opened. The caller closes
 * the file.
 */
async function openOrdinary(path: string, options: What): Promise<OpenFile> {
  requireOrdinary(path, options, await stat(path));
  await using owned = new AsyncDisposableStack();
  const file = owned.use(await open(path, FLAGS));
  const found = await file.stat();
  requireOrdinary(path, options, found);
  const held = owned.move();
  return { file, size: found.size, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

async function fill(file: FileHandle, bytes: Uint8Array, from = 0): Promise<number> {
  let got = 0;
  while (got < bytes.length) {
    const length = Math.min(MOST_AT_ONCE, bytes.length - got);
    const { bytesRead } = await file.read(bytes, got, length, from + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return got;
}

function explain<T>(path: string, options: What, f: () => T): T {
  try {
    return f();
  } catch (cause) {
    throw explained(path, options, cause);
  }
}

function requireOrdinary(path: string, { what }: What, found: Stats): void {
  if (found.isFile()) return;
  throw new BlindbeatError(
    'FILE',
    `Expected ${what} at ${path}, which is ${kindOf(found)}. Give the path of an ordinary file.`,
  );
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a pipe';
  if (found.isSocket()) return 'a socket';
  return found.isCharacterDevice() || found.isBlockDevice() ? 'a device' : 'no ordinary file';
}

function tooLarge(path: string, size: number, { what, limit, tooLarge = 'FILE' }: InputOptions) {
  return new BlindbeatError(
    tooLarge,
    `Expected ${what} of at most ${formatBytes(limit)} at ${path}, which has ${formatBytes(size)}. ` +
      'Is it the right file? If so, cut the part out that matters.',
  );
}

function changed(path: string, { what }: What): BlindbeatError {
  return new BlindbeatError(
    'FILE',
    `Expected ${what} at ${path}, which changed while it was read: wait until it is written, and try again.`,
  );
}

function explained(path: string, { what }: What, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  if (cause instanceof BlindbeatError || typeof code !== 'string') return cause;
  const problem = REASONS[code] ?? `it cannot be read (${code})`;
  return new BlindbeatError('FILE', `Expected ${what} at ${path}: ${problem}. Check the path.`, { cause });
}

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of the path is no folder',
  EACCES: 'it is not yours to read',
  EPERM: 'it is not yours to read',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'the name is too long',
  ERR_INVALID_ARG_VALUE: 'no file can have this name',
};
