import { BlindbeatError } from '../errors.ts';
import type { Model } from '../model/model.ts';
import { foldModel } from './fold.ts';
import type { Outputs, ReplyLayout } from './manifest.ts';
import {
  biasVector,
  convolutionDiagonals,
  type Diagonals,
  denseDiagonals,
  groupSize,
  inputLayout,
  type Layout,
  outputLayout,
  rotatePeriod,
  shiftToNonNegative,
} from './packing.ts';
import { choosePrimes, log2Product, MAX_LOG_QP, type Parameters } from './parameters.ts';
import { bestSchedule, type Schedule } from './steps.ts';

/** What a user may choose about a plan. */
export interface PlanOptions {
  /** Default 'scores'. */
  outputs?: Outputs;
  /** Ring degree; default: the smallest that fits. */
  n?: number;
}

/** A packed linear layer: rotations, weights, bias, and where it stands in the chain of primes. */
export interface LinearStage {
  kind: 'linear';
  name: string;
  inputs: number;
  outputs: number;
  period: number;
  /** Limbs of its input. */
  limbs: number;
  /** Scale of its input, of its weights, and of its output after rescaling (exact). */
  scaleIn: number;
  weightScale: number;
  scaleOut: number;
  schedule: Schedule;
  /** Two outputs are summed up in one accumulator and separated at the end. */
  paired: boolean;
  /** One period per output ciphertext, added after rescaling. */
  bias: Float64Array[];
  /** Largest |value| of the output on the validated range. */
  bound: number;
}

/** Squares every ciphertext, relinearises and rescales. */
export interface SquareStage {
  kind: 'square';
  name: string;
  ciphertexts: number;
  limbs: number;
  scaleIn: number;
  scaleOut: number;
  bound: number;
}

/** The dense layer's time sums: rotations by interleave * 2^k, each added to what it rotates; then the one rescale. */
export interface SumStage {
  kind: 'sum';
  name: string;
  limbs: number;
  scaleIn: number;
  scaleOut: number;
  /** Key steps whose sums are windows of the map; then those that complete the sum over all time. */
  windowSteps: number[];
  totalSteps: number[];
  /** One period each: the scores' bias, and each window's share of it. */
  bias: Float64Array;
  windowBias: Float64Array;
  bound: number;
}

export type Stage = LinearStage | SquareStage | SumStage;

/** The whole encrypted computation, weights included: what a server runs. Holds no key. */
export interface Circuit {
  parameters: Parameters;
  outputs: Outputs;
  inputScale: number;
  stages: Stage[];
  reply: ReplyLayout;
  /** |score| that the last prime has room for. */
  scoreBound: number;
}

/**
 * Bits of the primes, one kind per use. What limits precision is the rounding of the convolutions' weights, whose scale is
 * q_convolution q_square / 2^SCALE_BITS.convolution, then the noise of rotating a convolution's input, which counts
 * relative to the scale after the square before it: squares get primes shorter than the scale, so that it grows to 2^33.
 * The last square brings it down to 2^25: the dense layer's weights, a mean over time included, need the room under the
 * last prime, and the noise there is averaged out. docs/parameters.md has the measurements.
 */
const PRIME_BITS = {
  base: 30,
  dense: 30,
  lastSquare: 30,
  lastConvolution: 28,
  square: 27,
  convolution: 26,
  special: 30,
};
/** log2 of the scales: fresh ciphertexts, after a convolution, after the last convolution, scores. */
const SCALE_BITS = { input: 33, convolution: 30, lastConvolution: 27.5, score: 20 };
/** Windows of the evidence map, as in DeepCardio's 25 windows per classification. */
const MAP_WINDOWS = 25;

/** Sizes of all primes for a number of blocks, the first data prime first and the special one last. */
function primeBits(blocks: number): number[] {
  const { base, dense, lastSquare, lastConvolution, square, convolution, special } = PRIME_BITS;
  const earlier = Array.from({ length: blocks - 1 }, () => [square, convolution]).flat();
  return [base, dense, lastSquare, lastConvolution, ...earlier, special];
}

function chooseParameters(model: Model, n?: number): Parameters {
  const bits = primeBits(model.blocks.length);
  const total = bits.reduce((a, b) => a + b, 0);
  const degrees = Object.keys(MAX_LOG_QP).map(Number);
  if (n !== undefined && !degrees.includes(n)) {
    throw new BlindbeatError('PLAN', `ring degree ${n} is none of ${degrees.join(', ')}`);
  }
  // The dense layer needs a slot per class at each time position of the last block.
  const classes = groupSize(model.classes.length);
  const positions = model.blocks.slice(0, -1).reduce((length, block) => length / block.pool, model.samples);
  const problem = (degree: number): string | null => {
    if (degree / 2 < model.samples) {
      return `ring degree ${degree} has ${degree / 2} slots, but the segment has ${model.samples} samples: use n = ${2 * model.samples} or more, or resample to fewer`;
    }
    if (total > MAX_LOG_QP[degree]) {
      return (
        `${deepestBlock(degree)} is too deep: ${model.blocks.length} blocks and a dense layer take ${bits.length - 2} levels and ${total} bits of primes, ` +
        `but ring degree ${degree} has only ${MAX_LOG_QP[degree]} at 128-bit security: use a larger n or fewer blocks`
      );
    }
    if (degree / 2 < positions * classes) {
      return `the dense layer needs ${classes} slots at each of ${positions} time positions, but ring degree ${degree} has ${degree / 2}: pool more or use a larger n`;
    }
    return null;
  };
  const degree = n ?? degrees.find((d) => problem(d) === null) ?? degrees.at(-1)!;
  const reason = problem(degree);
  if (reason) throw new BlindbeatError('PLAN', reason);
  const primes = choosePrimes(degree, bits);
  const special = primes.pop()!;
  return { n: degree, primes, special, logQP: log2Product([...primes, special]), security: 128 };
}

