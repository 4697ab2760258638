import { describe, expect, test } from 'vitest';
import { manifestProblems } from '../../fuzz/manifest-oracle.ts';
import { modelProblems } from '../../fuzz/model-oracle.ts';
import { layoutOf, planHashOf, residueAt, residueProblem, sizeOf } from '../../fuzz/oracles.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { packBits } from '../../src/ckks/ring/bit-packing.ts';
import { bodySizes } from '../../src/ckks/wire/file-sizes.ts';
import { serialiseModel } from '../../src/model/format.ts';
import { randomModel } from '../helpers/random-model.ts';

const model = randomModel({ samples: 64, channels: [2] });
const plans = [
  compile(model).plan,
  compile(model, { outputs: 'scores+map' }).plan,
  compile(model, { keySwitching: 'per-prime' }).plan,
];

describe('the oracles', () => {
  test('when plans are made, then their manifests break no rule, and their files are as long as laid out', () => {
    for (const { manifest } of plans) {
      expect(manifestProblems(JSON.parse(JSON.stringify(manifest)))).toEqual([]);
      const size = (kind: Parameters<typeof layoutOf>[0]) =>
        layoutOf(kind, manifest).reduce((sum, part) => sum + sizeOf(part), 0);
      expect({
        secretKey: size('secret key'),
        evaluationKeys: size('evaluation keys'),
        request: size('request'),
        reply: size('reply'),
      }).toEqual(bodySizes(manifest));
    }
  });

  test.each<[string, object, string]>([
    ['no classes', { classes: [] }, 'classes'],
    ['a limit beyond the bound', { scoreLimit: 1e9 }, 'score limit'],
    ['samples that do not fill the slots', { samples: 63 }, 'samples'],
    ['an input scale beyond all', { inputScale: 1e308 }, 'input scale'],
    ['check values of one class', { checks: [{ rhythm: 'af', seed: 1, scores: [0] }] }, 'check values'],
    ['another hash', { planHash: 'x' }, 'hash'],
  ])('when a manifest has %s, then the rule is named', (_, change, rule) => {
    const changed = { ...plans[0].manifest, ...change };
    const sealed = rule === 'hash' ? changed : { ...changed, planHash: planHashOf(changed) };
    expect(manifestProblems(sealed).join()).toContain(rule);
  });

  test('when numbers are packed, then the oracle reads them, and finds one that is not below its prime', () => {
    const words = Uint32Array.from({ length: 100 }, (_, i) => (i * 7919) % 65537);
    const body = packBits(words, 0, 100, 1, 17);
    expect(Array.from(words, (_, i) => residueAt(body, 0, 17, i))).toEqual([...words]);
    const largest = Math.max(...words);
    expect(residueProblem(body, [{ count: 100, bits: 17, prime: largest + 1 }])).toBeNull();
    expect(residueProblem(body, [{ count: 100, bits: 17, prime: largest }])).toMatch(/residue/);
  });

  test('when a model is written, then it breaks no rule, and with one weight less it does', () => {
    const { json, weights } = serialiseModel(model);
    expect(modelProblems(json, weights)).toEqual([]);
    expect(modelProblems(json, weights.subarray(4))).not.toEqual([]);
  });
});
