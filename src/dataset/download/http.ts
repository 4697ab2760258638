import { setTimeout as sleep } from 'node:timers/promises';
import { BlindbeatError } from '../../errors.ts';
import { packageVersion } from '../../measure/version.ts';

/** How patient requests are; tests are less so than users. */
interface Patience {
  /** Until a server answers. */
  answerMs: number;
  /** Between two pieces of an answer. */
  stallMs: number;
  /** Before the second attempt; doubled before each further one. */
  backoffMs: number;
  /** In a row without progress, the first included. */
  attempts: number;
}

const PATIENCE: Patience = { answerMs: 30_000, stallMs: 60_000, backoffMs: 1000, attempts: 5 };

export interface RequestOptions {
  headers?: Record<string, string>;
  signal?: AbortSignal;
  patience?: Partial<Patience>;
}

/** A request that failed on the network's or the server's side. */
export class NetworkError extends BlindbeatError {
  /** Of the answer, if there was one. */
  readonly status: number | undefined;
  /** Whether the same request may succeed a little later, and after how long if the server said so. */
  readonly retry: { afterMs?: number } | undefined;

  constructor(
    url: string,
    reason: string,
    options: { status?: number; retry?: { afterMs?: number }; cause?: unknown } = {},
  ) {
    super('ENVIRONMENT', `${url} cannot be fetched: ${reason}.`, { cause: options.cause });
    this.status = options.status;
    this.retry = options.retry;
  }
}

export interface Answer {
  status: number;
  headers: Headers;
  /** The body piece by piece. Ending the loop early closes the connection. */
  chunks: AsyncIterable<Uint8Array>;
  /** Closes the connection of a body that nobody has begun to read. */
  cancel(): Promise<void>;
}

const MAX_REDIRECTS = 5;
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * GETs an address. Redirects are followed to https or within the same origin only; the body comes as it is stored,
 * not compressed, and never takes longer than `stallMs` for its next piece.
 *
 * @throws NetworkError for anything but an answer 2xx; what `signal` was aborted with
 */
export async function get(url: string, options: RequestOptions = {}): Promise<Answer> {
  const { answerMs, stallMs } = { ...PATIENCE, ...options.patience };
  const watchdog = new Watchdog(options.signal);
  watchdog.arm(answerMs, () => new NetworkError(url, `no answer in ${seconds(answerMs)}`, { retry: {} }));
  try {
    const response = await follow(url, options.headers ?? {}, watchdog.signal);
    if (!response.ok) {
      await response.body?.cancel();
      throw refusal(url, response);
    }
    return {
      status: response.status,
      headers: response.headers,
      chunks: chunksOf(url, response, watchdog, stallMs),
      cancel: async () => response.body?.cancel(),
    };
  } catch (error) {
    throw explain(url, error, watchdog.signal);
  } finally {
    watchdog.rest();
  }
}

/**
 * GETs a text of at most `maxBytes`, or null if the server has none of that name.
 *
 * @throws as `get`
 */
export async function getText(
  url: string,
  maxBytes: number,
  options: RequestOptions = {},
): Promise<string | null> {
  return retrying(options, async () => {
    try {
      const { chunks } = await get(url, options);
      const pieces: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of chunks) {
        pieces.push(chunk);
        size += chunk.length;
        if (size > maxBytes) throw new NetworkError(url, `it has more than the ${maxBytes} bytes expected`);
      }
      return new TextDecoder().decode(Buffer.concat(pieces));
    } catch (error) {
      // Storage services say 403 for names that they do not know.
      if (error instanceof NetworkError && [403, 404, 410].includes(error.status ?? 0)) return null;
      throw error;
    }
  });
}

/**
 * Does work again when it fails for a reason that may pass: up to `attempts` times in a row without progress, each
 * time waiting twice as long, or as long as the server asks for.
 */
