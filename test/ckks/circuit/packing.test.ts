import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildSchedule,
  type Choice,
  decompositionCounts,
  fewestSteps,
  giantBlocks,
  stepCounts,
} from '../../../src/ckks/circuit/bsgs.ts';
import type { FoldedConvolution } from '../../../src/ckks/circuit/fold-activations.ts';
import {
  convolutionDiagonals,
  inputLayout,
  outputLayout,
  poolingSteps,
  shiftToNonNegative,
} from '../../../src/ckks/circuit/packing.ts';
import { ClearBackend } from '../../../src/ckks/evaluator/clear.ts';
import type { Operation } from '../../../src/ckks/evaluator/operations.ts';
import { encodeProgram, run } from '../../../src/ckks/evaluator/program.ts';
import type { Gadget } from '../../../src/ckks/keyswitch/gadget.ts';
import { compile, windowsOf } from '../../../src/ckks/planner/compile.ts';
import { FAST_COST, operationMs } from '../../../src/ckks/planner/cost.ts';
import { chooseGroupedSchedules, chooseSchedules } from '../../../src/ckks/planner/rotations.ts';
import { choosePrimes, log2Product } from '../../../src/ckks/ring/primes.ts';
import { simulate } from '../../../src/ckks/simulate.ts';
import { packSegment } from '../../../src/ckks/wire/reply.ts';
import { forward } from '../../../src/model/forward.ts';
import { randomModel } from '../../helpers/random-model.ts';

describe('packing', () => {
  test('when one channel of 8 samples is pooled by 2 and weighted by w, then two amounts carry (w/2, 0)', () => {
    // The worked example in src/ckks/circuit/packing.ts.
    const conv: FoldedConvolution = {
      name: 'example',
      inChannels: 1,
      outChannels: 1,
      kernel: 1,
      dilation: 1,
      helix: 0,
      pool: 2,
      weights: Float64Array.of(3),
      bias: Float64Array.of(0),
      bound: 1,
      polynomial: null,
    };
    const before = { interleave: 1, channels: 1, ciphertexts: 1 };
    const after = outputLayout(before, 1, 2);
    const { weights, period } = convolutionDiagonals(conv, before, after);
    expect(period).toBe(2);
    expect([...weights]).toEqual([
      [0, [[Float64Array.of(1.5, 0)]]],
      [1, [[Float64Array.of(1.5, 0)]]],
    ]);
    const x = [1, 2, 3, 4, 5, 6, 7, 8];
    const out = x.map((_, j) =>
      [0, 1].reduce((sum, a) => sum + weights.get(a)![0][0]![j % 2] * x[(j + a) % 8], 0),
    );
    expect(out.filter((_, j) => j % 2 === 0)).toEqual([4.5, 10.5, 16.5, 22.5]);
    expect(out.filter((_, j) => j % 2 === 1)).toEqual([0, 0, 0, 0]);
  });

  test('when k = 5 is convolved after pooling s interleaved channels, then 12 s - 1 amounts are used', () => {
    for (const s of [2, 4, 8]) {
      const conv: FoldedConvolution = {
        name: 'conv',
        inChannels: 4 * s,
        outChannels: 8 * s,
        kernel: 5,
        dilation: 1,
        helix: 0,
        pool: 2,
        weights: new Float64Array(5 * 4 * s * 8 * s).fill(1),
        bias: new Float64Array(8 * s),
        bound: 1,
        polynomial: null,
      };
      const before = { interleave: s, channels: 4 * s, ciphertexts: 4 };
      const { weights } = convolutionDiagonals(conv, before, outputLayout(before, 8 * s, 2));
      expect(weights.size).toBe(12 * s - 1);
      expect(Math.min(...weights.keys())).toBe(-(6 * s - 1));
    }
  });

  test('when the convolution is helical and its channels fill their places, then every tap takes s amounts and no weight is missing', () => {
    for (const s of [2, 4, 8]) {
      const inChannels = 4 * s;
      const outChannels = 8 * s;
      const conv: FoldedConvolution = {
        name: 'conv',
        inChannels,
        outChannels,
        kernel: 5,
        dilation: 4,
        helix: s,
        pool: 2,
        weights: new Float64Array(5 * inChannels * outChannels).fill(2),
        bias: new Float64Array(outChannels),
        bound: 1,
        polynomial: null,
      };
      const before = { interleave: s, channels: inChannels, ciphertexts: 4 };
      const { weights } = convolutionDiagonals(conv, before, outputLayout(before, outChannels, 2));
      const runs = [-2, -1, 0, 1, 2].flatMap((tap) =>
        Array.from({ length: s }, (_, a) => tap * 8 * s - s + a),
      );
      expect([...weights.keys()].sort((a, b) => a - b)).toEqual(runs);
      for (const rows of weights.values())
        for (const vector of rows.flat()) expect(vector).toEqual(new Float64Array(2 * s).fill(1));
      expect(poolingSteps(conv, before)).toEqual([s]);
    }
  });

  test('when a map is shifted, then it has no negative amounts and its result is rotated by the offset', () => {
    const before = inputLayout(16, 8);
    const conv: FoldedConvolution = {
      name: 'conv',
      inChannels: 1,
      outChannels: 4,
      kernel: 3,
      dilation: 1,
      helix: 0,
      pool: 1,
      weights: Float64Array.from({ length: 12 }, (_, i) => i + 1),
      bias: new Float64Array(4),
      bound: 1,
      polynomial: null,
    };
    const map = convolutionDiagonals(conv, before, outputLayout(before, 4, 1));
    const shifted = shiftToNonNegative(map, 0, 16);
    expect(Math.min(...shifted.map.weights.keys())).toBe(0);
    const x = Float64Array.from({ length: 16 }, (_, j) => Math.floor(j / 2) ** 2);
    const apply = (m: typeof map) =>
      Array.from({ length: 16 }, (_, j) =>
        [...m.weights].reduce((sum, [a, rows]) => sum + (rows[1][0]?.[j % 2] ?? 0) * x[(j + a + 16) % 16], 0),
      );
    const out = apply(map);
    expect(apply(shifted.map)).toEqual(out.map((_, j) => out[(j + shifted.offset) % 16]));
  });

  test('when positions are windowed, then all are covered and none is beyond the end', () => {
    for (const positions of [1, 2, 16, 25, 32, 64, 128, 256, 2048]) {
      const { windows, width, hop } = windowsOf(positions);
      expect(windows).toBeLessThanOrEqual(25);
      expect(hop * (windows - 1) + width).toBeGreaterThanOrEqual(positions);
      expect(width).toBeGreaterThanOrEqual(hop);
      expect(width).toBeLessThanOrEqual(positions);
    }
    expect(windowsOf(128)).toEqual({ windows: 25, width: 8, hop: 5 });
  });
});

