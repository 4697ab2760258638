import { concat } from '../../ckks/wire/container.ts';
import { BlindbeatError } from '../../errors.ts';
import { lossOf, refusalOf, ServiceError } from './service-error.ts';

/** How patient requests are, in milliseconds. */
export interface Patience {
  /** For an answer to a question without work. */
  answerMs: number;
  /** For an answer to what takes work: a piece of keys that goes up, a request that is evaluated. */
  workMs: number;
  /** Before the second attempt; doubled before each further one, up to 15 s, each a little more or less. */
  backoffMs: number;
  /** From the first failure in a row: what fails later than that is not tried again. */
  giveUpMs: number;
}

const PATIENCE: Patience = { answerMs: 30_000, workMs: 180_000, backoffMs: 500, giveUpMs: 60_000 };
const MOST_BACKOFF_MS = 15_000;

/** How to ask a service. */
export interface HttpOptions {
  /** A bearer token, where the service wants one. */
  token?: string;
  /** Default: 30 s for an answer, 180 s for work, 0.5 s before the second attempt, none after 60 s. */
  patience?: Partial<Patience>;
  /** Told before each further attempt. */
  onRetry?(error: BlindbeatError, waitMs: number): void;
}

/** What is asked. */
export interface Question {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** Behind the service's address. */
  path: string;
  headers?: Record<string, string>;
  body?: Uint8Array<ArrayBuffer>;
  /** The most bytes that the answer may have. */
  limit: number;
  /** Whether the answer takes work. */
  work?: boolean;
  signal?: AbortSignal;
}

/** A 2xx. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Uint8Array<ArrayBuffer>;
  /** Milliseconds of the attempt that succeeded: until the answer began, and until all of it was here. */
  beganMs: number;
  endedMs: number;
}

/** More than any refusal says. */
const MOST_REFUSAL_BYTES = 1 << 16;

/** Asks one service over `fetch`, and again where a failure may pass. */
export class HttpClient {
  /** The service's address, without a slash at its end. */
  readonly url: string;
  readonly #options: HttpOptions;
  readonly #patience: Patience;
  #reached = false;

  /**
   * @param url may have a path in front of the service's own
   * @throws BlindbeatError USAGE for what is no address
   */
  constructor(url: string, options: HttpOptions = {}) {
    this.url = addressOf(url);
    this.#options = options;
    this.#patience = { ...PATIENCE, ...options.patience };
    requireToken(options.token);
  }

  /**
   * Asks until there is an answer, or no hope of one.
   *
   * @throws ServiceError with the code of the service's refusal; ENVIRONMENT when it does not answer; the signal's
   * reason
   */
  ask(question: Question): Promise<Answer> {
    return this.persist(() => this.askOnce(question), question.signal);
  }

  /**
   * Tries something until it succeeds, or there is no hope.
   *
   * @param attempt is told how many failed before
   * @throws what `attempt` throws that cannot pass, or did not in time; the signal's reason
   */
  async persist<T>(attempt: (failed: number) => Promise<T>, signal?: AbortSignal): Promise<T> {
    let failingSince = Number.POSITIVE_INFINITY;
    for (let failed = 0; ; ) {
      try {
        return await attempt(failed);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ServiceError && error.retry)) throw error;
        failingSince = Math.min(failingSince, performance.now());
        const backoff = Math.min(this.#patience.backoffMs * 2 ** failed++, MOST_BACKOFF_MS);
        // Not all at the same moment, where many were turned away.
        const waitMs = (error.retry.afterMs ?? backoff) * (1 + Math.random() / 4);
        if (performance.now() + waitMs - failingSince > this.#patience.giveUpMs) throw error;
        this.#options.onRetry?.(error, waitMs);
        await sleep(waitMs, signal);
      }
    }
  }

  /**
   * Asks once.
   *
   * @throws ServiceError as `ask`
   */
  async askOnce({ method, path, headers, body, limit, work, signal }: Question): Promise<Answer> {
    const { answerMs, workMs } = this.#patience;
    const { token } = this.#options;
    const timeoutMs = work ? workMs : answerMs;
    const timeout = AbortSignal.timeout(timeoutMs);
    const started = performance.now();
    try {
      const response = await fetch(`${this.url}${path}`, {
        method,
        headers: {
          ...(body && { 'content-type': 'application/octet-stream' }),
          ...headers,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
        body,
        redirect: 'manual', // a token and a request are for the one who was named
        cache: 'no-store',
        credentials: 'omit',
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      const beganMs = performance.now() - started;
      this.#reached = true;
      this.#requireNoRedirect(response);
      const content = await readBody(response, response.ok ? limit : MOST_REFUSAL_BYTES, this.url);
      const endedMs = performance.now() - started;
      if (!response.ok) throw refusalOf(this.url, response.status, response.headers, content);
      return { status: response.status, headers: response.headers, body: content, beganMs, endedMs };
    } catch (cause) {
      if (cause instanceof BlindbeatError) throw cause;
      if (timeout.aborted)
        throw new ServiceError('ENVIRONMENT', `${this.url}: no answer in ${timeoutMs / 1000} s`, {
          retry: {},
          cause,
        });
      throw lossOf(this.url, cause, this.#reached);
    }
  }

  #requireNoRedirect({ type, status, headers }: Response): void {
    if (type !== 'opaqueredirect' && (status < 300 || status > 399)) return;
    const place = headers.get('location');
    const to = place === null ? '' : ` to ${place}`;
    throw new ServiceError(
      'ENVIRONMENT',
      `${this.url} leads elsewhere${to}: give the address of the service itself`,
    );
  }
}

/**
 * What an answer says.
 *
 * @throws BlindbeatError FORMAT for what is no JSON
 */
export function jsonOf({ body }: Answer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new ServiceError('FORMAT', 'the server answers what is no JSON', { cause });
  }
}

function addressOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol) || parsed.search !== '' || parsed.hash !== '')
    throw new BlindbeatError('USAGE', `expected an address such as https://host/path, got ${url}`);
  if (parsed.username !== '' || parsed.password !== '')
    throw new BlindbeatError('USAGE', 'an address with a name or a password in it: give a token instead');
  return parsed.href.replace(/\/+$/, '');
}

function requireToken(token: string | undefined): void {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return;
  throw new BlindbeatError('USAGE', 'expected a token of visible ASCII characters, without blanks');
}

/** Reads no more than was expected. */
async function readBody(response: Response, limit: number, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of piecesOf(response)) {
    size += piece.length;
    if (size > limit)
      throw new ServiceError('FORMAT', `${url}: it answers more than the ${limit} bytes expected`);
    pieces.push(piece);
  }
  return concat(pieces);
}

/** A stream of the web is an iterable in Node, and not yet in every browser. */
async function* piecesOf({ body }: Response): AsyncGenerator<Uint8Array, void, void> {
  if (!body) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @throws the signal's reason */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}
