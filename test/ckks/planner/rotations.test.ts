import { describe, expect, test } from 'vitest';
import { buildSchedule, type ScheduleChoice } from '../../../src/ckks/circuit/bsgs.ts';
import { foldModel } from '../../../src/ckks/circuit/fold-activations.ts';
import { COUNTED, type Operation } from '../../../src/ckks/evaluator/operations.ts';
import { encodeProgram, run } from '../../../src/ckks/evaluator/program.ts';
import { TraceBackend } from '../../../src/ckks/evaluator/trace.ts';
import { type Gadget, KEY_SWITCHINGS, type KeySwitching } from '../../../src/ckks/keyswitch/gadget.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { estimateMs, FAST_COST, operationMs } from '../../../src/ckks/planner/cost.ts';
import { packLinearLayers } from '../../../src/ckks/planner/linear-layers.ts';
import { chooseRingDegree } from '../../../src/ckks/planner/ring-degree.ts';
import { selectRotationKeys, selectWithinBudget } from '../../../src/ckks/planner/rotations.ts';
import { timeSumSteps } from '../../../src/ckks/planner/stages.ts';
import { choosePrimes, log2Product } from '../../../src/ckks/ring/primes.ts';
import { randomModel, SHIPPED } from '../../helpers/random-model.ts';

describe('rotation-key selection', () => {
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
      const { choices, bytes } = selectRotationKeys(layers, { ...context, budget }, 'per-prime');
      expect(bytes).toBeLessThanOrEqual(budget);
      const ms = layers.reduce((sum, { limbs, map }, k) => sum + estimate(map, limbs, choices[k]), 0);
      expect(ms).toBeLessThanOrEqual(last);
      last = ms;
    }
    expect(selectRotationKeys(layers, { ...context, budget: 20e6 }, 'per-prime')).toEqual(
      selectRotationKeys(layers, { ...context, budget: 20e6 }, 'per-prime'),
    );
  });

  test('when keys are hybrid and may take more room, then the choice is faster and never above the budget', () => {
    let last = Number.POSITIVE_INFINITY;
    const relinearised = [7, 5, 3].map((limbs) => ({ limbs, count: 4 }));
    for (const budget of [15e6, 20e6, 40e6, 80e6]) {
      const { choices, gadgets, bytes } = selectRotationKeys(
        layers,
        { ...context, relinearised, budget },
        'hybrid',
      );
      expect(bytes).toBeLessThanOrEqual(budget);
      expect(gadgets.rotation.map(({ limbs }) => limbs)).toEqual([8, 6, 4, 2]);
      expect(gadgets.relinearisation[0].limbs).toBe(7);
      const ms = layers.reduce((sum, { limbs, map }, k) => {
        const gadget = gadgets.rotation.find((g) => g.limbs === limbs)!;
        return sum + estimate(map, limbs, choices[k], gadget);
      }, 0);
      expect(ms).toBeLessThanOrEqual(last + 1e-9);
      last = ms;
    }
  });

  test('when no keys fit the budget, then the choice has as few as possible', () => {
    const { choices } = selectRotationKeys(layers, { ...context, budget: 0 }, 'per-prime');
    expect(choices.map(({ keySteps }) => keySteps)).toEqual([[2], [1, 2], [1, 2]]);
  });
});

/** A map with weights on these amounts. */
function mapOf(amounts: number[], inputs = 4, outputs = 4) {
  const row = () => Array.from({ length: outputs }, () => new Array(inputs).fill(Float64Array.of(1)));
  return { period: 1, inputs, outputs, weights: new Map(amounts.map((a) => [a, row()])) };
}

