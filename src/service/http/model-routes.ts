import type { FastifyInstance } from 'fastify';
import type * as v from 'valibot';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { BlindbeatError } from '../../errors.ts';
import { printable } from '../../schema.ts';
import type { Evaluators } from '../evaluators.ts';
import { ManifestReply, ModelParams, ModelsReply } from './schemas.ts';

/**
 * The manifest of a model.
 *
 * @throws BlindbeatError NOT_FOUND that names those that there are
 */
export function manifestOf({ models }: Evaluators, id: string): ParsedManifest {
  const found = models.get(id);
  if (found) return found.manifest;
  const names = [...models.keys()].join(', ');
  throw new BlindbeatError('NOT_FOUND', `there is no model ${printable(id)} here, but ${names}`);
}

/** What clients need to know about the models. */
export function addModelRoutes(app: FastifyInstance, evaluators: Evaluators): void {
  app.get(
    '/v1/models',
    {
      schema: { summary: 'The models that are served', tags: ['models'], response: { 200: ModelsReply } },
      config: { scope: 'any', problems: ['UNAUTHORISED'] },
    },
    () => ({
      models: [...evaluators.models].map(([id, { manifest }]) => {
        const { evaluationKeys, request, reply } = wireSizes(manifest);
        const { planHash, classes } = manifest;
        return { id, planHash, classes, bytes: { evaluationKeys, request, reply } };
      }),
    }),
  );

  app.get<{ Params: v.InferOutput<typeof ModelParams> }>(
    '/v1/models/:id/manifest',
    {
      schema: {
        summary: 'The manifest of a model: all that a client needs, no weights',
        tags: ['models'],
        params: ModelParams,
        response: { 200: ManifestReply },
      },
      config: { scope: 'any', problems: ['UNAUTHORISED', 'NOT_FOUND'] },
    },
    (request, reply) => {
      const manifest = manifestOf(evaluators, request.params.id);
      const etag = `"${manifest.planHash}"`;
      reply.header('etag', etag).header('cache-control', 'no-cache');
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.send(manifest);
    },
  );
}
