import { describe, expect, test } from 'vitest';
import { TraceBackend } from '../../../src/ckks/evaluator/trace.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { FAST_COST } from '../../../src/ckks/planner/cost.ts';
import { planCircuit } from '../../../src/ckks/planner/plan.ts';
import { allPrimes, MAX_LOG_QP } from '../../../src/ckks/ring/parameters.ts';
import { log2Product } from '../../../src/ckks/ring/primes.ts';
import { parseManifest } from '../../../src/ckks/wire/manifest.ts';
import { randomModel, SHIPPED } from '../../helpers/random-model.ts';

const shipped = () => randomModel(SHIPPED);

describe('the plan of the shipped architecture', () => {
  const planned = compile(shipped()).plan;
  const { parameters, keys } = planned.manifest;

  test('when it is planned, then its parameters are N = 16384 and 128 bit', () => {
    expect(parameters.n).toBe(16384);
    expect(parameters.security).toBe(128);
    expect(parameters.logQP).toBeLessThanOrEqual(430);
    expect(parameters.primes).toHaveLength(14);
    expect(parameters.spare).toHaveLength(1);
    expect(allPrimes(parameters)).toMatchInlineSnapshot(`
      [
        1073643521,
        536641537,
        268369921,
        67043329,
        33292289,
        16580609,
        33128449,
        16515073,
        32931841,
        16384001,
        32899073,
        16121857,
        32440321,
        15630337,
        133857281,
        268271617,
      ]
    `);
  });

  test('when keys are per prime, then the primes are longer and none is spare', () => {
    const { manifest } = compile(shipped(), { keySwitching: 'per-prime' }).plan;
    expect(manifest.parameters.spare).toBeUndefined();
    expect(allPrimes(manifest.parameters)).toMatchInlineSnapshot(`
      [
        1073643521,
        1073479681,
        1073184769,
        268369921,
        133857281,
        67043329,
        132710401,
        66813953,
        132612097,
        66551809,
        132120577,
        66420737,
        131923969,
        65929217,
        1073053697,
      ]
    `);
  });

  test('when a spare prime has no room, then hybrid keys do without', () => {
    const { parameters: without } = compile(randomModel({ samples: 64, channels: [4, 8] }), { n: 8192 }).plan
      .manifest;
    expect(without.spare).toBeUndefined();
  });

  test('when it is planned, then it costs exactly these operations', () => {
    expect(planned.operations).toMatchInlineSnapshot(`
      {
        "add": 27,
        "addPlain": 25,
        "decompose": 32,
        "divide": 59,
        "hoistedRotate": 72,
        "multiply": 0,
        "multiplyPlain": 2808,
        "relinearise": 24,
        "rescale": 49,
        "rotate": 69,
        "square": 24,
        "sum": 138,
        "summedRotate": 103,
      }
    `);
    expect(
      planned.stages.map(
        (s) =>
          `${s.name}: ${s.limbs.join('>')} limbs, ${s.amounts ?? 0} amounts, ${s.operations.rotate} + ${s.operations.hoistedRotate} rotations`,
      ),
    ).toMatchInlineSnapshot(`
      [
        "block 1: 14>13 limbs, 5 amounts, 4 + 0 rotations",
        "square 1: 13>12 limbs, 0 amounts, 0 + 0 rotations",
        "block 2: 12>11 limbs, 10 amounts, 10 + 0 rotations",
        "square 2: 11>10 limbs, 0 amounts, 0 + 0 rotations",
        "block 3: 10>9 limbs, 20 amounts, 18 + 0 rotations",
        "square 3: 9>8 limbs, 0 amounts, 0 + 0 rotations",
        "block 4: 8>7 limbs, 40 amounts, 10 + 8 rotations",
        "square 4: 7>6 limbs, 0 amounts, 0 + 0 rotations",
        "block 5: 6>5 limbs, 80 amounts, 10 + 24 rotations",
        "square 5: 5>4 limbs, 0 amounts, 0 + 0 rotations",
        "block 6: 4>3 limbs, 160 amounts, 10 + 24 rotations",
        "square 6: 3>2 limbs, 0 amounts, 0 + 0 rotations",
        "dense: 2>2 limbs, 67 amounts, 0 + 16 rotations",
        "mean over time: 2>1 limbs, 0 amounts, 7 + 0 rotations",
      ]
    `);
  });

  test('when it is planned, then it needs exactly these keys and bytes', () => {
    expect(keys.relinearisation.map(({ limbs }) => limbs).join(' ')).toMatchInlineSnapshot(`"13 9 3"`);
    expect(keys.galois.map((k) => `${k.step}@${k.limbs}`).join(' ')).toMatchInlineSnapshot(
      `"0@12 1@12 1@10 1@8 1@6 1@4 1@2 2@14 2@12 2@8 3@6 3@2 4@12 4@10 4@8 5@6 5@4 5@2 8@10 8@8 8@6 8@4 16@8 16@6 16@4 24@4 32@4 64@2 128@6 128@2 256@2 512@4 512@2 1024@2 2048@2 4096@2"`,
    );
    expect(planned.bytes).toMatchInlineSnapshot(`
      {
        "evaluationKeys": 47894335,
        "reply": 61737,
        "request": 733437,
        "secretKey": 846013,
      }
    `);
    expect(planned.bytes.request).toBeLessThanOrEqual(1e6);
    expect(planned.bytes.reply).toBeLessThanOrEqual(0.3e6);
    expect(planned.bytes.evaluationKeys).toBeLessThanOrEqual(48e6);
  });

  test('when no budget is given, then hybrid keys take 48 MB at most and per-prime keys, which are larger, 64 MB', () => {
    const [hybrid, perPrime] = (['hybrid', 'per-prime'] as const).map(
      (keySwitching) => compile(shipped(), { keySwitching }).plan.bytes.evaluationKeys,
    );
    expect(hybrid).toBeLessThanOrEqual(48e6);
    expect(perPrime).toBeLessThanOrEqual(64e6);
    expect(perPrime).toBeGreaterThan(60e6); // a megabyte more saves more than a millisecond
  });

  test('when keys may take more room, then the server is faster, and the keys stay within it', () => {
    let last = Number.POSITIVE_INFINITY;
    for (const megabytes of [40, 48, 64, 120]) {
      const { bytes, estimate } = compile(shipped(), { keyBudget: megabytes * 1e6 }).plan;
      expect(bytes.evaluationKeys).toBeLessThanOrEqual(megabytes * 1e6);
      expect(estimate.serverMs).toBeLessThan(last);
      last = estimate.serverMs;
    }
    expect(() => compile(shipped(), { keyBudget: 20e6 })).toThrow(
      /no choice of rotation keys was found within 20.0 MB: the smallest takes \d\d.\d MB/,
    );
  });

  test('when other costs are given, then only an explicit option of the plan changes the rotations', () => {
    const costs = { ...FAST_COST, sum: { squared: 0, linear: 0.5 } };
    const circuit = compile(shipped()).circuit;
    expect(planCircuit(shipped(), circuit, 'fast', costs).manifest).toEqual(planned.manifest);
    expect(compile(shipped(), { costs }).plan.manifest.planHash).not.toBe(planned.manifest.planHash);
  });

  test('when the plain network without dilation is planned, then layers 2 to 6 have 23 to 383 amounts', () => {
    const plain = compile(randomModel({ samples: 4096, channels: SHIPPED.channels })).plan;
    const amounts = plain.stages.filter((s) => s.name.startsWith('block')).map((s) => s.amounts);
    expect(amounts).toEqual([5, 23, 47, 95, 191, 383]);
  });

  test('when the map is planned too, then only the reply grows', () => {
    const withMap = compile(shipped(), { outputs: 'scores+map' }).plan;
    expect(withMap.bytes.request).toBe(planned.bytes.request);
    expect(withMap.bytes.evaluationKeys).toBe(planned.bytes.evaluationKeys);
    expect(withMap.bytes.reply).toBeGreaterThan(planned.bytes.reply);
    expect(withMap.bytes.reply).toBeLessThanOrEqual(0.3e6);
  });
});

