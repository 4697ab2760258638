import type { FastifyInstance, FastifyRequest } from 'fastify';
import type * as v from 'valibot';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import { BlindbeatError } from '../../errors.ts';
import type { Evaluators } from '../evaluators.ts';
import type { KeyStore, StoredKeys } from '../key-store.ts';
import { callerIn } from './access.ts';
import { announcedLength, openBody, requireSize } from './body.ts';
import type { Gate } from './gate.ts';
import { manifestOf } from './model-routes.ts';
import { CONTENT_RANGE, KeyParams, KeyQuery, KeysReply, PartHeaders, UploadReply } from './schemas.ts';

type Keys = { Params: v.InferOutput<typeof KeyParams>; Querystring: v.InferOutput<typeof KeyQuery> };

/** What routes with bodies need. */
export interface BodyRoutes {
  evaluators: Evaluators;
  keys: KeyStore;
  gate: Gate;
  /** How long a body may stand still, in milliseconds. */
  idleMs: number;
}

/** Evaluation keys: public data of one client, which it sends once and may delete. */
export function addKeyRoutes(app: FastifyInstance, { evaluators, keys, gate, idleMs }: BodyRoutes): void {
  const tags = ['keys'];

  app.get<Keys>(
    '/v1/keys/:hash',
    {
      schema: {
        summary: 'What is here of a file of evaluation keys',
        tags,
        params: KeyParams,
        querystring: KeyQuery,
        response: { 200: KeysReply },
      },
      config: { scope: 'keys', problems: ['UNAUTHORISED', 'FORBIDDEN', 'KEYS_NOT_FOUND', 'MISMATCH'] },
    },
    (request) => {
      const manifest = manifestOf(evaluators, request.query.model);
      return described(keys.find(callerIn(request).owner, request.params.hash, manifest));
    },
  );

  app.put<Keys>(
    '/v1/keys/:hash',
    {
      schema: {
        summary: 'Send a file of evaluation keys, or the next part of it',
        description:
          'The address has the SHA-256 of the whole file. A part has Content-Range: bytes a-b/total, where a is the ' +
          'number of bytes that are here; without Content-Range the body is the file from its start. 201 says that ' +
          'the file is complete and was checked, 202 that more is expected, 200 that it was here before.',
        tags,
        params: KeyParams,
        querystring: KeyQuery,
        headers: PartHeaders,
        response: { 200: KeysReply, 201: KeysReply, 202: UploadReply },
      },
      config: {
        scope: 'keys',
        octets: true,
        problems: [
          'FORMAT',
          'UNAUTHORISED',
          'FORBIDDEN',
          'NOT_FOUND',
          'MISMATCH',
          'TOO_LARGE',
          'ENVIRONMENT',
        ],
      },
    },
    async (request, reply) => {
      const { owner } = callerIn(request);
      const { hash } = request.params;
      const manifest = manifestOf(evaluators, request.query.model);
      const from = startOf(request, wireSizes(manifest).evaluationKeys);
      using _place = gate.enter(owner);
      const body = openBody(request.raw, idleMs);
      request.incoming = body;
      const stored = await keys.receive(owner, hash, manifest, from, body);
      if (!stored.complete) return reply.code(202).send({ received: stored.received });
      return reply.code(body.received > 0 ? 201 : 200).send(described(stored));
    },
  );

  app.delete<Pick<Keys, 'Params'>>(
    '/v1/keys/:hash',
    {
      schema: { summary: 'Delete evaluation keys', tags, params: KeyParams },
      config: {
        scope: 'keys',
        answers: { 204: { description: 'deleted' } },
        problems: ['UNAUTHORISED', 'FORBIDDEN', 'KEYS_NOT_FOUND', 'ENVIRONMENT'],
      },
    },
    async (request, reply) => {
      const { hash } = request.params;
      if (!(await keys.remove(callerIn(request).owner, hash)))
        throw new BlindbeatError('KEYS_NOT_FOUND', 'these evaluation keys are not here, or no more');
      await evaluators.forget(hash);
      return reply.code(204).send();
    },
  );
}

/**
 * Where in the file a body begins.
 *
 * @param size of the whole file
 * @throws BlindbeatError TOO_LARGE or FORMAT for lengths that do not fit
 */
function startOf({ raw, headers }: FastifyRequest, size: number): number {
  const announced = announcedLength(raw);
  const range = headers['content-range'];
  if (range === undefined) {
    requireSize(announced ?? size, size);
    return 0;
  }
  const [first, last, total] = CONTENT_RANGE.exec(range)!.slice(1).map(Number);
  requireSize(total, size);
  requireSize(last + 1, Math.min(last + 1, size));
  requireSize(announced ?? last - first + 1, last - first + 1);
  return first;
}

function described({ expires, ...stored }: StoredKeys) {
  return { ...stored, expires: expires.toISOString() };
}
