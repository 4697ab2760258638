import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { BlindbeatError } from '../../errors.ts';
import { requireWritable } from '../../files/output.ts';
import { formatBytes } from '../../measure/format.ts';
import { type Answer, get, NetworkError, type RequestOptions, retrying } from './http.ts';
import { PartFile } from './part-file.ts';

/** What a file must be; at least one of the two. */
export interface Expected {
  bytes?: number;
  /** Hexadecimal. */
  sha256?: string;
}

export interface DownloadOptions extends RequestOptions {
  expected: Expected;
  /** Nothing larger is fetched. */
  maxBytes: number;
  /** A body begins: bytes that were there before, and of the whole file if the server tells. */
  onBody?(from: number, total?: number): void;
  /** Bytes that are there now. */
  onProgress?(bytes: number): void;
  onRetry?(error: NetworkError, waitMs: number): void;
}

export interface Downloaded {
  bytes: number;
  sha256: string;
  /** `there`: nothing was fetched. */
  status: 'downloaded' | 'resumed' | 'there';
}

/** What counts as progress, so that attempts are counted anew. */
const PROGRESS_BYTES = 1 << 16;

/**
 * Downloads a file to `path`, which appears only when it is complete and is what was expected. What has come when it
 * is interrupted stays in `path.part`; a later call goes on from there if the server still has the same file.
 *
 * @throws BlindbeatError FILE if the disk refuses, or another file has the name; ENVIRONMENT (NetworkError) if the
 * server or the network does, or the file is not the expected one; what `signal` was aborted with
 */
export async function download(url: string, path: string, options: DownloadOptions): Promise<Downloaded> {
  const { expected } = options;
  const there = await checkExisting(path, expected);
  if (there) return { ...there, status: 'there' };
  await requireWritable(path);
  await using part = await PartFile.open(path, url);
  try {
    let mark = part.size;
    const progressed = () => {
      const enough = part.size - mark >= PROGRESS_BYTES;
      if (enough) mark = part.size;
      return enough;
    };
    const attempt = () => fetchInto(part, url, options);
    if (!part.complete) await retrying(options, attempt, options.onRetry, progressed);
  } catch (error) {
    throw withKept(error, part);
  }
  const got = { bytes: part.size, sha256: part.digest() };
  if (!fits(got, expected)) {
    await part.discard();
    throw new BlindbeatError(
      'ENVIRONMENT',
      `${url} is not the file that was expected: ${describe(expected)}; got ${describe(got)}. It was removed. Download it again; if that gives the same, the server's file is damaged or another one.`,
    );
  }
  await part.commit();
  return { ...got, status: part.resumed ? 'resumed' : 'downloaded' };
}

/** One request for what is missing. */
async function fetchInto(part: PartFile, url: string, options: DownloadOptions): Promise<void> {
  const headers: Record<string, string> = {};
  if (part.origin && part.size > 0) {
    headers.range = `bytes=${part.size}-`;
    headers['if-range'] = part.origin.validator; // another file now: then the whole of it comes
  }
  const answer = await get(url, { ...options, headers }).catch(async (error) => {
    if (!(error instanceof NetworkError && error.status === 416 && part.size > 0)) throw error;
    await part.discard();
    throw new NetworkError(url, 'the server has less of it than is here', { retry: { afterMs: 0 } });
  });
  if (/^text\/html\b/.test(answer.headers.get('content-type') ?? '')) {
    await answer.cancel();
    throw new NetworkError(url, 'a web page came instead of the file, such as the login page of a network');
  }
  if (answer.status === 206 && part.size > 0) await requireRest(url, answer, part);
  else if (answer.status === 200) await part.restart(validatorOf(answer.headers), lengthOf(answer.headers));
  else throw new NetworkError(url, `expected the whole file, the server answers ${answer.status}`);
  await receive(part, url, answer, options);
}

async function receive(part: PartFile, url: string, answer: Answer, options: DownloadOptions): Promise<void> {
  const { bytes } = options.expected;
  const limit = bytes ?? options.maxBytes;
  const total = answer.status === 206 ? part.origin?.total : lengthOf(answer.headers);
  if (total !== undefined && (total > limit || (bytes !== undefined && total !== bytes))) {
    await answer.cancel();
    await part.discard();
    throw wrongSize(url, total, options);
  }
  options.onBody?.(part.size, total);
  for await (const chunk of answer.chunks) {
    const size = part.size + chunk.length;
    if (size > (total ?? limit)) {
      await part.discard();
      throw wrongSize(url, size, options);
    }
    await part.append(chunk);
    options.onProgress?.(part.size);
  }
  if (total !== undefined && part.size < total) {
    throw new NetworkError(url, 'the connection ended early', { retry: {} });
  }
}

/** A part that does not begin where ours ends, or is of another file, is worth nothing: begin anew. */
async function requireRest(url: string, answer: Answer, part: PartFile): Promise<void> {
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers.get('content-range') ?? '');
  if (range && Number(range[1]) === part.size && Number(range[3]) === part.origin?.total) return;
  await answer.cancel();
  await part.discard();
  throw new NetworkError(url, 'the server sent another part than was asked for', { retry: { afterMs: 0 } });
}

/** What If-Range may carry: a strong ETag, or else the date. */
function validatorOf(headers: Headers): string | null {
  const etag = headers.get('etag');
  return etag?.startsWith('"') ? etag : headers.get('last-modified');
}

/** Unknown if the body is compressed all the same. */
function lengthOf(headers: Headers): number | undefined {
  const length = headers.get('content-length') ?? '';
  return /^\d+$/.test(length) && !headers.get('content-encoding') ? Number(length) : undefined;
}

/**
 * A file that is there already, if it is the right one.
 *
 * @throws BlindbeatError FILE for another one, which is not ours to replace
 */
async function checkExisting(path: string, expected: Expected) {
  const found = await stat(path).catch(() => null);
  if (!found?.isFile()) return null;
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new BlindbeatError('FILE', `${path} is there, but cannot be read (${code}).`, { cause });
  }
  const got = { bytes: found.size, sha256: hash.digest('hex') };
  if (fits(got, expected)) return got;
  throw new BlindbeatError(
    'FILE',
    `${path} is there already, but is another file: expected ${describe(expected)}; got ${describe(got)}. Move it away, or choose another folder.`,
  );
}

function fits(got: Required<Expected>, expected: Expected): boolean {
  return got.bytes === (expected.bytes ?? got.bytes) && got.sha256 === (expected.sha256 ?? got.sha256);
}

function describe({ bytes, sha256 }: Expected): string {
  return [bytes !== undefined && `${bytes} bytes`, sha256 && `SHA-256 ${sha256}`].filter(Boolean).join(', ');
}

function wrongSize(url: string, got: number, { expected, maxBytes }: DownloadOptions): NetworkError {
  const right = expected.bytes === undefined ? `at most ${maxBytes}` : `${expected.bytes}`;
  return new NetworkError(url, `it is another file: expected ${right} bytes, the server has ${got}`);
}

/** The error with words about what is kept and how to go on. */
function withKept(error: unknown, part: PartFile): unknown {
  const interrupted = error instanceof BlindbeatError && error.code === 'INTERRUPTED';
  if (!interrupted && !(error instanceof NetworkError)) return error;
  const kept = part.origin !== undefined && part.size > 0;
  const words = kept
    ? `${formatBytes(part.size)} are kept in ${part.path}; the same command goes on from there.`
    : 'Nothing is kept of it.';
  return new BlindbeatError(error.code, `${error.message}${interrupted ? '. ' : ' '}${words}`, {
    cause: error,
  });
}
