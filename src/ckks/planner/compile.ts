import { BlindbeatError } from '../../errors.ts';
import type { Model } from '../../model/model.ts';
import { buildSchedule, type Schedule } from '../circuit/bsgs.ts';
import type { ActivationStage, Circuit, SquareStage, Stage } from '../circuit/circuit.ts';
import { type FoldedConvolution, type FoldedModel, foldModel } from '../circuit/fold-activations.ts';
import {
  biasVector,
  convolutionDiagonals,
  type Diagonals,
  denseDiagonals,
  groupSize,
  inputLayout,
  type Layout,
  outputLayout,
  poolingSteps,
  rotatePeriod,
  shiftToNonNegative,
} from '../circuit/packing.ts';
import { activationSteps, inputScaleFor, type PolynomialProgram } from '../circuit/polynomial.ts';
import type { KeySwitching, LevelGadgets } from '../keyswitch/gadget.ts';
import { publicKeySize } from '../keyswitch/key-size.ts';
import { MAX_LOG_QP, type Parameters } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';
import type { Outputs } from '../wire/manifest.ts';
import { type Costs, FAST_COST } from './cost.ts';
import { type Chain, chooseChain, type Depth, SCALE_BITS } from './modulus-chain.ts';
import { type ChoiceContext, type Chosen, chooseGroupedSchedules, chooseSchedules } from './rotations.ts';

/** What a user may choose about a plan. */
export interface PlanOptions {
  /** Default 'scores'. */
  outputs?: Outputs;
  /** Ring degree; default: the smallest that fits. */
  n?: number;
  /**
   * Bytes of evaluation keys on the wire at most; default: 64 MB up to N = 16384 and 500 MB at N = 32768, or as few as the network
   * allows where that is more.
   */
  keyBudget?: number;
  /** What operations cost, for the choice of rotations; default: `FAST_COST`. Another choice is another plan. */
  costs?: Costs;
  /** How keys switch; default 'grouped'. The seal backend needs 'seal'. */
  keySwitching?: KeySwitching;
}

/** Bytes of evaluation keys unless a user says otherwise, by ring degree, and what the header of their file takes at most. */
const keyBudgetOf = (n: number) => (n <= 16384 ? 64e6 : 500e6);
const HEADER_ROOM = 1024;
/** Windows of the evidence map, as in DeepCardio's 25 windows per classification. */
const MAP_WINDOWS = 25;

/** The primes, and what scales they were chosen for. */
function chooseParameters(
  model: Model,
  { convolutions }: FoldedModel,
  n?: number,
): { parameters: Parameters; scaleBits: Chain['scaleBits'] } {
  const depths = convolutions.map(({ polynomial }): Depth => depthOf(polynomial));
  const degrees = Object.keys(MAX_LOG_QP).map(Number);
  if (n !== undefined && !degrees.includes(n)) {
    throw new BlindbeatError('PLAN', `ring degree ${n} is none of ${degrees.join(', ')}`);
  }
  // The dense layer needs a slot per class at each time position of the last block.
  const classes = groupSize(model.classes.length);
  const positions = model.blocks.slice(0, -1).reduce((length, block) => length / block.pool, model.samples);
  const levels = depths.reduce((sum, depth) => sum + 1 + depth.levels, 1);
  const attempt = (degree: number): Chain | string => {
    if (degree / 2 < model.samples) {
      return `ring degree ${degree} has ${degree / 2} slots, but the segment has ${model.samples} samples: use n = ${2 * model.samples} or more, or resample to fewer`;
    }
    const chain = chooseChain(degree, depths);
    if ('bits' in chain) {
      return (
        `block ${deepestBlock(degree, depths)} is too deep: ${depths.length} blocks and a dense layer take ${levels} levels and ${Math.ceil(chain.bits)} bits of primes, ` +
        `but ring degree ${degree} has only ${MAX_LOG_QP[degree]} at 128-bit security: use a larger n, a lower degree or fewer blocks`
      );
    }
    if (degree / 2 < positions * classes) {
      return `the dense layer needs ${classes} slots at each of ${positions} time positions, but ring degree ${degree} has ${degree / 2}: pool more or use a larger n`;
    }
    return chain;
  };
  let found: Chain | string = '';
  for (const degree of n === undefined ? degrees : [n]) {
    found = attempt(degree);
    if (typeof found === 'string') continue;
    const { scaleBits } = found;
    const primes = [...found.primes];
    const special = primes.pop()!;
    const parameters = {
      n: degree,
      primes,
      special,
      logQP: log2Product(found.primes),
      security: 128,
    } as const;
    return { parameters, scaleBits };
  }
  throw new BlindbeatError('PLAN', found as string);
}

