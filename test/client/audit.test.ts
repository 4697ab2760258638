import { describe, expect, test } from 'vitest';
import { compile } from '../../src/ckks/planner/compile.ts';
import { parseManifest } from '../../src/ckks/wire/manifest.ts';
import { Audit } from '../../src/client/audit.ts';
import { RemoteClient } from '../../src/client/remote-client.ts';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { checkValues } from '../../src/model/check-values.ts';
import { forward } from '../../src/model/forward.ts';
import { MemoryKeys } from '../helpers/memory-keys.ts';
import { randomModel } from '../helpers/random-model.ts';
import { problem, TestService } from '../helpers/test-service.ts';

const model = randomModel({ samples: 2048, channels: [4], kernel: 3 });
const other = randomModel({ samples: 2048, channels: [4], kernel: 3, seed: 2 });
const compiled = compile(model);
const { manifest } = compiled.plan;
const { leads, rate } = synthesise({ rhythm: 'ectopic', seed: 9, seconds: 15, rate: 300 });
const segment = prepareSegment(leads[0].mv, rate, model.preprocessing).samples;
const INFER = 'POST /v1/models/random-1/infer';
const keys = new MemoryKeys();
const connect = (service: TestService, audit: number) =>
  RemoteClient.connect(service.url, { keys, audit, patience: { backoffMs: 5, giveUpMs: 500 } });

describe('check values', () => {
  test('when a model is compiled then its manifest tells what it makes of two ECGs that anybody can make', () => {
    expect(manifest.checks).toHaveLength(2);
    for (const { rhythm, seed, scores } of manifest.checks!) {
      const { leads, rate } = synthesise({ rhythm, seed, seconds: 15, rate: 300 });
      const clear = forward(model, prepareSegment(leads[0].mv, rate, model.preprocessing).samples).scores;
      scores.forEach((score, c) => {
        expect(Math.abs(score - clear[c])).toBeLessThanOrEqual(5.01e-5);
      });
    }
    const [normal, af] = manifest.checks!.map(({ scores }) => scores);
    expect(normal).not.toEqual(af);
    expect(compile(model).plan.manifest.planHash).toBe(manifest.planHash);
  });

  test('when the model names no class for them, or refuses them, then there are none, and an audit is refused', () => {
    const strict = compile({ ...model, scoreLimit: 1e-3 }).plan.manifest;
    expect(strict.checks).toBeUndefined();
    expect(() => new Audit(strict, 0.1)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    expect(new Audit(strict, 0).draw()).toBeNull();
    const patient = { ...model.preprocessing, minimumSeconds: 60 };
    expect(checkValues({ ...model, preprocessing: patient })).toEqual([]);
  });

  test('when a check value is changed then the manifest is another', () => {
    const [first, ...rest] = manifest.checks!;
    const checks = [{ ...first, seed: first.seed + 1 }, ...rest];
    expect(() => parseManifest({ ...manifest, checks })).toThrow(/planHash does not fit/);
  });
});

describe('Audit', () => {
  test('when a share is asked for then that many are drawn, of every kind and place', () => {
    const audit = new Audit(manifest, 0.5);
    const drawn = Array.from({ length: 200 }, () => audit.draw()).filter((known) => known !== null);
    expect(drawn.length).toBeGreaterThan(60); // 140 and 60 are 5.7 deviations from 100
    expect(drawn.length).toBeLessThan(140);
    const kinds = new Set(drawn.map(({ scores, first }) => `${scores[0]} ${first}`));
    expect(kinds.size).toBe(4);
  });

  test.each([-0.1, 1.1, Number.NaN])('when the share is %d then it is refused', (share) => {
    expect(() => new Audit(manifest, share)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('an audited service', () => {
  test('when it is honest then it is asked twice, one after the other, and nothing is found', async () => {
    using service = await TestService.startCompiled(compiled);
    using client = await connect(service, 1);
    const { decrypted, audited } = await client.classify(segment);
    expect([audited, service.count(INFER), service.mostAtOnce]).toEqual([true, 2, 1]);
    const { scores } = forward(model, segment);
    decrypted.scores.forEach((score, c) => {
      expect(Math.abs(score - scores[c])).toBeLessThan(1e-2);
    });
    using unaudited = await connect(service, 0);
    expect((await unaudited.classify(segment)).audited).toBe(false);
    expect(service.count(INFER)).toBe(3);
  });

  test('when it computes another network under the same manifest then it is found out', async () => {
    using service = await TestService.startCompiled({ circuit: compile(other).circuit, plan: compiled.plan });
    using client = await connect(service, 1);
    const refused = client.classify(segment);
    await expect(refused).rejects.toMatchObject({ code: 'WRONG_ANSWER' });
    await expect(refused).rejects.toThrow(`${service.url} answered wrong`);
    using trusting = await connect(service, 0);
    expect((await trusting.classify(segment)).decrypted.scores).toHaveLength(4); // nothing else tells
  });

  test('when it answers with what is no reply then that is wrong too, and a refusal is not', async () => {
    using service = await TestService.startCompiled(compiled);
    using client = await connect(service, 1);
    const codes = new Set<string>();
    // Whether the known recording or the other one goes first is up to chance.
    for (let k = 0; k < 20 && codes.size < 2; k++) {
      service.faults.splice(0);
      service.once(INFER, (_, response) => response.end('no'));
      codes.add(
        await client.classify(segment).then(
          () => 'none',
          ({ code }) => code,
        ),
      );
    }
    expect([...codes].sort()).toEqual(['FORMAT', 'WRONG_ANSWER']);
    for (let k = 0; k < 4; k++) {
      service.faults.splice(0);
      // The client encrypts anew, twice.
      for (let times = 0; times < 3; times++)
        service.once(INFER, (_, response) => problem(response, 'POISON', 'it ended two evaluators'));
      await expect(client.classify(segment)).rejects.toMatchObject({ code: 'POISON' });
    }
  });
});
