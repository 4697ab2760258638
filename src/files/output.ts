import { randomUUID } from 'node:crypto';
import { access, constants, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BlindbeatError } from '../errors.ts';
import { temporaryName } from './leftovers.ts';

/** A text (UTF-8), bytes, or bytes piece by piece, each made when it is written. */
type Content = string | Uint8Array | Iterable<Uint8Array>;

/** How a file is written. */
export interface OutputOptions {
  /** Permissions; default those of the user's umask. */
  mode?: number;
  /** Called between the pieces of a long file, so that it can be given up. */
  signal?: AbortSignal;
}

/**
 * Files that appear together or not at all: each is written under a temporary name in its own folder, and
 * synced, and `commit` renames them. Without a commit the old files stay as they were and nothing is left
 * behind.
 */
export class OutputFiles implements AsyncDisposable {
  readonly #written: { temporary: string; path: string }[] = [];

  /**
   * Writes a file that `commit` will give its name.
   *
   * @throws BlindbeatError FILE if it cannot be written, INTERRUPTED when `signal` is aborted; what `content`
   * throws
   */
  async write(path: string, content: Content, options: OutputOptions = {}): Promise<void> {
    await requireWritable(path);
    const temporary = join(dirname(path), temporaryName(basename(path), randomUUID().slice(0, 8)));
    this.#written.push({ temporary, path });
    await explainWriting(path, async () => {
      const file = await open(temporary, 'wx', options.mode ?? 0o666);
      try {
        for (const piece of pieces(content)) {
          await file.writeFile(piece);
          if (options.signal?.aborted)
            throw new BlindbeatError('INTERRUPTED', 'interrupted; nothing was written');
        }
        await file.sync();
      } finally {
        await file.close();
      }
    });
  }

  /**
   * Gives every file its name, in the order in which they were written.
   *
   * @throws BlindbeatError FILE if one cannot get it; those before it have theirs
   */
  async commit(): Promise<void> {
    while (this.#written.length > 0) {
      const { temporary, path } = this.#written[0];
      await explainWriting(path, () => rename(temporary, path));
      this.#written.shift();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { temporary } of this.#written.splice(0)) await rm(temporary, { force: true }).catch(() => {});
  }
}

/**
 * Writes one file; an older one of that name is replaced only by a complete new one.
 *
 * @throws as `OutputFiles.write`
 */
export async function writeOutput(
  path: string,
  content: Content,
  options: OutputOptions = {},
): Promise<void> {
  await using files = new OutputFiles();
  await files.write(path, content, options);
  await files.commit();
}

/**
 * For commands whose output must not replace their input, or another output.
 *
 * @throws BlindbeatError USAGE if both paths, of which the other may be missing, lead to one file
 */
export function requireDistinct(out: string, other: string | undefined): void {
  if (other !== undefined && resolve(out) === resolve(other)) {
    throw new BlindbeatError('USAGE', `${out} is another file of the same command: choose another name`);
  }
}

/**
 * Makes a folder and those above it, if they are not there.
 *
 * @throws BlindbeatError FILE if it cannot be made
 */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw new BlindbeatError('FILE', `the folder ${folder} cannot be made (${cause.code})`, { cause });
  });
}

/**
 * Refuses, before long work, a path where a file cannot be written, as far as can be seen.
 *
 * @throws BlindbeatError FILE if its folder is missing or not writable, or a folder has the name
 */
export async function requireWritable(path: string): Promise<void> {
  await explainWriting(path, async () => {
    await access(dirname(resolve(path)), constants.W_OK);
    const old = await stat(path).catch((cause) => {
      if (cause.code === 'ENOENT') return null;
      throw cause;
    });
    if (old?.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
  });
}

function* pieces(content: Content): Iterable<string | Uint8Array> {
  if (typeof content === 'string' || content instanceof Uint8Array) yield content;
  else yield* content;
}

/**
 * Runs what writes `path`, and puts the system's usual refusals (disk full, no such folder) into words.
 *
 * @throws BlindbeatError FILE for those; anything else as it was thrown
 */
export async function explainWriting<T>(path: string, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (cause instanceof BlindbeatError || code === undefined || !(code in REASONS)) throw cause;
    throw new BlindbeatError('FILE', `${path} cannot be written: ${REASONS[code]}.`, { cause });
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'a part of the path is no folder',
  EISDIR: 'there is a folder of this name',
  EACCES: 'it is not yours to write',
  EPERM: 'it is not yours to write',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'your share of the disk is full',
  ENAMETOOLONG: 'the name is too long',
};
