import type { Socket } from 'node:net';
import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { Logger } from 'pino';
import * as v from 'valibot';
import { BlindbeatError } from '../../errors.ts';
import { parse } from '../../schema.ts';
import type { Evaluators } from '../evaluators.ts';
import type { KeyStore } from '../key-store.ts';
import type { TokenFile } from '../tokens.ts';
import { addAccess, requireAccess } from './access.ts';
import { dropRest } from './body.ts';
import { Gate, type GateLimits } from './gate.ts';
import { addInferRoute } from './infer-route.ts';
import { addKeyRoutes } from './key-routes.ts';
import { Metrics } from './metrics.ts';
import { addModelRoutes } from './model-routes.ts';
import { addOpenApi } from './openapi.ts';
import { addOperationRoutes } from './operation-routes.ts';
import { problemOf } from './problems.ts';
import { addRequestLog } from './request-log.ts';

/** What an app is made of, and what it allows. */
export interface AppOptions {
  evaluators: Evaluators;
  keys: KeyStore;
  /** Without one, everybody on this machine may do everything. */
  tokens: TokenFile | null;
  log: Logger;
  /** Of each token, or where there is none of each address. */
  requestsPerMinute?: number;
  bodies?: GateLimits;
  /** Other sites whose pages may ask; none by default. */
  origins?: string[];
  /** Addresses of proxies whose X-Forwarded-For is believed. */
  proxies?: string[];
  tls?: { cert: string; key: string };
  times?: Partial<Times>;
}

/** How long a client may take, in milliseconds. */
interface Times {
  /** For the headers of a request. */
  headers: number;
  /** For a request with its body; an upload of keys that takes longer goes on in another. */
  request: number;
  /** For the next bytes of a body. */
  idle: number;
}

const TIMES: Times = { headers: 10_000, request: 600_000, idle: 30_000 };

const REQUESTS_PER_MINUTE = 600;
/** Bodies of 785 kB: 25 MB of one caller, 100 MB of all. */
const BODIES: GateLimits = { perCaller: 32, all: 128 };
const CONNECTIONS = 1000;
/** Longer than proxies keep theirs. */
const KEEP_ALIVE_MS = 65_000;
const LOOKED_AFTER_MS = 1000;
/** Seconds after which somebody who was refused for the moment should ask again, at least and at most. */
const RETRY_AFTER = [1, 60] as const;
/** What a model's name of 64 characters may take in an address. */
const MOST_PARAMETER = 1024;

/** The HTTP service: what it checks itself and what it hands on. Its caller listens and closes. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { evaluators, keys, tokens, log, bodies = BODIES, tls } = options;
  const times = { ...TIMES, ...options.times };
  const server = { headersTimeout: times.headers, connectionsCheckingInterval: LOOKED_AFTER_MS, ...tls };
  const retryAfter = () => {
    const [least, most] = RETRY_AFTER;
    return Math.max(least, Math.min(most, Math.ceil(evaluators.load.waitMs / 1000)));
  };
  const answer: Answer = (error, request, reply) => answerProblem(error, request, reply, log, retryAfter);
  const app: FastifyInstance = fastify({
    ...(tls ? { https: server } : { http: server }),
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionTimeout: times.request, // of one on which nothing goes either way
    requestTimeout: times.request,
    genReqId: () => crypto.randomUUID(),
    trustProxy: options.proxies ?? false,
    routerOptions: { maxParamLength: MOST_PARAMETER },
    forceCloseConnections: 'idle',
    return503OnClosing: false, // evaluators that are being drained refuse by themselves
    frameworkErrors: answer,
    clientErrorHandler: refuseConnection,
  });
  app.server.maxConnections = CONNECTIONS;
  app.setValidatorCompiler<v.GenericSchema>(({ schema, httpPart = 'request' }) => (value) => {
    try {
      return {
        value: parse(schema, value, { code: 'USAGE', title: 'the request is not sound', root: httpPart }),
      };
    } catch (error) {
      return { error: error as Error };
    }
  });
  app.setSerializerCompiler<v.GenericSchema>(
    ({ schema }) =>
      (value) =>
        JSON.stringify(v.parse(schema, value)),
  );
  app.setErrorHandler(answer);
  app.setNotFoundHandler(() => {
    throw new BlindbeatError('NOT_FOUND', 'there is nothing at this address: see /docs');
  });
  // Bodies are read by the routes that take any, piece by piece.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));

  const metrics = new Metrics(evaluators, keys);
  addRequestLog(app, log, metrics);
  app.addHook('onResponse', async ({ raw }) => dropRest(raw));
  app.addHook('onRequest', async ({ id }, reply) => {
    reply.header('request-id', id);
  });
  await app.register(helmet);
  if (options.origins) await app.register(cors, crossOrigin(options.origins));
  addAccess(app, tokens);
  await app.register(rateLimit, {
    max: options.requestsPerMinute ?? REQUESTS_PER_MINUTE,
    timeWindow: 60_000,
    keyGenerator: ({ caller, ip }) => (caller?.name === undefined ? ip : caller.owner),
    errorResponseBuilder: (_, { max }) =>
      new BlindbeatError(
        'RATE_LIMITED',
        `more than ${max} requests in a minute: wait for the time of Retry-After`,
      ),
  });
  app.addHook('preParsing', requireAccess); // after everybody was counted

  const gate = new Gate(bodies);
  await addOpenApi(app);
  addModelRoutes(app, evaluators);
  addKeyRoutes(app, { evaluators, keys, gate, idleMs: times.idle });
  addInferRoute(app, { evaluators, keys, gate, idleMs: times.idle, metrics });
  addOperationRoutes(app, evaluators, metrics);
  return app;
}

function crossOrigin(origins: string[]) {
  return {
    origin: origins,
    methods: ['GET', 'PUT', 'POST', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'content-range', 'if-none-match'],
    exposedHeaders: ['server-timing', 'retry-after', 'etag', 'request-id'],
  };
}

type Answer = (error: unknown, request: FastifyRequest, reply: FastifyReply) => FastifyReply;

function answerProblem(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Logger,
  retryAfter: () => number,
): FastifyReply {
  const problem = problemOf(error, request.id);
  request.problem = problem.code;
  if (problem.status >= 500 && problem.code !== 'BUSY') log.error({ id: request.id, err: error });
  if ([429, 503].includes(problem.status) && !reply.hasHeader('retry-after'))
    reply.header('retry-after', retryAfter());
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem);
}

/** What is no HTTP, or comes too slowly, is told so before the connection ends. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [statusCode, words] = REFUSALS.get(error.code ?? '') ?? [400, 'Bad Request'];
  const refusal = Object.assign(new Error('this is no request that can be answered'), { statusCode });
  const body = JSON.stringify(problemOf(refusal, ''));
  socket.end(
    `HTTP/1.1 ${statusCode} ${words}\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

const REFUSALS = new Map<string, [status: number, words: string]>([
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'Request Timeout']],
  ['HPE_HEADER_OVERFLOW', [431, 'Request Header Fields Too Large']],
]);
