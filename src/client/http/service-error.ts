import * as v from 'valibot';
import { BlindbeatError, ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { record, replaceInvisible, wholeNumber } from '../../schema.ts';

/** Present if the same request may succeed a little later: after so long, if the server said how long. */
export type Retry = { afterMs?: number } | undefined;

/** What a service refused, or why it cannot be reached. */
export class ServiceError extends BlindbeatError {
  readonly retry: Retry;
  /** Of an upload that the server wants continued elsewhere: the bytes that it has. */
  readonly received?: number;

  constructor(
    code: ErrorCode,
    message: string,
    { retry, received, cause }: { retry?: Retry; received?: number; cause?: unknown } = {},
  ) {
    super(code, message, { cause });
    this.retry = retry;
    this.received = received;
  }
}

/** Problem details (RFC 9457), as far as they are of use. */
const ProblemSchema = record({
  code: v.optional(v.string()),
  title: v.optional(v.string()),
  detail: v.optional(v.string()),
  received: v.optional(wholeNumber(0, Number.MAX_SAFE_INTEGER)),
});
/** Characters of what a server says that are repeated. */
const MOST_SAID = 1000;
/** Nobody is waited for longer at a time. */
const MOST_RETRY_AFTER_MS = 60_000;
const TRANSIENT = new Set([408, 425, 429, 502, 503, 504]);
/** Of answers that say nothing themselves, such as those of a proxy on the way. */
const STATUSES: Record<number, { code: ErrorCode; words: string }> = {
  401: { code: 'UNAUTHORISED', words: 'it wants a token (401)' },
  403: { code: 'FORBIDDEN', words: 'it, or a proxy on the way, refuses (403)' },
  404: { code: 'NOT_FOUND', words: 'it has no such address (404): is a part of the path missing?' },
  413: { code: 'TOO_LARGE', words: 'it, or a proxy on the way, does not take so many bytes (413)' },
  429: { code: 'RATE_LIMITED', words: 'it has had too many requests (429)' },
  503: { code: 'BUSY', words: 'it is not available (503)' },
};

/** What an answer that is no 2xx means. `url` names the service. */
export function refusalOf(url: string, status: number, headers: Headers, body: Uint8Array): ServiceError {
  const problem = problemOf(headers, body);
  const known = STATUSES[status] ?? { code: 'ENVIRONMENT', words: `it answers ${status}` };
  const named = problem?.code as ErrorCode | undefined;
  // A code that does not go with its status is not the error table's.
  const fits =
    named !== undefined && Object.hasOwn(ERROR_CODES, named) && ERROR_CODES[named].status === status;
  const said = problem?.detail ?? problem?.title;
  const words =
    said === undefined ? known.words : replaceInvisible(said.slice(0, MOST_SAID), () => '?', '\n');
  return new ServiceError(fits ? named : known.code, `${url}: ${words}`, {
    retry: TRANSIENT.has(status) ? { afterMs: retryAfterMs(headers) } : undefined,
    received: problem?.received,
  });
}

function retryAfterMs(headers: Headers): number | undefined {
  const after = headers.get('retry-after') ?? '';
  return /^\d+$/.test(after) ? Math.min(1000 * Number(after), MOST_RETRY_AFTER_MS) : undefined;
}

function problemOf(headers: Headers, body: Uint8Array): v.InferOutput<typeof ProblemSchema> | null {
  if (!/^application\/(?:problem\+)?json\b/.test(headers.get('content-type') ?? '')) return null;
  try {
    const found = v.safeParse(ProblemSchema, JSON.parse(new TextDecoder().decode(body)));
    return found.success ? found.output : null;
  } catch {
    return null; // no JSON: the status has to do
  }
}

/** By Node's code or words: failures that stay, where nobody has ever answered. */
const NOBODY_THERE: Record<string, string> = {
  ENOTFOUND: 'nobody here knows the name of the server',
  ECONNREFUSED: 'the connection was refused: is the server running, and is the port right?',
  EACCES: 'this machine does not allow the connection',
  'bad port': 'no web server has such a port',
  ENETUNREACH: 'there is no way to it from this network',
  EHOSTUNREACH: 'there is no way to it from this network',
};

/**
 * Why `fetch` gave no answer.
 *
 * @param reached whether the server has answered before: then it may be back soon
 */
export function lossOf(url: string, cause: unknown, reached: boolean): ServiceError {
  const { code, message = '' } = { ...detailOf(cause) };
  if (code !== undefined && /CERT|TLS|SSL|SELF_SIGNED|ISSUER|LEAF_SIGNATURE|EPROTO/.test(code)) {
    const words =
      `the server's certificate or encryption is not accepted (${code}). If the certificate is your own, give it ` +
      'to Node: NODE_EXTRA_CA_CERTS=FILE';
    return new ServiceError('ENVIRONMENT', `${url}: ${words}`, { cause });
  }
  const name = code ?? message;
  const words = NOBODY_THERE[name];
  const said = words ?? 'the connection was lost, or there was none';
  const retry = words === undefined || reached ? {} : undefined;
  return new ServiceError('ENVIRONMENT', `${url}: ${said}${name && ` (${name})`}`, { retry, cause });
}

/** What Node says beside "fetch failed"; a browser says nothing. */
function detailOf(cause: unknown): { code?: string; message?: string } | undefined {
  const { cause: detail } = cause as { cause?: { code?: unknown; message?: unknown } };
  if (typeof detail !== 'object' || detail === null) return undefined;
  const { code, message } = detail;
  return {
    code: typeof code === 'string' ? code : undefined,
    message: typeof message === 'string' ? message : undefined,
  };
}
