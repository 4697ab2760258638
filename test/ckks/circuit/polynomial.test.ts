import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateSeries } from '../../../src/approx/chebyshev.ts';
import type { ActivationStage } from '../../../src/ckks/circuit/circuit.ts';
import { foldModel } from '../../../src/ckks/circuit/fold-activations.ts';
import { activationSteps, polynomialProgram } from '../../../src/ckks/circuit/polynomial.ts';
import { Client } from '../../../src/ckks/client.ts';
import { check } from '../../../src/ckks/planner/check.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { headroom } from '../../../src/ckks/planner/headroom.ts';
import type { Plan } from '../../../src/ckks/planner/plan.ts';
import { Server } from '../../../src/ckks/server.ts';
import { simulate } from '../../../src/ckks/simulate.ts';
import { concat } from '../../../src/ckks/wire/container.ts';
import { forward } from '../../../src/model/forward.ts';
import type { Model } from '../../../src/model/model.ts';
import { randomModel } from '../../helpers/random-model.ts';

const DEGREES = Array.from({ length: 15 }, (_, k) => k + 2);
/** Levels of a polynomial of each degree, as docs/approximation.md has them. */
const LEVELS = [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4];

const wave = (samples: number, seed: number) =>
  Float32Array.from({ length: samples }, (_, i) => 0.7 * Math.sin(0.4 * i + seed));

function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));
}

/** Scores by the real client and server. */
async function encrypted(model: Model, segment: Float32Array): Promise<number[]> {
  using server = await Server.open(compile(model), { threads: 1 });
  check(server.plan);
  using client = await Client.open(server.manifest);
  const secret = client.createSecretKey();
  using keys = server.loadKeys(concat(client.evaluationKeys(secret)));
  return client.decrypt(secret, server.evaluate(client.encrypt(secret, segment), keys)).scores;
}

/**
 * The last rounding, at scale 2^20, leaves about 1e-4 in a score, and what comes before it not much more; a
 * scale or a coefficient that is wrong shows in the second digit.
 */
const NOISE = 2e-3;

describe('an activation of every degree', () => {
  test.each(DEGREES)('when two blocks have degree %i, then packed floats give the forward pass', (degree) => {
    const model = randomModel({ samples: 64, channels: [4, 8], series: degree, seed: degree });
    const segment = wave(64, degree);
    expect(
      largestError(simulate(compile(model), segment).scores, forward(model, segment).scores),
    ).toBeLessThan(1e-11);
    const planned = compile(model).plan;
    check(planned);
    const polynomials = planned.stages.filter(({ kind }) => kind === 'activation' || kind === 'square');
    for (const { limbs } of polynomials) expect(limbs[0] - limbs[1]).toBe(LEVELS[degree - 2]);
  });

  test.each(DEGREES)(
    'when one block has degree %i, then its encrypted scores are those of the forward pass',
    async (degree) => {
      const model = randomModel({ samples: 64, channels: [4], series: degree, seed: degree });
      const segment = wave(64, degree);
      expect(largestError(await encrypted(model, segment), forward(model, segment).scores)).toBeLessThan(
        NOISE,
      );
    },
    30_000,
  );

  test('when blocks have different degrees, a bare square among them, then encrypted scores are right', async () => {
    const model = randomModel({ samples: 64, channels: [4, 4, 8], series: [4, 2, 3], seed: 5 });
    expect(compile(model).circuit.stages.map(({ kind }) => kind)).toEqual([
      ...['linear', 'activation', 'linear', 'square', 'linear', 'activation', 'linear', 'sum'],
    ]);
    const segment = wave(64, 5);
    expect(largestError(await encrypted(model, segment), forward(model, segment).scores)).toBeLessThan(NOISE);
  }, 60_000);

  test('when degree 2 is given as a series, then the plan is that of the same polynomial per channel', () => {
    const model = randomModel({ samples: 256, channels: [4, 8] });
    for (const block of model.blocks) {
      const { range } = block.activation;
      const powers = [1, 0.25, 0.125]; // the same below, on [-4, 4]
      const coefficients = new Float32Array(3 * block.outChannels);
      powers.forEach((c, k) => {
        coefficients.fill(c, k * block.outChannels, (k + 1) * block.outChannels);
      });
      block.activation = { kind: 'polynomial', degree: 2, coefficients, range };
    }
    const series = structuredClone(model);
    for (const block of series.blocks)
      block.activation = { kind: 'chebyshev', coefficients: [2, 1, 1], range: [-4, 4] };
    const [powers, chebyshev] = [compile(model).plan, compile(series).plan];
    // Only that t is squared instead of x is another.
    const withoutBounds = ({ stages }: Plan) => stages.map(({ bound: _, ...stage }) => stage);
    expect(withoutBounds(chebyshev)).toEqual(withoutBounds(powers));
    expect(chebyshev.manifest.parameters).toEqual(powers.manifest.parameters);
    expect(chebyshev.manifest.keys).toEqual(powers.manifest.keys);
    const segment = wave(256, 1);
    expect(
      largestError(simulate(compile(series), segment).scores, forward(series, segment).scores),
    ).toBeLessThan(1e-11);
  });

  test('when degree 2 has next to no square, then it is evaluated as T_2 and T_1', () => {
    const model = randomModel({ samples: 64, channels: [4, 8], series: [2, 3] });
    model.blocks[0].activation = { kind: 'chebyshev', coefficients: [0.3, 1, 1e-5], range: [-4, 4.5] };
    expect(compile(model).circuit.stages[1].kind).toBe('activation');
    const segment = wave(64, 2);
    expect(
      largestError(simulate(compile(model), segment).scores, forward(model, segment).scores),
    ).toBeLessThan(1e-9);
  });
});

