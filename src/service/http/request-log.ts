import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { ErrorCode } from '../../errors.ts';
import { roundMs } from '../../measure/stages.ts';
import { announcedLength, type Body } from './body.ts';
import type { Metrics } from './metrics.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Its body, where a route reads one. */
    incoming: Body | null;
    /** Of the problem that answered it. */
    problem: ErrorCode | null;
  }
}

/** A log of one JSON object a line. */
export function createLog(to: DestinationStream): Logger {
  return pino({ base: null, timestamp: stdTimeFunctions.isoTime }, to);
}

/**
 * Notes one line for every request and counts it. No address, body, hash of keys or text from a client is in it: the
 * route is that which was declared, the token's name the operator's.
 */
export function addRequestLog(app: FastifyInstance, log: Logger, metrics: Metrics): void {
  app.decorateRequest('incoming', null);
  app.decorateRequest('problem', null);
  app.addHook('onResponse', async (request, reply) => {
    const { id, method } = request;
    const route = request.routeOptions.url ?? 'none';
    const status = reply.statusCode;
    const ms = roundMs(reply.elapsedTime);
    const bytes = { in: bytesIn(request), out: Number(reply.getHeader('content-length') ?? 0) };
    metrics.answered({ method, route, status }, ms, bytes);
    const { times, problem, caller } = request;
    const steps = times && {
      ...{ queueMs: roundMs(times.queueMs), loadKeysMs: roundMs(times.loadKeysMs) },
      evaluateMs: roundMs(times.evaluateMs),
    };
    log.info({
      ...{ id, ...(caller?.name !== undefined && { token: caller.name }), method, route, status },
      ...{ bytes, ms, ...steps, ...(problem && { problem }) },
    });
  });
}

/** Of a body that a route reads, what came; of one that nobody reads, what was said to come. */
function bytesIn({ incoming, raw }: FastifyRequest): number {
  return incoming?.received ?? announcedLength(raw) ?? 0;
}
