import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Header, readContainer } from '../ckks/wire/container.ts';
import { bodySizes } from '../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import { requestDigest } from '../ckks/wire/reply.ts';
import { BlindbeatError, type ErrorCode } from '../errors.ts';
import { inFile } from '../files/input.ts';
import { makeFolder, writeOutput } from '../files/output.ts';
import { concurrently } from './concurrently.ts';
import { readContainerFile, readHeaderFile } from './container-files.ts';
import type { Inference, ServerReply } from './transport.ts';

/** A request's file, and where its reply goes. */
export interface RequestFile {
  path: string;
  out: string;
  header: Header<'request'>;
}

/** The requests that a path leads to. */
export interface RequestFiles {
  requests: RequestFile[];
  /** Other files of the folder. */
  others: string[];
}

/** What became of requests. */
export interface Answered {
  /** In no order. */
  replies: Omit<ServerReply, 'reply'>[];
  /** Had a reply from an earlier run. */
  before: number;
  /** They name the file. */
  failures: BlindbeatError[];
}

/** Failures of one request, after which the others may still be answered. */
const OF_ONE_REQUEST: ErrorCode[] = ['FILE', 'FORMAT', 'MISMATCH', 'POISON'];

/**
 * The one request of a file, whose reply goes to `out`; or those of a folder, in the order of their names, whose
 * replies go into the folder `out`, which is made: NAME.reply for NAME.
 *
 * @throws BlindbeatError FILE when there is none; FORMAT for a file that is none
 */
export async function findRequests(path: string, out: string): Promise<RequestFiles> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder)
    return { requests: [{ path, out, header: await readHeaderFile(path, 'request') }], others: [] };
  const found: RequestFiles = { requests: [], others: [] };
  for (const name of (await readdir(path)).sort()) {
    const file = join(path, name);
    try {
      const header = await readHeaderFile(file, 'request');
      found.requests.push({ path: file, out: join(out, `${basename(file)}.reply`), header });
    } catch (error) {
      if (!(error instanceof BlindbeatError)) throw error;
      found.others.push(file);
    }
  }
  if (found.requests.length === 0)
    throw new BlindbeatError(
      'FILE',
      `Expected requests in ${path}, made by \`blindbeat encrypt\`: there are none.`,
    );
  await makeFolder(out);
  return found;
}

/**
 * Has requests evaluated, several at a time, and writes their replies; those that have one already are left out, so
 * that a run that was ended can be taken up.
 *
 * @param onReply told how many are done
 * @throws BlindbeatError of a failure that is not of one request alone; the signal's reason
 */
export async function answerRequests(
  inference: Inference,
  manifest: ParsedManifest,
  requests: RequestFile[],
  { atOnce, signal, onReply }: { atOnce: number; signal: AbortSignal; onReply: (done: number) => void },
): Promise<Answered> {
  const answered: Answered = { replies: [], before: 0, failures: [] };
  let done = 0;
  await concurrently(requests, { atOnce, signal }, async ({ path, out, header }, _, signal) => {
    try {
      const request = await readContainerFile(path, 'request', manifest, header.keyId);
      const expected = { ...header, request: requestDigest(request), bodyBytes: bodySizes(manifest).reply };
      if (await isAnswered(out, expected.request)) answered.before++;
      else {
        const { reply, ...told } = await inference.infer(request, { signal });
        await inFile(path, () => readContainer(reply, 'reply', expected));
        await writeOutput(out, reply);
        answered.replies.push(told);
      }
    } catch (error) {
      if (!(error instanceof BlindbeatError && OF_ONE_REQUEST.includes(error.code))) throw error;
      answered.failures.push(failure(path, error));
    }
    onReply(++done);
  });
  return answered;
}

function failure(path: string, { code, message }: BlindbeatError): BlindbeatError {
  return new BlindbeatError(code, message.startsWith(path) ? message : `${path}: ${message}`);
}

async function isAnswered(out: string, request: string): Promise<boolean> {
  if (!existsSync(out)) return false;
  return readHeaderFile(out, 'reply', { request }).then(
    () => true,
    () => false,
  );
}
