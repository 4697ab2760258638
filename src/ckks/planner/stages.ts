import type { Model } from '../../model/model.ts';
import type { Schedule } from '../circuit/bsgs.ts';
import type { ActivationStage, LinearStage, SquareStage, Stage, SumStage } from '../circuit/circuit.ts';
import type { FoldedConvolution, FoldedModel } from '../circuit/fold-activations.ts';
import { biasVector, rotatePeriod } from '../circuit/packing.ts';
import { activationSteps, inputScaleFor } from '../circuit/polynomial.ts';
import type { Parameters } from '../ring/parameters.ts';
import type { Outputs } from '../wire/manifest.ts';
import { groupSize, type ReplyLayout, SCORE_SCALE, scoreBoundOf, windowsOf } from '../wire/reply-layout.ts';
import type { LinearLayer } from './linear-layers.ts';
import { type Chain, INPUT_SCALE_BITS } from './modulus-chain.ts';

/** What stages are made of. */
interface StageInputs {
  model: Model;
  network: FoldedModel;
  parameters: Parameters;
  scaleBits: Chain['scaleBits'];
  /** The convolutions and the dense layer, and the schedule of each. */
  layers: LinearLayer[];
  schedules: Schedule[];
  /** Rotation steps that sum the dense layer's output over time, see `timeSumSteps`. */
  sumSteps: number[];
  outputs: Outputs;
}

/** Where a value stands in the modulus chain. */
interface Position {
  limbs: number;
  scale: number;
}

/** Rotation steps that sum a dense layer's output over all time positions, doubling the sum at each. */
export function timeSumSteps(dense: LinearLayer, slots: number): number[] {
  const { interleave } = dense.layout;
  return Array.from({ length: Math.log2(slots / interleave) }, (_, k) => interleave * 2 ** k);
}

/** The network's stages with exact scales, in the order in which they run. */
export function buildStages(inputs: StageInputs): Stage[] {
  const stages: Stage[] = [];
  let position: Position = { limbs: inputs.parameters.primes.length, scale: 2 ** INPUT_SCALE_BITS };
  inputs.network.convolutions.forEach((_, index) => {
    const [convolution, activation] = blockStages(inputs, index, position);
    stages.push(convolution, activation);
    const limbs = activation.kind === 'square' ? activation.limbs - 1 : activation.limbsOut;
    position = { limbs, scale: activation.scaleOut };
  });
  return [...stages, ...denseStages(inputs, position)];
}

/** A block's convolution and its activation. */
function blockStages(
  { network, parameters: { primes }, scaleBits, layers, schedules }: StageInputs,
  index: number,
  { limbs, scale }: Position,
): [LinearStage, SquareStage | ActivationStage] {
  const conv = network.convolutions[index];
  const { map, pooling, layout, offset } = layers[index];
  const target = 2 ** scaleBits[index].activation * Math.abs(conv.polynomial?.factor ?? 1);
  const nominal = 2 ** scaleBits[index].convolution;
  const scaleOut = conv.polynomial
    ? inputScaleFor(conv.polynomial, primes, limbs - 1, nominal, target)
    : nominal;
  const linear: LinearStage = {
    kind: 'linear',
    name: conv.name,
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
      rotatePeriod(biasVector(conv.bias, layout, o), offset),
    ),
    bound: conv.bound,
  };
  const input = { ciphertexts: map.outputs, limbs: limbs - 1, scaleIn: scaleOut };
  return [linear, activationStage(`${index + 1}`, conv, input, primes, target)];
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
  return {
    kind: 'activation',
    name: `polynomial ${number}`,
    ...input,
    limbsOut: limbs - polynomial.levels,
    scaleOut,
    steps,
    bound: bounds[1],
  };
}

/** The dense layer and its sums over time. */
function denseStages(
  { model, network, parameters: { n, primes }, layers, schedules, sumSteps, outputs }: StageInputs,
  { limbs, scale }: Position,
): [LinearStage, SumStage] {
  const { map, layout, offset } = layers.at(-1)!;
  const bound = scoreBoundOf(primes);
  const weightScale = (primes[limbs - 1] * SCORE_SCALE) / scale;
  const scaleOut = scale * weightScale;
  const positions = n / 2 / layout.interleave;
  const { width } = windowsOf(positions);
  const windowSums = outputs === 'scores' ? 0 : Math.log2(width);
  const group = groupSize(model.classes.length);
  const bias = rotatePeriod(
    Float64Array.from({ length: group }, (_, c) => network.denseBias[c] ?? 0),
    offset,
  );
  return [
    {
      kind: 'linear',
      name: 'dense',
      inputs: map.inputs,
      outputs: 1,
      period: map.period,
      pooling: [],
      limbs,
      scaleIn: scale,
      weightScale,
      scaleOut,
      schedule: schedules.at(-1)!,
      bias: [],
      bound,
    },
    {
      kind: 'sum',
      name: 'mean over time',
      limbs,
      scaleIn: scaleOut,
      scaleOut: SCORE_SCALE,
      windowSteps: sumSteps.slice(0, windowSums),
      totalSteps: sumSteps.slice(windowSums),
      bias,
      windowBias: bias.map((b) => (b * width) / positions),
      bound,
    },
  ];
}

/** Where the scores and, when planned, the map's windows are in the reply's slots. */
export function replyLayout(
  dense: LinearLayer,
  classes: number,
  slots: number,
  outputs: Outputs,
): ReplyLayout {
  const { interleave } = dense.layout;
  const positions = slots / interleave;
  return {
    scale: SCORE_SCALE,
    group: groupSize(classes),
    offset: dense.offset,
    ...(outputs === 'scores+map' && { map: { ...windowsOf(positions), positions, interleave } }),
  };
}
