import { BlindbeatError } from '../../errors.ts';
import type { FoldedModel } from '../circuit/fold-activations.ts';
import {
  convolutionDiagonals,
  type Diagonals,
  denseDiagonals,
  inputLayout,
  type Layout,
  outputLayout,
  poolingSteps,
  shiftToNonNegative,
} from '../circuit/packing.ts';
import type { Parameters } from '../ring/parameters.ts';
import { depthOf } from './ring-degree.ts';

/** A linear layer on packed ciphertexts, with non-negative rotation amounts. */
export interface LinearLayer {
  /** Of its input. */
  limbs: number;
  map: Diagonals;
  /** Rotation steps that sum up the pooling window before it. */
  pooling: number[];
  /** Of its output; the dense layer's is its input's. */
  layout: Layout;
  /** How far its output is rotated, in slots. */
  offset: number;
}

/**
 * The convolutions, and last the dense layer with the mean over time in its weights.
 *
 * @throws BlindbeatError PLAN for a length that is no power of two, or a layer of nothing but zero weights
 */
export function packLinearLayers(
  network: FoldedModel,
  samples: number,
  classes: number,
  { n, primes }: Parameters,
): LinearLayer[] {
  const slots = n / 2;
  requirePowerOfTwo(samples, 'the number of samples in a segment', slots);
  const layers: LinearLayer[] = [];
  let layout = inputLayout(slots, samples);
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
  for (const conv of network.convolutions) {
    requirePowerOfTwo(conv.pool, `${conv.name}: the pooling before it`, slots / layout.interleave);
    const after = outputLayout(layout, conv.outChannels, conv.pool);
    const { levels } = depthOf(conv.polynomial);
    add(conv.name, convolutionDiagonals(conv, layout, after), poolingSteps(conv, layout), after, levels);
  }
  const positions = slots / layout.interleave;
  const perPosition = network.denseWeights.map((w) => w / positions);
  add('dense', denseDiagonals(perPosition, classes, layout), [], layout, 0);
  return layers;
}

function requirePowerOfTwo(value: number, what: string, max: number) {
  if (!Number.isInteger(Math.log2(value)) || value > max) {
    throw new BlindbeatError('PLAN', `${what} must be a power of two of at most ${max}, but is ${value}`);
  }
}
