import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BlindbeatError } from '../../errors.ts';
import { allows, type Scope, type TokenFile } from '../tokens.ts';

/** Who asks. */
export interface Caller {
  /** Whose keys are meant: the id of a token; where none is needed, LOCAL. */
  owner: string;
  /** Of the token. */
  name?: string;
  allows(scope: Scope): boolean;
}

/** Everybody, where there are no tokens. */
export const LOCAL = 'local';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a token must allow; 'any' for every token; without it none is needed. */
    scope?: Scope | 'any';
  }
  interface FastifyRequest {
    caller: Caller | null;
  }
}

const BEARER = /^Bearer +([\w-]+)$/i;
/** Names of this very machine: another one in the Host header comes from a page that wants to reach it. */
const HERE = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/i;

/** Has every request say who asks, and refuses those who may not. */
export function addAccess(app: FastifyInstance, tokens: TokenFile | null): void {
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request) => {
    request.caller = await callerOf(request, tokens);
  });
}

/**
 * Refuses a request whose caller may not ask for its route; after its caller was counted.
 *
 * @throws BlindbeatError UNAUTHORISED or FORBIDDEN
 */
export async function requireAccess(request: FastifyRequest): Promise<void> {
  const { scope } = request.routeOptions.config;
  if (scope === undefined) return;
  if (!request.caller) {
    throw new BlindbeatError(
      'UNAUTHORISED',
      'expected a token that has not expired (Authorization: Bearer TOKEN): see `blindbeat token create`',
    );
  }
  if (scope !== 'any' && !request.caller.allows(scope))
    throw new BlindbeatError('FORBIDDEN', `this token lacks the scope ${scope}`);
}

/** The caller of a route that needs one. */
export function callerIn(request: FastifyRequest): Caller {
  return request.caller!;
}

async function callerOf(request: FastifyRequest, tokens: TokenFile | null): Promise<Caller | null> {
  if (tokens === null || !(await isRequired(tokens))) return localCaller(request);
  const [, text] = BEARER.exec(request.headers.authorization ?? '') ?? [];
  const token = text === undefined ? undefined : await tokens.verify(text);
  return token ? { owner: token.id, name: token.name, allows: (scope) => allows(token, scope) } : null;
}

/** A file of tokens that cannot be read lets nobody in. */
async function isRequired(tokens: TokenFile): Promise<boolean> {
  try {
    return await tokens.isRequired();
  } catch (cause) {
    throw new BlindbeatError('ENVIRONMENT', 'the tokens cannot be read now', { cause });
  }
}

function localCaller({ headers: { host = '' } }: FastifyRequest): Caller {
  if (HERE.test(host)) return { owner: LOCAL, allows: () => true };
  throw new BlindbeatError(
    'FORBIDDEN',
    'without tokens this server answers to localhost and 127.0.0.1 alone',
  );
}
