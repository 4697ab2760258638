import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { simulate } from '../../../src/ckks/simulate.ts';
import { parseManifest } from '../../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import type { EvaluatorsHere } from '../../helpers/evaluators-here.ts';
import {
  BUDGET,
  inferAt,
  keysAt,
  MODEL,
  makePerson,
  openEvaluators,
  type Person,
  post,
  put,
  type Running,
  startService,
} from './helpers.ts';

let evaluators: EvaluatorsHere;
let person: Person;
let service: Running;

beforeAll(async () => {
  evaluators = await openEvaluators();
  service = await startService(evaluators);
  person = await makePerson(service.manifest);
});
afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
  person?.[Symbol.dispose]();
  await evaluators?.[Symbol.asyncDispose]();
});

describe('a round trip', () => {
  test('when a client has an address alone, then it gets its scores with one request', async () => {
    const { models } = (await (await fetch(`${service.url}/v1/models`)).json()) as {
      models: { id: string; bytes: object }[];
    };
    expect(models).toEqual([
      {
        id: MODEL.name,
        planHash: service.manifest.planHash,
        classes: MODEL.classes,
        bytes: {
          evaluationKeys: person.keys.length,
          request: person.request.length,
          reply: expect.any(Number),
        },
      },
    ]);
    const got = await fetch(`${service.url}/v1/models/${models[0].id}/manifest`);
    expect(parseManifest(await got.json())).toEqual(service.manifest);
    const missing = await post(inferAt(service, person.hash), person.request);
    expect([missing.status, ((await missing.json()) as { code: string }).code]).toEqual([
      404,
      'KEYS_NOT_FOUND',
    ]);
    const sent = await put(keysAt(service, person.hash), person.keys);
    expect(sent.status).toBe(201);
    const answer = await post(inferAt(service, person.hash), person.request);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/octet-stream');
    expect(answer.headers.get('server-timing')).toMatch(
      /^queue;dur=[\d.]+, load;dur=[\d.]+, evaluate;dur=[\d.]+$/,
    );
    const reply = new Uint8Array(await answer.arrayBuffer());
    const { scores } = person.client.decrypt(person.secret, reply, requestDigest(person.request));
    const samples = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i / 5));
    const clear = simulate(compile(MODEL, BUDGET), samples).scores;
    for (const [c, score] of [...scores].entries()) expect(score).toBeCloseTo(clear[c], 2);
  });
});