describe('schedules', () => {
  test('when an amount is made of key steps, then they add up to it and are the fewest', () => {
    expect(fewestSteps(0, [1])).toEqual([]);
    expect(fewestSteps(11, [1, 5]).sort()).toEqual([1, 5, 5]);
    expect(fewestSteps(30, [1, 10, 15, 25]).sort()).toEqual([15, 15]);
    expect(() => fewestSteps(7, [2, 4])).toThrow(/no key steps add up to a rotation by 7/);
  });

  const steps = fc.uniqueArray(fc.integer({ min: 2, max: 40 }), { maxLength: 8 }).map((more) => [1, ...more]);
  const amounts = fc
    .uniqueArray(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 80 })
    .map((more) => [0, ...more].sort((a, b) => a - b));

  test('when any amounts are scheduled with any steps, then all are reached by these steps', () => {
    fc.assert(
      fc.property(steps, amounts, fc.integer({ min: 1, max: 60 }), (keys, wanted, babyStep) => {
        const map = mapOf(wanted, 1, 1);
        const { babies, giants, used } = buildSchedule(map, { babyStep, paired: false, keys });
        const reached = new Set([0]);
        for (const { from, steps: taken } of babies) {
          expect(reached).toContain(from);
          for (const { amount, step } of taken) {
            expect(keys).toContain(step);
            expect(from + step).toBe(amount);
            expect(reached).not.toContain(amount);
            reached.add(amount);
          }
        }
        for (const amount of used) expect(reached).toContain(amount);
        let giant = giants[0].amount;
        const covered: number[] = [];
        for (const { amount, rotate, rows } of giants) {
          expect(giant - rotate.reduce((a, b) => a + b, 0)).toBe(amount);
          giant = amount;
          rows[0].forEach((vector, k) => {
            if (vector) covered.push(amount + used[k]);
          });
        }
        expect(giant).toBe(0);
        expect(covered.sort((a, b) => a - b)).toEqual(wanted);
      }),
    );
  });

  test('when contiguous amounts are counted, then it is as many decompositions as the tree has', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 100 }), (keys, count) => {
        const sorted = [...keys].sort((a, b) => a - b);
        const map = mapOf(
          Array.from({ length: count }, (_, a) => a),
          1,
          1,
        );
        const { babies } = buildSchedule(map, { babyStep: count, paired: false, keys });
        expect(babies.length).toBe(decompositionCounts(count, sorted)[count]);
      }),
    );
  });

  test('when giant steps are put in blocks, then every one is held once, by a step from its base', () => {
    fc.assert(
      fc.property(steps, fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }), (keys, more) => {
        const amounts = [0, ...more].sort((a, b) => a - b);
        const sorted = [...keys].sort((a, b) => a - b);
        const blocks = giantBlocks(amounts, sorted, stepCounts(60, sorted))!;
        const held = blocks.flatMap(({ base, own, members }) => [
          ...(own ? [base] : []),
          ...members.map((step) => base + step),
        ]);
        expect(held.sort((a, b) => a - b)).toEqual(amounts);
        blocks.forEach(({ base, members }, k) => {
          expect(base).toBeGreaterThan(k === 0 ? -1 : blocks[k - 1].base);
          for (const step of members) expect(sorted).toContain(step);
        });
      }),
    );
  });

  const layers = [
    { limbs: 8, map: mapOf([0, 2, 4, 6, 8], 1) },
    { limbs: 6, map: mapOf(Array.from({ length: 23 }, (_, a) => a)) },
    { limbs: 4, map: mapOf(Array.from({ length: 47 }, (_, a) => a)) },
  ];
  const [special, ...primes] = choosePrimes(16384, [30, 28, 28, 28, 28, 28, 28, 28, 28]);
  const logQP = log2Product([special, ...primes]);
  const context = {
    parameters: { n: 16384, primes, special, logQP, security: 128 } as const,
    costs: FAST_COST,
    fixed: [{ step: 64, limbs: 2, count: 1 }],
    relinearised: [],
  };

  test('when keys may take more room, then the choice is faster and never above the budget', () => {
    let last = Number.POSITIVE_INFINITY;
    for (const budget of [10e6, 15e6, 20e6, 40e6, 80e6]) {
      const { choices, bytes } = chooseSchedules(layers, { ...context, budget });
      expect(bytes).toBeLessThanOrEqual(budget);
      const ms = layers.reduce((sum, { limbs, map }, k) => sum + estimate(map, limbs, choices[k]), 0);
      expect(ms).toBeLessThanOrEqual(last);
      last = ms;
    }
    expect(chooseSchedules(layers, { ...context, budget: 20e6 })).toEqual(
      chooseSchedules(layers, { ...context, budget: 20e6 }),
    );
  });

  test('when keys are grouped and may take more room, then the choice is faster and never above the budget', () => {
    let last = Number.POSITIVE_INFINITY;
    const relinearised = [7, 5, 3].map((limbs) => ({ limbs, count: 4 }));
    for (const budget of [15e6, 20e6, 40e6, 80e6]) {
      const { choices, gadgets, bytes } = chooseGroupedSchedules(layers, {
        ...context,
        relinearised,
        budget,
      });
      expect(bytes).toBeLessThanOrEqual(budget);
      expect(gadgets.rotation.map(({ limbs }) => limbs)).toEqual([8, 6, 4, 2]);
      expect(gadgets.relinearisation[0].limbs).toBe(7);
      const ms = layers.reduce((sum, { limbs, map }, k) => {
        const gadget = gadgets.rotation.find((of) => of.limbs === limbs)!;
        return sum + estimate(map, limbs, choices[k], gadget);
      }, 0);
      expect(ms).toBeLessThanOrEqual(last + 1e-9);
      last = ms;
    }
  });

  test('when no keys fit the budget, then the choice has as few as possible', () => {
    const { choices } = chooseSchedules(layers, { ...context, budget: 0 });
    expect(choices.map(({ keys }) => keys)).toEqual([[2], [1, 2], [1, 2]]);
  });
});

