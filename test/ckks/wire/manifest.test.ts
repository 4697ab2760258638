import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { moduli, primesOf } from '../../../src/ckks/keyswitch/gadget.ts';
import { plannedKeys } from '../../../src/ckks/keyswitch/key-set.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { allPrimes, MAX_LOG_QP } from '../../../src/ckks/ring/parameters.ts';
import { log2Product } from '../../../src/ckks/ring/primes.ts';
import { bodySizes } from '../../../src/ckks/wire/file-sizes.ts';
import { type ParsedManifest, parseManifest, sealManifest } from '../../../src/ckks/wire/manifest.ts';
import { packSegment, readMap, readScores } from '../../../src/ckks/wire/reply.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { deepList, mutated } from '../../helpers/mutate.ts';
import { randomModel } from '../../helpers/random-model.ts';
import { resealed } from '../../helpers/reseal.ts';

const model = randomModel({ samples: 2048, channels: [4, 8] });
const plans = (['hybrid', 'per-prime'] as const).map(
  (keySwitching) =>
    compile(model, { keySwitching, outputs: keySwitching === 'per-prime' ? 'scores' : 'scores+map' }).plan,
);
const manifests = plans.map(({ manifest }) => manifest);

/** What a client does with a manifest before it trusts anything else. */
function expectSound(manifest: ParsedManifest): void {
  const { parameters, keys, reply, classes, samples, planHash, ...rest } = manifest;
  expect(Object.isFrozen(manifest) && Object.isFrozen(keys.galois[0])).toBe(true);
  const { n } = parameters;
  const primes = allPrimes(parameters);
  expect(log2Product(primes)).toBeLessThanOrEqual(MAX_LOG_QP[n]);
  expect(new Set(primes.map((q) => q % (2 * n)))).toEqual(new Set([1]));
  for (const { step, gadget } of plannedKeys(parameters, keys)) {
    expect(step ?? 0).toBeLessThan(n / 2);
    expect(primesOf(parameters, moduli(gadget)).every((q) => primes.includes(q))).toBe(true);
  }
  for (const size of Object.values(bodySizes(manifest))) {
    expect(Number.isSafeInteger(size) && size > 0).toBe(true);
  }
  expect(packSegment(new Float32Array(samples).fill(1), n / 2).every((x) => x === 1)).toBe(true);
  const slots = new Float64Array(n / 2).fill(1);
  expect(readScores(slots.subarray(0, reply.group), reply, classes.length)).toEqual(classes.map(() => 1));
  if (rest.outputs === 'scores+map') {
    expect(
      readMap(slots, reply, classes.length)
        .flat()
        .every((x) => x === 1),
    ).toBe(true);
  }
  for (const positive of [rest.inputScale, rest.scoreBound, rest.scoreLimit, reply.scale]) {
    expect(Number.isFinite(positive) && positive > 0).toBe(true);
  }
  expect(rest.preprocessing.samples).toBe(samples);
  expect(planHash).toMatch(/^[0-9a-f]{64}$/);
}

/** The manifest, or null if it is refused as it should be. */
function parsed(value: unknown): ParsedManifest | null {
  try {
    return parseManifest(value);
  } catch (error) {
    expect(error).toBeInstanceOf(BlindbeatError);
    expect(error).toMatchObject({ code: 'FORMAT' });
    expect((error as Error).message.length).toBeLessThan(20_000);
    return null;
  }
}

describe('a manifest from elsewhere', () => {
  test('when it is what plan made, then it is read and sound', () => {
    for (const manifest of manifests) expectSound(parseManifest(JSON.parse(JSON.stringify(manifest))));
  });

  test.each(manifests.map((manifest) => [manifest.keys.switching, manifest] as const))(
    'when one with %s keys is changed anywhere and sealed again, then it is refused or sound',
    (_, manifest) => {
      let accepted = 0;
      fc.assert(
        fc.property(mutated(manifest), fc.boolean(), (value, seal) => {
          const sound = parsed(seal ? resealed(value) : value);
          if (!sound) return;
          accepted++;
          expectSound(sound);
        }),
        { numRuns: 1000, seed: 1 },
      );
      expect(accepted).toBeGreaterThan(20); // such as another name of a class
    },
  );

  test('when it is sealed, then its hash is the SHA-256 of its sorted content, and it is frozen', () => {
    const { planHash, ...content } = manifests[0];
    expect(resealed(content)).toEqual(manifests[0]);
    expect(sealManifest(content)).toEqual(manifests[0]);
    expect(planHash).toHaveLength(64);
    expect(() => Object.assign(sealManifest(content).reply, { scale: 1 })).toThrow(TypeError);
    expect(() => sealManifest({ ...content, scoreLimit: 128 })).toThrow(
      expect.objectContaining({ code: 'PLAN' }),
    );
  });

  test('when a copy has other content, then its type says that it is not checked', () => {
    const copy = { ...manifests[0], scoreLimit: 1 };
    // @ts-expect-error only what was checked has sizes
    expect(bodySizes(copy).reply).toBeGreaterThan(0);
  });

  test('when it has unknown fields, then they stay, and the hash is over them too', () => {
    const extended = resealed({ ...manifests[0], note: { by: 'someone' } });
    expect(parseManifest(extended)).toEqual(extended);
    expect(() => parseManifest({ ...manifests[0], note: 1 })).toThrow(/planHash does not fit/);
  });

  test('when anything in it is too deep to be hashed, then it is refused', () => {
    for (const key of ['note', ...Object.keys(manifests[0])]) {
      expect(parsed({ ...manifests[0], [key]: deepList() })).toBeNull();
    }
    expect(() => parseManifest({ ...manifests[0], note: deepList() })).toThrow(/more than 64 lists/);
  });

  test.each<[string, (m: ParsedManifest) => object, RegExp]>([
    [
      'numbers of samples that leave slots over',
      (m) => ({
        samples: 100,
        preprocessing: {
          ...m.preprocessing,
          samples: 100,
          band: { low: 0.5, lowOrder: 2, high: 1, highOrder: 4 },
        },
      }),
      /samples: expected a power of two from 1 to 16384, got 100/,
    ],
    ['a group that does not divide the slots', (m) => ({ reply: { ...m.reply, group: 5 } }), /reply\.group/],
    [
      'more classes than a group has',
      (m) => ({ classes: [...m.classes, 'B'] }),
      /reply\.group: expected 8 for 5 classes, got 4/,
    ],
    ['an offset beyond the slots', (m) => ({ reply: { ...m.reply, offset: 2 ** 20 } }), /reply\.offset/],
    ['a map that was not planned', () => ({ outputs: 'scores' }), /reply\.map: outputs "scores" have no/],
    [
      'windows beyond the slots',
      (m) => ({ reply: { ...m.reply, map: { ...m.reply.map, windows: 2 ** 20 } } }),
      /reply\.map/,
    ],
    [
      'a logQP of other primes',
      (m) => ({ parameters: { ...m.parameters, logQP: 100 } }),
      /parameters\.logQP: 100/,
    ],
    [
      'less security',
      (m) => ({ parameters: { ...m.parameters, security: 80 } }),
      /parameters\.security: expected 128, got 80/,
    ],
    [
      'infinite scales',
      () => ({ inputScale: Infinity }),
      /inputScale: expected a power of two from .*, got Infinity/,
    ],
  ])('when it has %s, then it says so', (_, change, message) => {
    const value = resealed({ ...manifests[0], ...change(manifests[0]) });
    expect(parsed(value)).toBeNull();
    expect(() => parseManifest(value)).toThrow(message);
  });
});