/** The first block that has no room left at a ring degree. */
function deepestBlock(n: number): string {
  let blocks = 1;
  const bits = (count: number) => primeBits(count).reduce((a, b) => a + b, 0);
  while (bits(blocks) <= MAX_LOG_QP[n]) blocks++;
  return `block ${blocks}`;
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
  const parameters = chooseParameters(model, options.n);
  const outputs = options.outputs ?? 'scores';
  const slots = parameters.n / 2;
  const { primes } = parameters;
  requirePowerOfTwo(model.samples, 'the number of samples in a segment', slots);
  const folded = foldModel(model);
  const blocks = folded.convolutions.length;

  const stages: Stage[] = [];
  let layout: Layout = inputLayout(slots, model.samples);
  let offset = 0;
  let limbs = primes.length;
  let scale = 2 ** SCALE_BITS.input;

  const schedule = (name: string, diagonals: Diagonals, paired: boolean) => {
    if (diagonals.weights.size === 0) {
      throw new BlindbeatError(
        'PLAN',
        `${name}: all its weights are zero, so its output would not depend on the input`,
      );
    }
    const shifted = shiftToNonNegative(diagonals, offset, slots);
    offset = shifted.offset;
    return { map: shifted.map, schedule: bestSchedule(shifted.map, paired) };
  };

  folded.convolutions.forEach((conv, index) => {
    const { name } = conv;
    requirePowerOfTwo(conv.pool, `${name}: the pooling before it`, slots / layout.interleave);
    const after = outputLayout(layout, conv.outChannels, conv.pool);
    const diagonals = convolutionDiagonals(conv, layout, after);
    const paired = index > 0 && diagonals.outputs > 1;
    const { map, schedule: steps } = schedule(name, diagonals, paired);
    const scaleOut = 2 ** (index === blocks - 1 ? SCALE_BITS.lastConvolution : SCALE_BITS.convolution);
    stages.push({
      kind: 'linear',
      name,
      inputs: map.inputs,
      outputs: map.outputs,
      period: map.period,
      limbs,
      scaleIn: scale,
      weightScale: (primes[limbs - 1] * scaleOut) / scale,
      scaleOut,
      schedule: steps,
      paired,
      bias: Array.from({ length: map.outputs }, (_, o) =>
        rotatePeriod(biasVector(conv.bias, after, o), offset),
      ),
      bound: conv.bound,
    });
    limbs--;
    layout = after;
    const squared = scaleOut ** 2 / primes[limbs - 1];
    const bound = conv.bound ** 2;
    stages.push({
      kind: 'square',
      name: `square ${index + 1}`,
      ciphertexts: map.outputs,
      limbs,
      scaleIn: scaleOut,
      scaleOut: squared,
      bound,
    });
    limbs--;
    scale = squared;
  });

  const classes = model.classes.length;
  const group = groupSize(classes);
  const positions = slots / layout.interleave;
  const perPosition = folded.denseWeights.map((w) => w / positions);
  const { map, schedule: steps } = schedule('dense', denseDiagonals(perPosition, classes, layout), false);
  const scoreScale = 2 ** SCALE_BITS.score;
  const scoreBound = primes[0] / (2 * scoreScale);
  const weightScale = (primes[limbs - 1] * scoreScale) / scale;
  stages.push({
    kind: 'linear',
    name: 'dense',
    inputs: map.inputs,
    outputs: 1,
    period: map.period,
    limbs,
    scaleIn: scale,
    weightScale,
    scaleOut: scale * weightScale,
    schedule: steps,
    paired: false,
    bias: [],
    bound: scoreBound,
  });
  const mapLayout = windowsOf(positions);
  const sums = Array.from({ length: Math.log2(positions) }, (_, k) => layout.interleave * 2 ** k);
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
  return stages.map((stage) => {
    const before =
      stage.kind === 'square'
        ? stage.scaleIn ** 2
        : stage.kind === 'linear'
          ? stage.scaleIn * stage.weightScale
          : stage.scaleIn;
    return {
      stage,
      bits: Math.log2(stage.bound * before),
      room: log2Product(parameters.primes.slice(0, stage.limbs)) - 1,
    };
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