describe('the steps of a polynomial', () => {
  const primes = Array.from({ length: 12 }, (_, i) => 2 ** 29 - 1000 * i);
  const run = (coefficients: number[], t: number) => {
    const program = polynomialProgram(coefficients, 'block 1');
    const steps = activationSteps(program, primes, 12, 2 ** 30, 2 ** 31);
    const values = [t];
    for (const { products, terms, added, constant } of steps) {
      const sum = (of: number[]) => of.reduce((a, b) => a + b, 0);
      values.push(
        constant +
          sum(products.map(({ left, right, times }) => times * values[left] * values[right])) +
          sum(terms.map(({ node, scalar }) => scalar * values[node])) +
          sum(added.map(({ node, times }) => times * values[node])),
      );
    }
    return program.factor * values.at(-1)!;
  };

  test('for any coefficients, small, zero and whole ones too, they give the polynomial', () => {
    const coefficient = fc.oneof(
      fc.double({ min: -3, max: 3, noNaN: true }),
      fc.integer({ min: -4, max: 4 }),
      fc.double({ min: -1e-6, max: 1e-6, noNaN: true }),
    );
    fc.assert(
      fc.property(
        fc.array(coefficient, { minLength: 3, maxLength: 20 }),
        fc.double({ min: -1, max: 1, noNaN: true }),
        (coefficients, t) => {
          const size = coefficients.reduce((sum, c) => sum + Math.abs(c), 0);
          fc.pre(coefficients.slice(2).some((c) => Math.abs(c) > 1e-9 * size));
          const expected = evaluateSeries({ range: [-1, 1], coefficients }, t);
          expect(Math.abs(run(coefficients, t) - expected)).toBeLessThan(1e-9 * Math.max(1, size));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('when a leading coefficient is small beside the others, then it is not left to the next layer', () => {
    const smooth = Array.from({ length: 9 }, (_, k) => 2 ** -k); // whole multiples of the last
    const folded = polynomialProgram(smooth, 'block 1');
    expect([folded.levels, folded.factor, folded.slope]).toEqual([3, 2 ** -8, 8]);
    const rough = smooth.with(8, 2 ** -30).with(7, 1);
    const whole = polynomialProgram(rough, 'block 1');
    expect([whole.levels, whole.factor, whole.slope]).toEqual([4, 1, 0]);
  });

  test('when every step is bounded, then the bounds hold and the largest is reached', () => {
    const model = randomModel({ samples: 64, channels: [4], series: 11 });
    const stage = compile(model).circuit.stages[1] as ActivationStage;
    const { coefficients } = model.blocks[0].activation as { coefficients: number[] };
    const { factor } = foldModel(model).convolutions[0].polynomial!;
    let most = 0;
    for (let t = -1; t <= 1; t += 1 / 4096)
      most = Math.max(most, Math.abs(evaluateSeries({ range: [-1, 1], coefficients }, t) / factor));
    expect(stage.bound / most).toBeCloseTo(1, 4);
    for (const { bits, room } of headroom(compile(model).circuit))
      expect(bits).toBeLessThanOrEqual(room + 1e-6);
  });
});

describe('the chain of primes', () => {
  const CHANNELS = [8, 16, 32, 64, 128, 256];
  const deep = (series: number | number[], blocks = 6) =>
    randomModel({ samples: 4096, channels: CHANNELS.slice(0, blocks), kernel: 3, series });

  test.each([
    [3, 32768, 20],
    [8, 32768, 26],
    [16, 32768, 32],
  ])('when six blocks have degree %i, then N = %i and %i primes hold them', (degree, n, count) => {
    const planned = compile(deep(degree)).plan;
    const { parameters } = planned.manifest;
    expect([parameters.n, parameters.primes.length]).toEqual([n, count]);
    expect(parameters.logQP).toBeLessThanOrEqual(868);
    expect(planned.bytes.evaluationKeys).toBeLessThanOrEqual(500e6);
    // Every convolution and every T_k keeps 26 bits of scale or more.
    for (const { kind, scale } of planned.stages.slice(0, -2))
      if (kind === 'linear') expect(Math.log2(scale[1])).toBeGreaterThan(26);
    check(planned);
  });

  test('when few blocks have a high degree, then N = 16384 holds them', () => {
    expect(compile(deep([2, 3, 2], 3)).plan.manifest.parameters.n).toBe(16384);
    expect(compile(deep(16, 2)).plan.manifest.parameters.n).toBe(16384);
  });

  test('when keys do not fit a backend, then it is not opened', async () => {
    await expect(Server.open(compile(deep(16), { backend: 'seal', keyBudget: 1e9 }))).rejects.toThrow(
      /the seal backend would need \d+\.\d GB.* WebAssembly has 3\.9 GB: use a smaller key budget .* fast backend/,
    );
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      'six blocks have degree 17',
      () => compile(deep(17)),
      /block 6 is too deep: 6 blocks and a dense layer take 37 levels and \d+ bits of primes, but ring degree 32768 has only 868/,
    ],
    [
      'six blocks of degree 3 are to fit N = 16384',
      () => compile(deep(3), { n: 16384 }),
      /block 5 is too deep: .*use a larger n, a lower degree or fewer blocks/,
    ],
    ['an activation is linear', () => compile(deep(1)), /block 1: its activation is linear/],
  ])('when %s, then the error says so', (_, act, message) => {
    expect(act).toThrow(message);
  });
});

describe('the independent check of activations', () => {
  const sound = compile(randomModel({ samples: 64, channels: [4], series: 7 })).plan;
  const stage = (p: Plan) => p.stages[1].steps!;
  test.each<[string, (p: Plan) => void, RegExp]>([
    [
      'a product is of other scale',
      (p) => {
        stage(p)[0].products[0].times += 1;
      },
      /polynomial 1, step 1: a product is at scale/,
    ],
    [
      'a number is encoded at another scale',
      (p) => {
        stage(p).at(-1)!.terms[0].scale *= 2;
      },
      /a term is at scale/,
    ],
    [
      'a node does not exist yet',
      (p) => {
        stage(p)[0].products[0].right = 3;
      },
      /step 1: node 3 is not there/,
    ],
    [
      'a node is needed above its level',
      (p) => {
        stage(p).at(-1)!.limbs += 1;
      },
      /is not there at/,
    ],
    [
      'values do not fit',
      (p) => {
        stage(p).at(-1)!.bounds[0] *= 1e30;
      },
      /do not fit/,
    ],
    [
      'the relinearisation key is short',
      (p) => {
        p.manifest.keys.relinearisation[0].limbs -= 1;
      },
      /no relinearisation key serves/,
    ],
    [
      'the last step is missing',
      (p) => {
        stage(p).pop();
      },
      /its steps end at/,
    ],
  ])('when %s, then it says so', (_, change, message) => {
    const copy = structuredClone(sound);
    change(copy);
    expect(() => check(copy)).toThrow(message);
  });
});