/** A map with weights on these amounts. */
function mapOf(amounts: number[], inputs = 4, outputs = 4) {
  const row = () => Array.from({ length: outputs }, () => new Array(inputs).fill(Float64Array.of(1)));
  return { period: 1, inputs, outputs, weights: new Map(amounts.map((a) => [a, row()])) };
}

/** Milliseconds of a layer's rotations and products. */
function estimate(map: ReturnType<typeof mapOf>, limbs: number, choice: Choice, gadget?: Gadget): number {
  const { babies, giants, accumulators, paired } = buildSchedule(map, choice);
  const ms = (operation: Operation) => operationMs(FAST_COST, operation, limbs, 16384, gadget);
  let turns = 0;
  let terms = 0;
  for (const { rotate, step } of giants) {
    terms += step > 0 ? 1 : Math.sign(rotate.length);
    if (step > 0) continue;
    turns += rotate.length * ms('rotate');
    if (!gadget || terms === 0) continue;
    turns += terms * ms('summedRotate') + ms('divide') - Math.sign(rotate.length) * ms('rotate');
    terms = 0;
  }
  const hoisted = babies.reduce((sum, { steps }) => sum + steps.length, 0);
  return (
    map.inputs * (babies.length * ms('decompose') + hoisted * ms('hoistedRotate')) +
    turns * accumulators +
    (paired ? 2 : 0) * ms('rotate') +
    (map.weights.size * map.inputs * accumulators + (paired ? 8 : 0)) * ms('multiplyPlain') +
    (giants.length * accumulators + (paired ? 4 : 0)) * ms('sum')
  );
}

