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
}

const REQUESTS_PER_MINUTE = 600;
/** Bodies of 785 kB: 25 MB of one caller, 100 MB of all. */
const BODIES: GateLimits = { perCaller: 32, all: 128 };
const CONNECTIONS = 1000;
const HEADERS_MS = 10_000;
/** Of a request with its body; an upload of keys that takes longer goes on in another. */
const REQUEST_MS = 600_000;
const IDLE_CONNECTION_MS = 65_000;
/** Seconds after which somebody who was refused for the moment should ask again. */
const RETRY_AFTER = 1;
/** What a model's name of 64 characters may take in an address. */
const MOST_PARAMETER = 1024;

/** The HTTP service: what it checks itself and what it hands on. Its caller listens and closes. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { evaluators, keys, tokens, log, bodies = BODIES, tls } = options;
  const server = {
    ...{ headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: 1000 },
    ...tls,
  };
  const app: FastifyInstance = fastify({
    ...(tls ? { https: server } : { http: server }),
    keepAliveTimeout: IDLE_CONNECTION_MS,
    requestTimeout: REQUEST_MS,
    genReqId: () => crypto.randomUUID(),
    trustProxy: options.proxies ?? false,
    routerOptions: { maxParamLength: MOST_PARAMETER },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => answer(error, request, reply, log),
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
  app.setErrorHandler((error, request, reply) => answer(error, request, reply, log));
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
    keyGenerator: ({ caller, ip }) => caller?.name ?? ip,
    errorResponseBuilder: (_, { max }) =>
      new BlindbeatError(
        'RATE_LIMITED',
        `more than ${max} requests in a minute: wait for the time of Retry-After`,
      ),
  });
  app.addHook('onRequest', requireAccess);

  const gate = new Gate(bodies);
  await addOpenApi(app);
  addModelRoutes(app, evaluators);
  addKeyRoutes(app, evaluators, keys, gate);
  addInferRoute(app, evaluators, keys, gate, metrics);
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

function answer(error: unknown, request: FastifyRequest, reply: FastifyReply, log: Logger): FastifyReply {
  const problem = problemOf(error, request.id);
  request.problem = problem.code;
  if (problem.status >= 500 && problem.code !== 'BUSY') log.error({ id: request.id, err: error });
  if ([429, 503].includes(problem.status) && !reply.hasHeader('retry-after'))
    reply.header('retry-after', RETRY_AFTER);
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem);
}

/** What is no HTTP gets the least of an answer. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = STATUS_OF.get(error.code ?? '') ?? '400 Bad Request';
  const body = JSON.stringify({
    type: 'about:blank',
    title: status.slice(4),
    status: Number(status.slice(0, 3)),
  });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/problem+json\r\nContent-Length: ${body.length}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
}

const STATUS_OF = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
]);