function depthOf(polynomial: PolynomialProgram | null): Depth {
  if (!polynomial) return { levels: 1, square: true, offset: 0 };
  const { levels, slope, factor } = polynomial;
  return { levels, square: false, offset: slope === 0 ? 0 : Math.log2(Math.abs(factor)) / slope };
}

/** The number of the first block that has no room left at a ring degree. */
function deepestBlock(n: number, depths: Depth[]): number {
  let blocks = 1;
  while (blocks < depths.length && !('bits' in chooseChain(n, depths.slice(0, blocks)))) blocks++;
  return blocks;
}

function requirePowerOfTwo(value: number, what: string, max: number) {
  if (!Number.isInteger(Math.log2(value)) || value > max) {
    throw new BlindbeatError('PLAN', `${what} must be a power of two of at most ${max}, but is ${value}`);
  }
}

/**
 * Compiles a model into the packed, levelled computation that a server runs on ciphertexts. Needs no key.
 *
 * @throws BlindbeatError PLAN naming the layer that does not fit and what would help.
 */
export function compile(model: Model, options: PlanOptions = {}): Circuit {
  const folded = foldModel(model);
  const { parameters, scaleBits } = chooseParameters(model, folded, options.n);
  const outputs = options.outputs ?? 'scores';
  const slots = parameters.n / 2;
  const { primes } = parameters;
  requirePowerOfTwo(model.samples, 'the number of samples in a segment', slots);
  const blocks = folded.convolutions.length;

  const linear = linearLayers(folded, inputLayout(slots, model.samples), model.classes.length, parameters);
  const { layout, offset } = linear.at(-1)!;
  const positions = slots / layout.interleave;
  const sums = Array.from({ length: Math.log2(positions) }, (_, k) => layout.interleave * 2 ** k);
  const { schedules, gadgets } = schedule(linear, sums, parameters, options);

  const stages: Stage[] = [];
  let limbs = primes.length;
  let scale = 2 ** SCALE_BITS.input;
  folded.convolutions.forEach((conv, index) => {
    const { name } = conv;
    const { map, pooling, layout, offset: shift } = linear[index];
    const after = limbs - 1;
    const target = 2 ** scaleBits[index].activation * Math.abs(conv.polynomial?.factor ?? 1);
    const nominal = 2 ** scaleBits[index].convolution;
    const scaleOut = conv.polynomial
      ? inputScaleFor(conv.polynomial, primes, after, nominal, target)
      : nominal;
    stages.push({
      kind: 'linear',
      name,
      inputs: map.inputs,
      outputs: map.outputs,
      period: map.period,
      pooling,
      limbs,
      scaleIn: scale,
      weightScale: (primes[limbs - 1] * scaleOut) / scale,
      scaleOut,
      schedule: schedules[index],
      bias: Array.from({ length: map.outputs }, (_, o) =>
        rotatePeriod(biasVector(conv.bias, layout, o), shift),
      ),
      bound: conv.bound,
    });
    const stage = activationStage(
      `${index + 1}`,
      conv,
      { ciphertexts: map.outputs, limbs: after, scaleIn: scaleOut },
      primes,
      target,
    );
    stages.push(stage);
    limbs = stage.kind === 'square' ? after - 1 : stage.limbsOut;
    scale = stage.scaleOut;
  });

  const classes = model.classes.length;
  const group = groupSize(classes);
  const { map } = linear[blocks];
  const scoreScale = 2 ** SCALE_BITS.score;
  const scoreBound = primes[0] / (2 * scoreScale);
  const weightScale = (primes[limbs - 1] * scoreScale) / scale;
  stages.push({
    kind: 'linear',
    name: 'dense',
    inputs: map.inputs,
    outputs: 1,
    period: map.period,
    pooling: [],
    limbs,
    scaleIn: scale,
    weightScale,
    scaleOut: scale * weightScale,
    schedule: schedules[blocks],
    bias: [],
    bound: scoreBound,
  });
  const mapLayout = windowsOf(positions);
  const windowSums = outputs === 'scores' ? 0 : Math.log2(mapLayout.width);
  const bias = Float64Array.from({ length: group }, (_, c) => folded.denseBias[c] ?? 0);
  stages.push({
    kind: 'sum',
    name: 'mean over time',
    limbs,
    scaleIn: scale * weightScale,
    scaleOut: scoreScale,
    windowSteps: sums.slice(0, windowSums),
    totalSteps: sums.slice(windowSums),
    bias: rotatePeriod(bias, offset),
    windowBias: rotatePeriod(bias, offset).map((b) => (b * mapLayout.width) / positions),
    bound: scoreBound,
  });
  const circuit: Circuit = {
    parameters,
    keySwitching: options.keySwitching ?? 'grouped',
    gadgets,
    outputs,
    inputScale: 2 ** SCALE_BITS.input,
    stages,
    reply: {
      scale: scoreScale,
      group,
      offset,
      ...(outputs === 'scores+map' && { map: { ...mapLayout, positions, interleave: layout.interleave } }),
    },
    scoreBound,
  };
  requireRoom(circuit, model);
  return circuit;
}