describe('the packed computation in the clear', () => {
  const shapes = fc.record({
    samples: fc.constantFrom(64, 128, 256),
    channels: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
    kernel: fc.constantFrom(1, 3, 5, 7),
    dilation: fc.constantFrom(1, 2, 4),
    pool: fc.constantFrom(1, 2, 4),
    helix: fc.constantFrom(0, 0, 1, 2, 4, 8),
    classes: fc.integer({ min: 2, max: 5 }),
    seed: fc.nat(1000),
  });

  test('when any network is packed, then its scores are those of the naive network', {
    timeout: 120_000,
  }, () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const model = randomModel(shape);
        const segment = Float32Array.from(
          { length: shape.samples },
          (_, i) => 2 * Math.sin(i * i * 0.37 + shape.seed),
        );
        const { scores } = simulate(model, segment);
        const expected = forward(model, segment).scores;
        for (const [c, s] of scores.entries()) expect(s).toBeCloseTo(expected[c], 9);
      }),
      { numRuns: 25, seed: 7 },
    );
  });

  test.each([
    { samples: 2048, channels: [3, 8], pool: 1 },
    { samples: 2048, channels: [6, 5], pool: 1, kernel: 3 },
    { samples: 2048, channels: [4, 16, 24], pool: [2, 2, 1], dilation: [1, 2, 3] },
    { samples: 4096, channels: [2, 3, 7], pool: 1 },
  ])('when two outputs share an accumulator in %j, then they are separated exactly', (shape) => {
    const model = randomModel({ ...shape, seed: 9 });
    const pairs = compile(model).stages.filter((stage) => stage.kind === 'linear' && stage.schedule.paired);
    expect(pairs.length).toBeGreaterThan(0);
    const segment = Float32Array.from({ length: shape.samples }, (_, i) => 2 * Math.sin(i * i * 0.37));
    const { scores } = simulate(model, segment);
    const expected = forward(model, segment).scores;
    for (const [c, s] of scores.entries()) expect(s).toBeCloseTo(expected[c], 9);
  });

  test('when the map is planned, then each window holds its share of the scores', () => {
    const model = randomModel({ samples: 2048, channels: [4, 6], pool: [2, 1], seed: 3 });
    const segment = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i / 9) + Math.sin(i * i));
    const circuit = compile(model, { outputs: 'scores+map' });
    const { map } = simulate(model, segment, { outputs: 'scores+map' });
    const { windows, width, hop, positions } = circuit.reply.map!;
    const { contributions } = forward(model, segment);
    expect(contributions.length).toBe(positions * 4);
    expect(map).toHaveLength(windows);
    map!.forEach((window, w) => {
      window.forEach((value, c) => {
        let expected = 0;
        for (let k = 0; k < width; k++)
          expected += contributions[((w * hop + k) % positions) * 4 + c] / positions;
        expect(value).toBeCloseTo(expected, 9);
      });
    });
  });

  test('when every copy of the scores is read, then all agree', () => {
    const model = randomModel({ samples: 256, channels: [4, 8], seed: 5 });
    const circuit = compile(model);
    const backend = new ClearBackend();
    const segment = Float32Array.from({ length: 256 }, (_, i) => Math.cos(i / 5));
    const { scores } = run(backend, encodeProgram(backend, circuit), {
      real: packSegment(segment, circuit.parameters.n / 2),
      imaginary: null,
    });
    for (const [j, s] of scores.real.entries())
      expect(s).toBeCloseTo(scores.real[j % circuit.reply.group], 9);
  });
});
