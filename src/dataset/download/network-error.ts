import type { IncomingHttpHeaders } from 'node:http';
import type { RequestError } from 'got';
import { BlindbeatError } from '../../errors.ts';

/** Present if the same request may succeed a little later: after so long, if the server said how long. */
export type Retry = { afterMs?: number } | undefined;

/** A request that failed on the network's or the server's side: ENVIRONMENT. */
export class NetworkError extends BlindbeatError {
  readonly retry: Retry;

  constructor(url: string, reason: string, { retry, cause }: { retry?: Retry; cause?: unknown } = {}) {
    super('ENVIRONMENT', `${url} cannot be fetched: ${reason}.`, { cause });
    this.retry = retry;
  }
}

/** So many redirects are followed. */
export const MAX_REDIRECTS = 5;
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_RETRY_AFTER_MS = 60_000;

const STATUSES: Record<number, string> = {
  401: 'the server wants a login (401)',
  403: 'the server, or a proxy on the way, refuses (403)',
  404: 'there is no such file (404)',
  407: 'a proxy on the way wants a login (407)',
  410: 'the file is gone (410)',
  429: 'the server has had too many requests (429)',
  503: 'the server is not available (503)',
};

/**
 * Refuses an answer that is no 2xx.
 *
 * @throws NetworkError, for the statuses that may pass with `retry`, after the seconds that Retry-After names
 */
export function requireOk(url: string, status: number, headers: IncomingHttpHeaders): void {
  if (status >= 200 && status < 300) return;
  const reason = STATUSES[status] ?? `the server answers ${status}`;
  const after = headers['retry-after'] ?? '';
  const afterMs = /^\d+$/.test(after) ? Math.min(1000 * Number(after), MAX_RETRY_AFTER_MS) : undefined;
  throw new NetworkError(url, reason, { retry: TRANSIENT.has(status) ? { afterMs } : undefined });
}

/** By the error's code, which is the system's, Node's or got's: what it means, and whether it may pass. */
const REASONS: Record<string, { words: string; passes: boolean }> = {
  ENOTFOUND: { words: 'nobody here knows the name of the server', passes: false },
  EAI_AGAIN: { words: 'the name server does not answer', passes: true },
  ECONNREFUSED: { words: 'the connection was refused', passes: false },
  EACCES: { words: 'this machine does not allow the connection', passes: false },
  ENETUNREACH: { words: 'there is no way to it from this network', passes: false },
  EHOSTUNREACH: { words: 'there is no way to it from this network', passes: false },
  ETIMEDOUT: { words: 'the server does not answer', passes: true },
  ECONNRESET: { words: 'the connection was cut', passes: true },
  EPIPE: { words: 'the connection was cut', passes: true },
  ERR_READING_RESPONSE_STREAM: { words: 'the connection was cut', passes: true },
  ERR_HTTP_CONTENT_LENGTH_MISMATCH: { words: 'the connection ended early', passes: true },
  ERR_TOO_MANY_REDIRECTS: { words: `it redirects more than ${MAX_REDIRECTS} times`, passes: false },
  ERR_INVALID_URL: { words: 'it redirects to what is no address', passes: false },
  ERR_UNSUPPORTED_PROTOCOL: { words: 'it redirects to what is no web address', passes: false },
};

/** Puts an error of got into plain words: why the request failed, and whether that may pass. */
export function explain(url: string, cause: RequestError): NetworkError {
  const { code } = cause;
  const fail = (reason: string, retry?: Retry) => new NetworkError(url, reason, { retry, cause });
  if (code === 'ERR_PROXY_TUNNEL') {
    const { statusCode } = cause.cause as { statusCode?: number };
    if (statusCode === 407) return fail(STATUSES[407]);
    return fail(`a proxy on the way does not let it through (${statusCode ?? code})`);
  }
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER|LEAF_SIGNATURE|EPROTO/.test(code)) {
    return fail(
      `the server's certificate or encryption is not accepted (${code}). If that is your network opening ` +
        'connections, give Node its certificate: NODE_EXTRA_CA_CERTS=FILE',
    );
  }
  const known = REASONS[code] ?? { words: cause.message || 'the connection failed', passes: true };
  return fail(`${known.words} (${code})${proxyAdvice()}`, known.passes ? {} : undefined);
}

/** Node takes the proxy that the environment names only when it is told to. */
function proxyAdvice(): string {
  const { env } = process;
  const named = env.HTTPS_PROXY ?? env.https_proxy ?? env.HTTP_PROXY ?? env.http_proxy;
  if (!named || env.NODE_USE_ENV_PROXY) return '';
  return '. A proxy is named in the environment: set NODE_USE_ENV_PROXY=1 to use it';
}
