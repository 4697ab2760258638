import type { FastifyInstance } from 'fastify';
import type { Evaluators } from '../evaluators.ts';
import type { Metrics } from './metrics.ts';
import { HealthReply } from './schemas.ts';

/** For whoever runs the service. */
export function addOperationRoutes(app: FastifyInstance, evaluators: Evaluators, metrics: Metrics): void {
  const tags = ['operation'];

  app.get(
    '/healthz',
    {
      schema: { summary: 'Whether the process lives', tags, response: { 200: HealthReply } },
      config: { rateLimit: false },
    },
    () => ({ status: 'ok' }),
  );

  app.get(
    '/readyz',
    {
      schema: {
        summary: 'Whether requests are taken',
        tags,
        response: { 200: HealthReply, 503: HealthReply },
      },
      config: { rateLimit: false },
    },
    (_, reply) =>
      evaluators.ready ? reply.send({ status: 'ok' }) : reply.code(503).send({ status: 'not ready' }),
  );

  app.get(
    '/metrics',
    {
      schema: { summary: "Figures, in Prometheus' format", tags },
      config: {
        scope: 'metrics',
        answers: {
          200: { description: 'figures', content: { 'text/plain': { schema: { type: 'string' } } } },
        },
        problems: ['UNAUTHORISED', 'FORBIDDEN'],
      },
    },
    async (_, reply) => reply.type(metrics.contentType).send(await metrics.text()),
  );
}
