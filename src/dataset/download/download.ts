import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { BlindbeatError } from '../../errors.ts';
import { explainWriting, requireWritable } from '../../files/output.ts';
import { formatBytes } from '../../measure/format.ts';
import { type Answer, get, type RequestOptions } from './http.ts';
import { NetworkError, requireOk } from './network-error.ts';
import { PartFile } from './part-file.ts';

/** What a file must be: at least one of the two is given. */
export interface Expected {
  bytes?: number;
  /** Hexadecimal. */
  sha256?: string;
}

/** What to accept, how patiently, and whom to tell. */
export interface DownloadOptions extends RequestOptions {
  expected: Expected;
  /** Nothing larger is fetched if `expected` tells no size. */
  maxBytes: number;
  /** A body begins: bytes that were there before, and of the whole file if the server tells. */
  onBody?(from: number, total?: number): void;
  /** Bytes that are there now. */
  onProgress?(bytes: number): void;
}

/** A file that is there, and is what was expected. */
export interface Downloaded {
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** `there`: nothing was fetched. `resumed`: some of it was there. */
  status: 'downloaded' | 'resumed' | 'there';
}

/**
 * Downloads a file to `path`, which appears only when it is complete and is what was expected. What has come
 * when it is interrupted stays in `path.part`; a later call goes on from there if the server still has the
 * same file.
 *
 * @throws BlindbeatError FILE if the disk refuses, or another file has the name; ENVIRONMENT if the server or
 * the network does, or the file is not the expected one; INTERRUPTED, with words about what is kept, if
 * `signal` was aborted with that, or else what it was aborted with
 */
export async function download(url: string, path: string, options: DownloadOptions): Promise<Downloaded> {
  const { expected } = options;
  const there = await checkExisting(path, expected);
  if (there) return { ...there, status: 'there' };
  await requireWritable(path);
  const part = await PartFile.open(path, url);
  if (part.size === 0 || part.size !== part.total) await fetchMissing(part, url, options);
  const got = { bytes: part.size, sha256: await explainWriting(part.path, () => sha256Of(part.path)) };
  if (!fits(got, expected)) {
    await part.discard();
    throw new BlindbeatError(
      'ENVIRONMENT',
      `${url} is not the file that was expected: ${describe(expected)}; got ${describe(got)}. ` +
        'It was removed. Download it again; ' +
        "if that gives the same, the server's file is damaged or another one.",
    );
  }
  await part.commit();
  return { ...got, status: part.resumed ? 'resumed' : 'downloaded' };
}

/** Requests until nothing is missing; an error says what is kept and how to go on. */
async function fetchMissing(part: PartFile, url: string, options: DownloadOptions): Promise<void> {
  const request = { ...options, headers: () => part.rangeHeaders, received: () => part.size };
  try {
    await get(url, request, async (answer) => {
      await receive(part, url, answer, options);
    });
  } catch (error) {
    const kept = await part.keep();
    const interrupted = error instanceof BlindbeatError && error.code === 'INTERRUPTED';
    if (!interrupted && !(error instanceof NetworkError)) throw error;
    const words = kept
      ? `${formatBytes(part.size)} are kept in ${part.path}; the same command goes on from there.`
      : 'Nothing is kept of it.';
    const message = `${error.message}${interrupted ? '. ' : ' '}${words}`;
    throw new BlindbeatError(error.code, message, { cause: error });
  }
}

/** What is here is worth nothing beside what the server has. */
class MismatchError extends NetworkError {}

/** Puts what one answer brings into the part. */
async function receive(part: PartFile, url: string, answer: Answer, options: DownloadOptions): Promise<void> {
  const { bytes } = options.expected;
  const limit = bytes ?? options.maxBytes;
  const right = bytes ?? `at most ${limit}`;
  const wrongSize = (size: number) =>
    new MismatchError(url, `it is another file: expected ${right} bytes, the server has ${size}`);
  try {
    const total = await begin(part, url, answer);
    if (total !== undefined && (total > limit || total !== (bytes ?? total))) throw wrongSize(total);
    options.onBody?.(part.size, total);
    for await (const chunk of answer.body) {
      const size = part.size + chunk.length;
      if (size > (total ?? limit)) throw wrongSize(size);
      await part.append(chunk);
      options.onProgress?.(size);
    }
    if (part.size < (total ?? 0)) throw new NetworkError(url, 'the connection ended early', { retry: {} });
  } catch (error) {
    if (error instanceof MismatchError) await part.discard();
    throw error;
  }
}

/** Makes the part ready for an answer's body; gives the bytes of the whole file if they are known. */
async function begin(part: PartFile, url: string, { status, headers }: Answer): Promise<number | undefined> {
  const anew = { retry: { afterMs: 0 } };
  if (status === 416 && part.size > 0) {
    throw new MismatchError(url, 'the server has less of it than is here', anew);
  }
  requireOk(url, status, headers);
  if (/^text\/html\b/.test(headers['content-type'] ?? '')) {
    throw new NetworkError(url, 'a web page came instead of the file, such as the login page of a network');
  }
  if (status === 206 && part.size > 0) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '') ?? [];
    if (Number(from) === part.size && Number(total) === part.total) return part.total;
    throw new MismatchError(url, 'the server sent another part than was asked for', anew);
  }
  if (status !== 200) {
    throw new NetworkError(url, `expected the whole file, the server answers ${status}`);
  }
  const length = headers['content-length'] ?? '';
  // Of a body that is compressed all the same, the file's size is not known.
  const total = /^\d+$/.test(length) && !headers['content-encoding'] ? Number(length) : undefined;
  await part.restart(validatorOf(headers), total);
  return total;
}

/** What If-Range may carry: a strong ETag, or else the date. */
function validatorOf(headers: IncomingHttpHeaders): string | undefined {
  return headers.etag?.startsWith('"') ? headers.etag : headers['last-modified'];
}

/**
 * A file that is there already, if it is the right one.
 *
 * @throws BlindbeatError FILE for another one, which is not ours to replace
 */
async function checkExisting(path: string, expected: Expected): Promise<Required<Expected> | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return undefined;
  const sha256 = await sha256Of(path).catch((cause) => {
    throw new BlindbeatError('FILE', `${path} is there, but cannot be read (${cause.code}).`, { cause });
  });
  const got = { bytes: found.size, sha256 };
  if (fits(got, expected)) return got;
  throw new BlindbeatError(
    'FILE',
    `${path} is there already, but is another file: expected ${describe(expected)}; got ${describe(got)}. ` +
      'Move it away, or choose another folder.',
  );
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

function fits(got: Required<Expected>, expected: Expected): boolean {
  return got.bytes === (expected.bytes ?? got.bytes) && got.sha256 === (expected.sha256 ?? got.sha256);
}

function describe({ bytes, sha256 }: Expected): string {
  return [bytes !== undefined && `${bytes} bytes`, sha256 && `SHA-256 ${sha256}`].filter(Boolean).join(', ');
}