/** Milliseconds of a layer's rotations and products. */
function estimate(
  map: ReturnType<typeof mapOf>,
  limbs: number,
  choice: ScheduleChoice,
  gadget?: Gadget,
): number {
  const { babySteps, giantSteps, accumulators, paired } = buildSchedule(map, choice);
  const ms = (operation: Operation) => operationMs(FAST_COST, operation, limbs, 16384, gadget);
  let giantMs = 0;
  let terms = 0;
  for (const { accumulatorSteps, step } of giantSteps) {
    terms += step > 0 ? 1 : Math.sign(accumulatorSteps.length);
    if (step > 0) continue;
    giantMs += accumulatorSteps.length * ms('rotate');
    if (!gadget || terms === 0) continue;
    giantMs += terms * ms('summedRotate') + ms('divide') - Math.sign(accumulatorSteps.length) * ms('rotate');
    terms = 0;
  }
  const hoisted = babySteps.reduce((sum, { steps }) => sum + steps.length, 0);
  return (
    map.inputs * (babySteps.length * ms('decompose') + hoisted * ms('hoistedRotate')) +
    giantMs * accumulators +
    (paired ? 2 : 0) * ms('rotate') +
    (map.weights.size * map.inputs * accumulators + (paired ? 8 : 0)) * ms('multiplyPlain') +
    (giantSteps.length * accumulators + (paired ? 4 : 0)) * ms('sum')
  );
}

describe('one description of what rotations cost', () => {
  /** What the selection counts; the rest of a stage does not depend on it. */
  const SELECTED = new Set<Operation>([
    'rotate',
    'decompose',
    'hoistedRotate',
    'summedRotate',
    'divide',
    'multiplyPlain',
    'sum',
    'relinearise',
  ]);
  const GAPPED = [
    { samples: 2048, channels: [4, 16, 24], pool: [2, 2, 1], dilation: [1, 2, 3] },
    { samples: 2048, channels: [6, 5], pool: 1, kernel: 3 },
  ];

  /**
   * Milliseconds that the selection predicts, and those of the same operations as the dry run counts them.
   */
  function both(shape: Parameters<typeof randomModel>[0], keySwitching: KeySwitching) {
    const model = randomModel({ ...shape, seed: 3 });
    const network = foldModel(model);
    const { parameters } = chooseRingDegree(model, network, { keySwitching });
    const layers = packLinearLayers(network, model.samples, model.classes.length, parameters);
    const selection = selectWithinBudget(layers, timeSumSteps(layers.at(-1)!, parameters.n / 2), {
      parameters,
      costs: FAST_COST,
      keyBudget: undefined,
      keySwitching,
    });
    const { circuit } = compile(model, { keySwitching });
    const trace = new TraceBackend(circuit.parameters, keySwitching);
    run(trace, encodeProgram(trace, circuit), trace.input(circuit.inputScale));
    const counts = trace.takeCounts();
    for (const operation of COUNTED) if (!SELECTED.has(operation)) counts[operation] = {};
    return { predicted: selection.ms, counted: estimateMs(counts, parameters.n, FAST_COST, circuit.gadgets) };
  }

  test.each(
    [
      SHIPPED,
      { samples: 4096, channels: SHIPPED.channels },
      { samples: 2048, channels: [8, 8], pool: 1, kernel: 3 },
    ].flatMap((shape) => KEY_SWITCHINGS.map((switching) => [shape, switching] as const)),
  )(
    'when %j is compiled with %s keys, then the selection predicts what the dry run counts',
    (shape, switching) => {
      const { predicted, counted } = both(shape, switching);
      expect(counted).toBeGreaterThan(40);
      expect(predicted).toBeCloseTo(counted, 6);
    },
  );

  test.each(GAPPED.flatMap((shape) => KEY_SWITCHINGS.map((switching) => [shape, switching] as const)))(
    'when baby amounts or weights have gaps as in %j and keys are %s, then it predicts no less, and hardly more',
    (shape, switching) => {
      const { predicted, counted } = both(shape, switching);
      expect(predicted).toBeGreaterThan(counted - 1e-6);
      expect(predicted).toBeLessThan(1.02 * counted);
    },
  );
});