/** What follows a convolution. A result of any scale gets one of about `target`. */
function activationStage(
  number: string,
  { bound, polynomial }: FoldedConvolution,
  input: Pick<SquareStage, 'ciphertexts' | 'limbs' | 'scaleIn'>,
  primes: number[],
  target: number,
): SquareStage | ActivationStage {
  const { limbs, scaleIn } = input;
  if (!polynomial) {
    const scaleOut = scaleIn ** 2 / primes[limbs - 1];
    return { kind: 'square', name: `square ${number}`, ...input, scaleOut, bound: bound ** 2 };
  }
  const steps = activationSteps(polynomial, primes, limbs, scaleIn, target);
  const { scaleOut, bounds } = steps.at(-1)!;
  const limbsOut = limbs - polynomial.levels;
  return {
    kind: 'activation',
    name: `polynomial ${number}`,
    ...input,
    limbsOut,
    scaleOut,
    steps,
    bound: bounds[1],
  };
}

/** A linear layer on packed ciphertexts, with non-negative amounts. */
interface LinearLayer {
  limbs: number;
  map: Diagonals;
  pooling: number[];
  /** Of its output; the dense layer's is its input's. */
  layout: Layout;
  /** How far its output is rotated. */
  offset: number;
}

/** The convolutions, and last the dense layer with the mean over time in its weights. */
function linearLayers(
  folded: FoldedModel,
  input: Layout,
  classes: number,
  { n, primes }: Parameters,
): LinearLayer[] {
  const slots = n / 2;
  const layers: LinearLayer[] = [];
  let layout = input;
  let limbs = primes.length;
  const add = (name: string, diagonals: Diagonals, pooling: number[], after: Layout, levels: number) => {
    if (diagonals.weights.size === 0) {
      throw new BlindbeatError(
        'PLAN',
        `${name}: all its weights are zero, so its output would not depend on the input`,
      );
    }
    const shifted = shiftToNonNegative(diagonals, layers.at(-1)?.offset ?? 0, slots);
    layers.push({ limbs, ...shifted, pooling, layout: after });
    limbs -= 1 + levels;
    layout = after;
  };
  for (const conv of folded.convolutions) {
    requirePowerOfTwo(conv.pool, `${conv.name}: the pooling before it`, slots / layout.interleave);
    const after = outputLayout(layout, conv.outChannels, conv.pool);
    const { levels } = depthOf(conv.polynomial);
    add(conv.name, convolutionDiagonals(conv, layout, after), poolingSteps(conv, layout), after, levels);
  }
  const positions = slots / layout.interleave;
  const perPosition = folded.denseWeights.map((w) => w / positions);
  add('dense', denseDiagonals(perPosition, classes, layout), [], layout, 0);
  return layers;
}

const chosen = new Map<string, Chosen>();

/** The choice for layers that rotate by these amounts; made once in a process, since it takes more than a second. */
function choose(layers: LinearLayer[], context: ChoiceContext, keySwitching: KeySwitching): Chosen {
  const rotated = layers.map(({ limbs, map: { inputs, outputs, period, weights } }) => [
    limbs,
    inputs,
    outputs,
    period,
    [...weights.keys()],
  ]);
  const key = JSON.stringify([keySwitching, context, rotated]);
  const result =
    chosen.get(key) ?? (keySwitching === 'seal' ? chooseSchedules : chooseGroupedSchedules)(layers, context);
  chosen.set(key, result);
  return result;
}

