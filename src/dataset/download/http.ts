import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlindbeatError } from '../../errors.ts';
import { packageVersion } from '../../measure/version.ts';
import { explain, MAX_REDIRECTS, NetworkError, requireOk } from './network-error.ts';

/** How patient requests are. */
interface Patience {
  /** Until the server's name is found, until it is connected to, until it answers: each. */
  answerMs: number;
  /** Between two pieces of an answer. */
  stallMs: number;
  /** Before the second attempt; doubled before each further one. */
  backoffMs: number;
  /** In a row without progress, the first included. */
  attempts: number;
}

const PATIENCE: Patience = { answerMs: 30_000, stallMs: 60_000, backoffMs: 1000, attempts: 5 };

/** How to ask, whom to tell, and when to give up. */
export interface RequestOptions {
  signal?: AbortSignal;
  /** Default: 30 s for an answer, 60 s between pieces, 5 attempts, 1 s before the second. */
  patience?: Partial<Patience>;
  onRetry?(error: NetworkError, waitMs: number): void;
}

interface GetOptions extends RequestOptions {
  /** Asked before each attempt. */
  headers?(): Record<string, string>;
  /** Bytes that are there now: when they are 64 kB more, attempts are counted anew. */
  received?(): number;
}

type Use<T> = (answer: Answer) => Promise<T>;

/** An answer of any status. */
export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  /** As it is stored, not compressed. What is not read of it is not fetched. */
  body: AsyncIterable<Uint8Array>;
}

const PROGRESS_BYTES = 1 << 16;

/**
 * GETs an address and hands the answer to `use`; again if one of them fails for a reason that may pass, each
 * time after twice as long, or as long as the server asks for. Redirects are followed to https or within the
 * same origin only.
 *
 * @throws NetworkError (ENVIRONMENT) if no answer comes, or not all of it; what `use` throws; what `signal`
 * was aborted with
 */
export async function get<T>(url: string, options: GetOptions, use: Use<T>): Promise<T> {
  const { signal, received = () => 0 } = options;
  const { attempts, backoffMs } = { ...PATIENCE, ...options.patience };
  let mark = received();
  for (let failed = 1; ; failed++) {
    try {
      return await getOnce(url, options, use);
    } catch (error) {
      if (!(error instanceof NetworkError && error.retry)) throw error;
      if (received() - mark >= PROGRESS_BYTES) {
        mark = received();
        failed = 1;
      }
      if (failed >= attempts) throw error;
      const waitMs = error.retry.afterMs ?? backoffMs * 2 ** (failed - 1);
      options.onRetry?.(error, waitMs);
      await sleep(waitMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

async function getOnce<T>(url: string, options: GetOptions, use: Use<T>): Promise<T> {
  // Imported when it is needed: that takes 70 ms, for which other commands need not wait.
  const { default: got, RequestError, TimeoutError } = await import('got');
  const { answerMs, stallMs } = { ...PATIENCE, ...options.patience };
  const body = got.stream(url, {
    // physionet.org is said to turn away clients that do not say who they are.
    headers: {
      'user-agent': `blindbeat/${packageVersion()}`,
      'accept-encoding': 'identity',
      ...options.headers?.(),
    },
    decompress: false,
    throwHttpErrors: false,
    retry: { limit: 0 }, // got's own does not count anew after progress
    maxRedirects: MAX_REDIRECTS,
    hooks: { beforeRedirect: [(next, from) => requireSafe(url, new URL(from.url), new URL(next.url ?? ''))] },
    timeout: {
      lookup: answerMs,
      connect: answerMs,
      secureConnect: answerMs,
      response: answerMs,
      socket: stallMs,
    },
    signal: options.signal,
  });
  body.on('error', () => {}); // it also comes to whoever waits for the answer or reads the body
  try {
    const [{ statusCode, headers }] = await once(body, 'response');
    return await use({ status: statusCode, headers, body });
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (options.signal?.aborted) throw options.signal.reason;
    if (error.cause instanceof BlindbeatError) throw error.cause;
    if (!(error instanceof TimeoutError)) throw explain(url, error);
    const what = error.response
      ? `nothing more came for ${stallMs / 1000} s`
      : `no answer in ${answerMs / 1000} s`;
    throw new NetworkError(url, what, { retry: {}, cause: error });
  } finally {
    body.destroy();
  }
}

function requireSafe(url: string, from: URL, to: URL): void {
  if (to.protocol === 'https:' || to.origin === from.origin) return;
  throw new NetworkError(url, `it redirects to ${to.origin}, and only https is followed to other hosts`);
}

/**
 * GETs a text of at most `maxBytes`, UTF-8, or null if the server has none of that name.
 *
 * @throws NetworkError (ENVIRONMENT) if it does not come, or is longer; what `signal` was aborted with
 */
export function getText(url: string, maxBytes: number, options: RequestOptions = {}): Promise<string | null> {
  return get(url, options, async ({ status, headers, body }) => {
    // Storage services say 403 for names that they do not know.
    if ([403, 404, 410].includes(status)) return null;
    requireOk(url, status, headers);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of body) {
      pieces.push(chunk);
      size += chunk.length;
      if (size > maxBytes) throw new NetworkError(url, `it has more than the ${maxBytes} bytes expected`);
    }
    return new TextDecoder().decode(Buffer.concat(pieces));
  });
}
