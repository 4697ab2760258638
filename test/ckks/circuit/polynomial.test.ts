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
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
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
  const request = client.encrypt(secret, segment);
  return client.decrypt(secret, server.evaluate(request, keys), requestDigest(request)).scores;
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