/** The joint choice of all schedules; `sums` are rotations that are needed anyway, at the dense layer's level. */
export function schedule(
  layers: LinearLayer[],
  sums: number[],
  parameters: Parameters,
  { keyBudget, costs = FAST_COST, keySwitching = 'grouped' }: PlanOptions,
): { schedules: Schedule[]; gadgets: LevelGadgets } {
  const { limbs } = layers.at(-1)!;
  const others = publicKeySize(parameters) + HEADER_ROOM;
  const context: ChoiceContext = {
    parameters,
    costs,
    budget: (keyBudget ?? keyBudgetOf(parameters.n)) - others,
    fixed: [
      ...layers.flatMap((layer) =>
        layer.pooling.map((step) => ({ step, limbs: layer.limbs, count: layer.map.inputs })),
      ),
      ...sums.map((step) => ({ step, limbs, count: 1 })),
    ],
    // At every level of an activation: once, on average.
    relinearised: layers.slice(0, -1).flatMap((layer, k) =>
      Array.from({ length: layer.limbs - layers[k + 1].limbs - 1 }, (_, level) => ({
        limbs: layer.limbs - 1 - level,
        count: layer.map.outputs,
      })),
    ),
  };
  const { choices, gadgets, bytes } = choose(layers, context, keySwitching);
  if (keyBudget !== undefined && bytes + others > keyBudget) {
    const megabytes = (b: number) => `${(b / 1e6).toFixed(1)} MB`;
    throw new BlindbeatError(
      'PLAN',
      `no choice of rotation keys was found within ${megabytes(keyBudget)}: the smallest takes ${megabytes(bytes + others)}; allow that (--key-budget), or use fewer blocks`,
    );
  }
  return { schedules: layers.map(({ map }, k) => buildSchedule(map, choices[k])), gadgets };
}

/** Evenly spaced windows that cover all positions; their width is a power of two so that log2(width) rotations sum them. */
export function windowsOf(positions: number): { windows: number; width: number; hop: number } {
  const windows = Math.min(MAP_WINDOWS, positions);
  const hop = Math.floor(positions / windows);
  return { windows, hop, width: 2 ** Math.ceil(Math.log2(positions - hop * (windows - 1))) };
}

/** How much room a stage's values have: bits of the largest at its scale before rescaling, and bits of the modulus. */
export interface Headroom {
  stage: Stage;
  bits: number;
  room: number;
}

/** The headroom of every stage: a value of more bits than room wraps around. */
export function headroom({ parameters, stages }: Circuit): Headroom[] {
  const roomOf = (limbs: number) => log2Product(parameters.primes.slice(0, limbs)) - 1;
  return stages.map((stage) => {
    if (stage.kind === 'activation') {
      const all = stage.steps.flatMap(({ limbs, scale, scaleOut, bounds }) => {
        const [before, after] = bounds;
        const out = {
          stage,
          bits: Math.log2(after * scaleOut),
          room: roomOf(scale === null ? limbs : limbs - 1),
        };
        return scale === null
          ? [out]
          : [{ stage, bits: Math.log2(before * scale), room: roomOf(limbs) }, out];
      });
      return all.reduce((least, one) => (one.room - one.bits < least.room - least.bits ? one : least));
    }
    const before =
      stage.kind === 'square'
        ? stage.scaleIn ** 2
        : stage.kind === 'linear'
          ? stage.scaleIn * stage.weightScale
          : stage.scaleIn;
    return { stage, bits: Math.log2(stage.bound * before), room: roomOf(stage.limbs) };
  });
}

/** Every value must fit the modulus that it lives under, at its scale, before and after rescaling. */
function requireRoom(circuit: Circuit, model: Model) {
  const { scoreBound } = circuit;
  if (model.scoreLimit > scoreBound / 4) {
    throw new BlindbeatError(
      'PLAN',
      `the model's score limit ${model.scoreLimit} leaves no margin below the plan's bound ${scoreBound.toFixed(0)}: export it with a limit of at most ${Math.floor(scoreBound / 4)}`,
    );
  }
  for (const { stage, bits, room } of headroom(circuit)) {
    // A sum's bound is all the room there is: scores beyond it are refused by the client.
    if (bits > room + 1e-6) {
      throw new BlindbeatError(
        'PLAN',
        `${stage.name}: values up to ${stage.bound.toPrecision(3)} need ${bits.toFixed(1)} bits at their scale, ` +
          `but ${stage.limbs} primes hold ${room.toFixed(1)}: train with a tighter range`,
      );
    }
  }
}
