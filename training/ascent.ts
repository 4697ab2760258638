import * as tf from '@tensorflow/tfjs-core';
import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { withGradient } from './layers.ts';
import { forwardTensors, type Network, parameterTensors } from './network.ts';

/** What gradient ascent found. */
export interface Ascent {
  /** Segments that it started from. */
  starts: number;
  /** Steps taken from each. */
  steps: number;
  /** Largest |score| of any segment on the way. */
  largestScore: number;
}

/** Rms of a step, relative to the segment's rms limit. */
const STEP = 0.05;

/**
 * Gradient ascent on log(1 + |scores|^2) from each segment, within the client's bounds on samples and energy.
 *
 * It takes the weights, which no client has: it tells how far the figures of an export's gate are from those
 * of a worse input.
 *
 * @param segments [starts * samples]
 */
export function ascend(network: Network, segments: Float32Array, p: Preprocessing, steps: number): Ascent {
  const { samples } = network.architecture;
  const starts = segments.length / samples;
  const tensors = parameterTensors(network);
  const gradient = tf.grad((x: tf.Tensor) => sumOfLogs(forwardTensors(network, tensors, x as tf.Tensor3D)));
  let x: tf.Tensor = tf.tensor3d(segments, [starts, samples, 1]); // [starts, samples, 1]
  let largestScore = 0;
  const look = () => {
    const most = tf.tidy(() => tf.max(tf.abs(forwardTensors(network, tensors, x as tf.Tensor3D))));
    const [value] = most.dataSync();
    most.dispose();
    if (value > largestScore) largestScore = value;
  };
  for (let step = 0; step < steps; step++) {
    const next = tf.tidy(() => {
      const g = gradient(x); // [starts, samples, 1]
      const rms = tf.sqrt(tf.mean(tf.square(g), [1, 2], true)); // [starts, 1, 1]
      const moved = tf.add(x, tf.mul(tf.div(g, tf.add(rms, 1e-12)), STEP * p.rmsLimit));
      const clipped = tf.clipByValue(moved, -p.bound, p.bound); // [starts, samples, 1]
      const energy = tf.sqrt(tf.mean(tf.square(clipped), [1, 2], true)); // [starts, 1, 1]
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
  const energies = (s: tf.Tensor) => tf.sum(tf.square(s), 1, true); // [batch, 1]
  return withGradient(
    [scores],
    (s) => tf.sum(tf.log1p(energies(s))) as tf.Scalar,
    (dy, [s]) => [tf.mul(tf.mul(dy, 2), tf.div(s, tf.add(energies(s), 1)))],
  );
}
