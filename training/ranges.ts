import * as tf from '@tensorflow/tfjs-core';
import { BlindbeatError } from '../src/errors.ts';
import { forwardTensors, type Network, parameterTensors } from './network.ts';

/** The largest values that a set of inputs caused. */
export interface Ranges {
  /** How many there were. */
  inputs: number;
  /** Largest |score|. */
  largestScore: number;
  /** Smallest and largest pre-activation of each block. */
  preActivations: [number, number][];
}

/** Ranges of a network over segments [inputs * samples], `batch` of them at a time. */
export function measureRanges(network: Network, segments: Float32Array, batch = 64): Ranges {
  const { samples, channels } = network.architecture;
  const inputs = segments.length / samples;
  const result: Ranges = {
    inputs,
    largestScore: 0,
    preActivations: channels.map(() => [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]),
  };
  const tensors = parameterTensors(network);
  for (let start = 0; start < inputs; start += batch) {
    const count = Math.min(batch, inputs - start);
    tf.tidy(() => {
      const part = segments.subarray(start * samples, (start + count) * samples);
      const scores = forwardTensors(network, tensors, tf.tensor3d(part, [count, samples, 1]), {
        onPreActivation: (x, block) => {
          const range = result.preActivations[block];
          range[0] = Math.min(range[0], tf.min(x).dataSync()[0]);
          range[1] = Math.max(range[1], tf.max(x).dataSync()[0]);
        },
      });
      result.largestScore = Math.max(result.largestScore, tf.max(tf.abs(scores)).dataSync()[0]);
    });
  }
  tf.dispose(tensors);
  return result;
}

/** The ranges over the inputs of both. */
export function unionOf(a: Ranges, b: Ranges): Ranges {
  return {
    inputs: a.inputs + b.inputs,
    largestScore: Math.max(a.largestScore, b.largestScore),
    preActivations: a.preActivations.map(([low, high], i) => [
      Math.min(low, b.preActivations[i][0]),
      Math.max(high, b.preActivations[i][1]),
    ]),
  };
}

/**
 * Largest |pre-activation| that the gate lets pass: beyond it a square amplifies what little error there is.
 */
const PRE_ACTIVATION_LIMIT = 32;

/** Whether `checkRanges` lets the ranges pass. */
export function isInRange(ranges: Ranges, scoreLimit: number): boolean {
  return excesses(ranges, scoreLimit, PRE_ACTIVATION_LIMIT).length === 0;
}

/**
 * The gate before an export.
 *
 * @throws BlindbeatError MODEL with the figures if a |score| exceeds `scoreLimit` or a |pre-activation| its
 * limit
 */
export function checkRanges(
  ranges: Ranges,
  scoreLimit: number,
  preActivationLimit = PRE_ACTIVATION_LIMIT,
): void {
  const problems = excesses(ranges, scoreLimit, preActivationLimit);
  if (problems.length > 0) {
    throw new BlindbeatError(
      'MODEL',
      `The network leaves its range, so it is not exported: ${problems.join('; ')}. Train longer in the ` +
        'exact phase, or raise the range penalty.',
    );
  }
}

/** What is beyond a limit, in words. */
function excesses(ranges: Ranges, scoreLimit: number, preActivationLimit: number): string[] {
  const problems: string[] = [];
  if (!(ranges.largestScore <= scoreLimit)) {
    problems.push(`largest |score| ${ranges.largestScore.toPrecision(3)}, at most ${scoreLimit} allowed`);
  }
  ranges.preActivations.forEach(([low, high], i) => {
    if (!(Math.max(-low, high) <= preActivationLimit)) {
      problems.push(
        `block ${i + 1}: pre-activations ${low.toPrecision(3)} to ${high.toPrecision(3)}, at most ` +
          `+-${preActivationLimit} allowed`,
      );
    }
  });
  return problems;
}