describe('the dry run', () => {
  const parameters = compile(randomModel({ samples: 2048, channels: [4, 8] })).plan.manifest.parameters;

  test('when operations do not fit together, then it refuses as SEAL would', () => {
    const trace = new TraceBackend(parameters);
    const v = trace.input(2 ** 30);
    expect(() => trace.addPlain(v, trace.encode(Float64Array.of(1), 2 ** 29, 6))).toThrow(/equal scales/);
    expect(() => trace.addPlain(v, trace.encode(Float64Array.of(1), 2 ** 30, 5))).toThrow(/equal levels/);
    expect(() => trace.relinearise(v)).toThrow(/a product/);
    expect(() => trace.rotate(trace.square(v), 1)).toThrow(/relinearised/);
    expect(() => trace.rotate(v, 4096)).toThrow(/out of range/);
    expect(() => trace.rescale(v, 2 ** 30)).toThrow(/is planned/);
    trace.free(v);
    expect(() => trace.free(v)).toThrow(/twice/);
  });

  test('when the bound is looked up, then it grows with the ring', () => {
    const bounds = Object.values(MAX_LOG_QP);
    expect(bounds).toEqual([...bounds].sort((a, b) => a - b));
    expect(log2Product([4, 8])).toBe(5);
  });
});

describe('the manifest', () => {
  const { manifest } = compile(randomModel({ samples: 2048, channels: [4, 8] })).plan;
  const changed = (change: (m: Record<string, unknown>) => void) => {
    const copy = structuredClone(manifest) as unknown as Record<string, unknown>;
    change(copy);
    return copy;
  };

  test('when it is written and read, then it is the same and holds no weights', () => {
    expect(parseManifest(JSON.parse(JSON.stringify(manifest)))).toEqual(manifest);
    expect(JSON.stringify(manifest)).not.toMatch(/weights|bias|stages/);
  });

  test.each<[string, unknown, RegExp]>([
    ['nothing', null, /manifest: expected an object, got null/],
    ['another format', { format: 'x' }, /format: expected "blindbeat manifest", got "x"/],
    [
      'a later version',
      changed((m) => {
        m.version = 2;
      }),
      /version: expected 1, got 2/,
    ],
    [
      'a changed scale',
      changed((m) => {
        m.inputScale = 2 ** 30;
      }),
      /planHash does not fit/,
    ],
    [
      'several faults',
      changed((m) => {
        m.classes = 3;
        m.samples = -1;
      }),
      /classes: expected.*got 3\n.*samples: expected.*got -1/,
    ],
    [
      'other preprocessing',
      changed((m) => {
        (m.preprocessing as { samples: number }).samples = 4096;
      }),
      /preprocessing makes 4096 samples, but a segment has 2048/,
    ],
    [
      'insecure primes',
      changed((m) => {
        (m.parameters as { n: number }).n = 4096;
      }),
      /128-bit/,
    ],
    [
      'a huge ring',
      changed((m) => {
        (m.parameters as { n: number }).n = 1 << 24;
      }),
      /none of 4096/,
    ],
    [
      'no parameters',
      changed((m) => {
        delete m.parameters;
      }),
      /parameters: expected an object, got nothing/,
    ],
    [
      'an impossible rotation',
      changed((m) => {
        (m.keys as typeof manifest.keys).galois[0].step = 5000;
      }),
      /keys\.galois\[0\]\.step: a rotation by 5000/,
    ],
  ])('when it is %s, then all that is wrong is listed', (_, value, message) => {
    expect(() => parseManifest(value)).toThrow(message);
  });
});