export async function retrying<T>(
  { signal, patience }: RequestOptions,
  work: () => Promise<T>,
  onRetry: (error: NetworkError, waitMs: number) => void = () => {},
  progressed: () => boolean = () => false,
): Promise<T> {
  const { attempts, backoffMs } = { ...PATIENCE, ...patience };
  for (let failed = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NetworkError && error.retry)) throw error;
      failed = progressed() ? 1 : failed + 1;
      if (failed >= attempts) throw error;
      const waitMs = error.retry.afterMs ?? backoffMs * 2 ** (failed - 1);
      onRetry(error, waitMs);
      await sleep(waitMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

/** Aborts a request that makes us wait too long, or that the user gives up. */
class Watchdog {
  readonly #late = new AbortController();
  readonly signal: AbortSignal;
  #timer: NodeJS.Timeout | undefined;

  constructor(user?: AbortSignal) {
    this.signal = user ? AbortSignal.any([user, this.#late.signal]) : this.#late.signal;
  }

  arm(ms: number, reason: () => Error): void {
    this.rest();
    this.#timer = setTimeout(() => this.#late.abort(reason()), ms);
  }

  rest(): void {
    clearTimeout(this.#timer);
  }
}

async function follow(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  let at = new URL(url);
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const response = await fetch(at, {
      // physionet.org is said to turn away clients that do not say who they are.
      headers: { 'user-agent': `blindbeat/${packageVersion()}`, 'accept-encoding': 'identity', ...headers },
      redirect: 'manual',
      signal,
    });
    const location = response.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
    await response.body?.cancel();
    if (!URL.canParse(location, at)) throw new NetworkError(url, 'it redirects to what is no address');
    const next = new URL(location, at);
    if (next.protocol !== 'https:' && next.origin !== at.origin) {
      throw new NetworkError(
        url,
        `it redirects to ${next.origin}, and only https is followed to other hosts`,
      );
    }
    at = next;
  }
  throw new NetworkError(url, `it redirects more than ${MAX_REDIRECTS} times`);
}

async function* chunksOf(url: string, response: Response, watchdog: Watchdog, stallMs: number) {
  const late = () => new NetworkError(url, `nothing more came for ${seconds(stallMs)}`, { retry: {} });
  const reader = response.body?.getReader();
  try {
    for (;;) {
      watchdog.arm(stallMs, late);
      const { done, value } = (await reader?.read()) ?? { done: true };
      watchdog.rest(); // writing to the disk is not the server's time
      if (done) return;
      yield value as Uint8Array;
    }
  } catch (error) {
    throw explain(url, error, watchdog.signal);
  } finally {
    watchdog.rest();
    await reader?.cancel().catch(() => {});
  }
}

function refusal(url: string, { status, headers }: Response): NetworkError {
  const reason = STATUSES[status] ?? `the server answers ${status}`;
  if (!TRANSIENT.has(status)) return new NetworkError(url, reason, { status });
  const after = headers.get('retry-after') ?? '';
  const afterMs = /^\d+$/.test(after) ? Math.min(1000 * Number(after), MAX_RETRY_AFTER_MS) : undefined;
  return new NetworkError(url, reason, { status, retry: { afterMs } });
}

const STATUSES: Record<number, string> = {
  401: 'the server wants a login (401)',
  403: 'the server, or a proxy on the way, refuses (403)',
  404: 'there is no such file (404)',
  407: 'a proxy on the way wants a login (407)',
  410: 'the file is gone (410)',
  429: 'the server has had too many requests (429)',
  503: 'the server is not available (503)',
};

/** In plain words, why `fetch` or the body that it gave failed. */
function explain(url: string, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof BlindbeatError) return error;
  const cause = innermost(error);
  const code = cause.code ?? '';
  const tunnel = /^Proxy response \((\d+)\)/.exec(cause.message)?.[1];
  // Of a 407 that no proxy agent handles, fetch makes an error without words; nothing else of ours becomes one.
  const proxy = tunnel ?? (code === '' && cause.message === '' ? '407' : undefined);
  if (proxy === '407') return new NetworkError(url, STATUSES[407], { cause: error });
  if (proxy)
    return new NetworkError(url, `a proxy on the way does not let it through (${proxy})`, { cause: error });
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER|LEAF_SIGNATURE/.test(code)) {
    const advice =
      'If that is your network opening connections, give Node its certificate: NODE_EXTRA_CA_CERTS=FILE';
    const reason = `the server's certificate or encryption is not accepted (${code}). ${advice}`;
    return new NetworkError(url, reason, { cause: error });
  }
  const known = REASONS[code];
  const reason = `${known?.words ?? (cause.message || 'the connection failed')}${code && ` (${code})`}${proxyAdvice()}`;
  return new NetworkError(url, reason, {
    cause: error,
    retry: (known?.passes ?? code !== '') ? {} : undefined,
  });
}

const REASONS: Record<string, { words: string; passes: boolean }> = {
  ENOTFOUND: { words: 'nobody here knows the name of the server', passes: false },
  EAI_AGAIN: { words: 'the name server does not answer', passes: true },
  ECONNREFUSED: { words: 'the connection was refused', passes: false },
  EACCES: { words: 'this machine does not allow the connection', passes: false },
  ENETUNREACH: { words: 'there is no way to it from this network', passes: false },
  EHOSTUNREACH: { words: 'there is no way to it from this network', passes: false },
  ETIMEDOUT: { words: 'the server does not answer', passes: true },
  UND_ERR_CONNECT_TIMEOUT: { words: 'the server does not answer', passes: true },
  ECONNRESET: { words: 'the connection was cut', passes: true },
  EPIPE: { words: 'the connection was cut', passes: true },
  UND_ERR_SOCKET: { words: 'the connection was cut', passes: true },
};

/** Node takes the proxy that the environment names only when it is told to. */
function proxyAdvice(): string {
  const { env } = process;
  const named = env.HTTPS_PROXY ?? env.https_proxy ?? env.HTTP_PROXY ?? env.http_proxy;
  if (!named || env.NODE_USE_ENV_PROXY) return '';
  return '. A proxy is named in the environment: set NODE_USE_ENV_PROXY=1 to use it';
}

function innermost(error: unknown): NodeJS.ErrnoException {
  let at = error as NodeJS.ErrnoException;
  while (at.cause instanceof Error) at = at.cause;
  return at;
}

function seconds(ms: number): string {
  return `${ms / 1000} s`;
}
