import * as tf from '@tensorflow/tfjs-core';
import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { withGradient } from './layers.ts';
import { forwardTensors, type Network, parameterTensors } from './network.ts';

/** What somebody with the weights in hand achieves. */
export interface Ascent {
  /** Segments that it started from, and steps taken from each. */
  starts: number;
  steps: number;
  largestScore: number;
}

/** Relative length of a step: 0.05 of the segment's rms limit. */
const STEP = 0.05;

/**
 * Gradient ascent on log(1 + the sum of the squared scores), from each of `segments` [starts * samples], within the
 * client's bounds on samples and energy. No client can do it, having no weights; it says how far the gate's figures
 * are from the worst input there is.
 */
export function ascend(network: Network, segments: Float32Array, p: Preprocessing, steps: number): Ascent {
  const { samples } = network.architecture;
  const starts = segments.length / samples;
  const tensors = parameterTensors(network);
  const gradient = tf.grad((x: tf.Tensor) => sumOfLogs(forwardTensors(network, tensors, x as tf.Tensor3D)));
  let x: tf.Tensor = tf.tensor3d(segments, [starts, samples, 1]);
  let largestScore = 0;
  const look = () => {
    const most = tf.tidy(() => tf.max(tf.abs(forwardTensors(network, tensors, x as tf.Tensor3D))));
    const [value] = most.dataSync();
    most.dispose();
    if (value > largestScore) largestScore = value;
  };
  for (let step = 0; step < steps; step++) {
    const next = tf.tidy(() => {
      const g = gradient(x);
      const rms = tf.sqrt(tf.mean(tf.square(g), [1, 2], true));
      const moved = tf.add(x, tf.mul(tf.div(g, tf.add(rms, 1e-12)), STEP * p.rmsLimit));
      const clipped = tf.clipByValue(moved, -p.bound, p.bound);
      const energy = tf.sqrt(tf.mean(tf.square(clipped), [1, 2], true));
      return tf.mul(clipped, tf.minimum(1, tf.div(p.rmsLimit, tf.add(energy, 1e-12))));
    });
    x.dispose();
    x = next;
    look();
  }
  tf.dispose([x, ...tensors]);
  return { starts, steps, largestScore };
}

/** Sum over records of log(1 + |scores|^2); scores [batch, classes]. */
function sumOfLogs(scores: tf.Tensor2D): tf.Scalar {
  const energies = (s: tf.Tensor) => tf.sum(tf.square(s), 1, true);
  return withGradient(
    [scores],
    (s) => tf.sum(tf.log1p(energies(s))) as tf.Scalar,
    (dy, [s]) => [tf.mul(tf.mul(dy, 2), tf.div(s, tf.add(energies(s), 1)))],
  );
}
