import type { FastifyInstance, FastifyReply } from 'fastify';
import type * as v from 'valibot';
import { readContainer } from '../../ckks/wire/container.ts';
import { bodySizes, wireSizes } from '../../ckks/wire/file-sizes.ts';
import { BlindbeatError } from '../../errors.ts';
import { roundMs } from '../../measure/stages.ts';
import type { Outcome } from '../evaluators.ts';
import { callerIn } from './access.ts';
import { openBody, readBody } from './body.ts';
import type { BodyRoutes } from './key-routes.ts';
import type { Metrics } from './metrics.ts';
import { manifestOf } from './model-routes.ts';
import { FILE_ANSWER } from './openapi.ts';
import { InferQuery, ModelParams } from './schemas.ts';

type Infer = { Params: v.InferOutput<typeof ModelParams>; Querystring: v.InferOutput<typeof InferQuery> };

declare module 'fastify' {
  interface FastifyRequest {
    /** Of an evaluation, for the log: milliseconds. */
    times: Pick<Outcome, 'queueMs' | 'loadKeysMs' | 'evaluateMs'> | null;
  }
}

/** One encrypted ECG in, encrypted scores out. */
export function addInferRoute(
  app: FastifyInstance,
  { evaluators, keys, gate, idleMs, metrics }: BodyRoutes & { metrics: Metrics },
): void {
  app.decorateRequest('times', null);
  app.post<Infer>(
    '/v1/models/:id/infer',
    {
      schema: {
        summary: 'Evaluate the network on an encrypted ECG',
        description:
          'Body and answer are a request and a reply of blindbeat, as files. Server-Timing tells the milliseconds of ' +
          'queue, load (of the keys, 0 where an evaluator had them) and evaluate.',
        tags: ['inference'],
        params: ModelParams,
        querystring: InferQuery,
      },
      config: {
        scope: 'infer',
        octets: true,
        answers: { 200: { description: 'a reply, as a file', content: FILE_ANSWER } },
        problems: [
          ...(['FORMAT', 'UNAUTHORISED', 'FORBIDDEN', 'KEYS_NOT_FOUND', 'NOT_FOUND', 'MISMATCH'] as const),
          ...(['TOO_LARGE', 'POISON', 'RATE_LIMITED', 'BUSY'] as const),
        ],
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { owner } = callerIn(request);
      const manifest = manifestOf(evaluators, id);
      keys.requireComplete(owner, request.query.keys, manifest); // before the body is waited for
      using _place = gate.enter(owner);
      const body = openBody(request.raw, idleMs);
      request.incoming = body;
      const bytes = await readBody(request.raw, body, wireSizes(manifest).request);
      using lease = await keys.lease(owner, request.query.keys, manifest);
      const { planHash } = manifest;
      // What is refused here costs no evaluator anything.
      readContainer(bytes, 'request', {
        planHash,
        keyId: lease.keyId,
        bodyBytes: bodySizes(manifest).request,
      });
      const outcome = await evaluators.evaluate({
        ...{ model: id, keys: request.query.keys, keyFile: lease.path, request: bytes },
        signal: goneSignal(reply),
      });
      request.times = outcome;
      metrics.evaluated(id, outcome);
      const { buffer, byteOffset, byteLength } = outcome.reply;
      return reply
        .header('server-timing', serverTiming(outcome))
        .type('application/octet-stream')
        .send(Buffer.from(buffer, byteOffset, byteLength));
    },
  );
}

function serverTiming({ queueMs, loadKeysMs, evaluateMs }: Outcome): string {
  return Object.entries({ queue: queueMs, load: loadKeysMs, evaluate: evaluateMs })
    .map(([name, ms]) => `${name};dur=${roundMs(ms)}`)
    .join(', ');
}

/** Aborted when the connection is closed before the answer went out. */
function goneSignal({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const gone = () => controller.abort(new BlindbeatError('INTERRUPTED', 'the client went away'));
  if (raw.destroyed) gone();
  else raw.once('close', () => raw.writableFinished || gone());
  return controller.signal;
}
