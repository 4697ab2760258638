import type { FastifyError } from 'fastify';
import { BlindbeatError, ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { WrongPlace } from '../key-store.ts';

/** Where problems are explained, of which each has its code as anchor. */
export const PROBLEMS_PAGE = '/docs/problems';

/** What each code of the table means to an HTTP client. */
const TITLES: Record<ErrorCode, string> = {
  USAGE: 'the request is not one that this server understands',
  ECG: 'an ECG that cannot be read or classified',
  MODEL: 'a model of this server cannot be read',
  PLAN: 'no plan exists for this model',
  FORMAT: 'a key or ciphertext that is damaged or of another format version',
  MISMATCH: 'a key or ciphertext of another model, plan, key pair or place',
  FILE: 'a file of this server cannot be read or written',
  UNCLASSIFIABLE: 'a result that names no class',
  ENVIRONMENT: 'this server lacks something now',
  BUSY: 'as many requests wait as this server takes',
  POISON: 'a request that ended the evaluators that tried it',
  KEYS_NOT_FOUND: 'evaluation keys that this server does not have, or no more',
  UNAUTHORISED: 'a token that is missing, unknown or expired',
  FORBIDDEN: 'a token that does not allow this',
  TOO_LARGE: 'more bytes than this server takes',
  NOT_FOUND: 'an address or a model that this server does not have',
  RATE_LIMITED: 'more requests than the token allows in a minute',
  WRONG_ANSWER: 'a service that did not compute what its manifest says',
  INTERRUPTED: 'the client went away',
  INTERNAL: 'a fault of this server',
};

/** An answer that is an error, as RFC 9457 has it. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ErrorCode;
  /** Of an upload that went on at the wrong place: the bytes that are here. */
  received?: number;
}

/** Codes whose messages are about the server's own files, and are for its log alone. */
const OURS: ErrorCode[] = ['FILE', 'MODEL', 'INTERNAL'];
/** Codes of refusals by the framework, by their status. */
const FRAMEWORK = new Map<number, ErrorCode>([
  [404, 'NOT_FOUND'],
  [413, 'TOO_LARGE'],
  [429, 'RATE_LIMITED'],
]);

/**
 * What a client hears of an error.
 *
 * @param requestId by which the log can be searched
 */
export function problemOf(error: unknown, requestId: string): Problem {
  if (!(error instanceof BlindbeatError)) return frameworkProblem(error as FastifyError, requestId);
  const { code } = error;
  const detail = OURS.includes(code) ? notedUnder(requestId) : error.message;
  const problem = describe(code, ERROR_CODES[code].status, detail);
  return error instanceof WrongPlace ? { ...problem, received: error.received } : problem;
}

/** A code in words. */
export function titleOf(code: ErrorCode): string {
  return TITLES[code];
}

/** Table of the codes for the page of problems. */
export function problemsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { status }]) => `<dt id="${code}">${code} (${status})</dt><dd>${TITLES[code as ErrorCode]}</dd>`,
  );
  return `<!doctype html><html lang="en"><title>blindbeat: problems</title><dl>${rows.join('')}</dl></html>`;
}

function frameworkProblem({ statusCode = 500, message }: FastifyError, requestId: string): Problem {
  if (statusCode < 400 || statusCode >= 500) return describe('INTERNAL', 500, notedUnder(requestId));
  return describe(FRAMEWORK.get(statusCode) ?? 'USAGE', statusCode, message);
}

function notedUnder(requestId: string): string {
  return `what happened is in the server's log, under request ${requestId}`;
}

function describe(code: ErrorCode, status: number, detail: string): Problem {
  return { type: `${PROBLEMS_PAGE}#${code}`, title: TITLES[code], status, detail, code };
}
