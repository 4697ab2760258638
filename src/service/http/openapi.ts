import swagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { toJsonSchema } from '@valibot/to-json-schema';
import type { FastifyInstance } from 'fastify';
import type * as v from 'valibot';
import { ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { packageVersion } from '../../measure/version.ts';
import { PROBLEMS_PAGE, problemsPage, titleOf } from './problems.ts';
import { ProblemReply } from './schemas.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body is a file. */
    octets?: boolean;
    /** Answers that are no JSON, by status, as OpenAPI describes them. */
    answers?: Record<number, { description: string; content?: object }>;
    /** Codes of the errors that a client should know. */
    problems?: readonly ErrorCode[];
  }
}

type Transform = NonNullable<FastifyDynamicSwaggerOptions['transform']>;
/** The schemas of a route, as it was declared. */
type Declared = Partial<Record<'params' | 'querystring' | 'headers', v.GenericSchema>> & {
  response?: Record<string, v.GenericSchema>;
};

const OCTETS = { type: 'string', format: 'binary' };
/** An answer that is a file. */
export const FILE_ANSWER = { 'application/octet-stream': { schema: OCTETS } };

/** Describes the routes that are added after it, at /v1/openapi.json, with a page at /docs. */
export async function addOpenApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.0.3',
      info: {
        title: 'blindbeat',
        version: packageVersion(),
        description:
          'Arrhythmia detection on an encrypted ECG, by a server that cannot see it. Not a medical device.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
    transform,
  });
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true });
  app.get('/v1/openapi.json', { schema: { hide: true } }, () => app.swagger());
  app.get(PROBLEMS_PAGE, { schema: { hide: true } }, (_, reply) =>
    reply.type('text/html').send(problemsPage()),
  );
}

/** Makes JSON schemas of a route's schemas. */
const transform: Transform = ({ schema, url, route }) => {
  const { octets, answers = {}, problems = [], scope } = route.config ?? {};
  const { params, querystring, headers, response = {}, ...rest } = (schema ?? {}) as Declared;
  const objects = Object.entries(response).map(([status, reply]) => [
    status,
    { description: 'answer', ...jsonOf(reply) },
  ]);
  return {
    url,
    schema: {
      ...rest,
      ...(params && { params: jsonOf(params) }),
      ...(querystring && { querystring: jsonOf(querystring) }),
      ...(headers && { headers: jsonOf(headers) }),
      ...(octets && { consumes: ['application/octet-stream'], body: OCTETS }),
      ...(scope && { security: [{ token: [] }] }),
      response: { ...Object.fromEntries(objects), ...answers, ...problemAnswers(problems) },
    },
  };
};

/** Codes of one status are one answer. */
function problemAnswers(codes: readonly ErrorCode[]): Record<string, object> {
  const byStatus = Map.groupBy(codes, (code) => ERROR_CODES[code].status);
  const content = { 'application/problem+json': { schema: jsonOf(ProblemReply) } };
  return Object.fromEntries(
    [...byStatus].map(([status, of]) => [
      status,
      { description: of.map((code) => `${code}: ${titleOf(code)}`).join('; '), content },
    ]),
  );
}

function jsonOf(schema: v.GenericSchema): object {
  const { $schema: _, ...json } = toJsonSchema(schema, { target: 'openapi-3.0', errorMode: 'ignore' });
  return json;
}
