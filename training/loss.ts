import * as tf from '@tensorflow/tfjs-core';
import type { RangeControl } from './config.ts';
import { crossEntropy } from './layers.ts';
import { forwardTensors, type Network, parameterTensors } from './network.ts';

export interface LossOptions {
  /** Weight of a record of each class. */
  classWeights: number[];
  /** Share of the target spread evenly over all classes. */
  labelSmoothing: number;
  /** In the loss only, scores go through bound * tanh(s / bound); undefined: as they are. */
  scoreBound?: number;
  /** weight * mean over records of the sum of log(1 + relu(|score| - start)^2) is added to the loss. */
  scoreExcess?: { start: number; weight: number };
  control?: RangeControl;
  /** Scores of a teacher for the same segments [batch * classes], with the share and temperature of its loss. */
  teacher?: Teacher;
}

interface Teacher {
  scores: Float32Array;
  share: number;
  temperature: number;
}

export interface StepResult {
  /** Cross-entropy (with the teacher's part), without the range penalty. */
  loss: number;
  penalty: number;
  scores: Float32Array;
  /** In the order of the network's parameters. */
  gradients: Float32Array[];
}

/**
 * Loss and gradients of one batch: segments [batch * samples], labels [batch]. A label that is no class leaves its
 * segment out of the cross-entropy: it counts for the range penalty and the scores' excess only.
 */
export function lossAndGradients(
  network: Network,
  segments: Float32Array,
  labels: ArrayLike<number>,
  options: LossOptions,
): StepResult {
  const { samples, classes } = network.architecture;
  const batch = labels.length;
  const penalties: tf.Scalar[] = [];
  let scores: tf.Tensor2D | undefined;
  const tensors = parameterTensors(network);
  const { value, grads } = tf.tidy(() => {
    const x = tf.tensor3d(segments, [batch, samples, 1]);
    const targets = tf.tensor2d(weightedTargets(labels, classes.length, options), [batch, classes.length]);
    const teacher = options.teacher && {
      targets: teacherTargets(options.teacher, labels, classes.length),
      temperature: options.teacher.temperature,
    };
    const f = (...args: tf.Tensor[]): tf.Scalar => {
      const s = forwardTensors(network, args, x, {
        control: options.control,
        onPenalty: (penalty) => penalties.push(penalty),
        onStatistics: (mean, variance) => tf.dispose([mean, variance]),
      });
      scores = tf.keep(s);
      return crossEntropy(s, { targets, teacher, bound: options.scoreBound, excess: options.scoreExcess });
    };
    return tf.valueAndGrads(f)(tensors);
  });
  const result = {
    loss: value.dataSync()[0],
    penalty: penalties.reduce((sum, p) => sum + p.dataSync()[0], 0),
    scores: scores?.dataSync() as Float32Array,
    gradients: grads.map((g) => g.dataSync() as Float32Array),
  };
  tf.dispose([value, grads, penalties, tensors]);
  scores?.dispose();
  return result;
}

/** Rows of target probabilities times the record's class weight over the batch's size. */
function weightedTargets(labels: ArrayLike<number>, classes: number, options: LossOptions): Float32Array {
  const targets = new Float32Array(labels.length * classes);
  const even = options.labelSmoothing / classes;
  const share = 1 - (options.teacher?.share ?? 0);
  for (let i = 0; i < labels.length; i++) {
    const weight = ((options.classWeights[labels[i]] ?? 0) * share) / labels.length;
    for (let c = 0; c < classes; c++) {
      const one = c === labels[i] ? 1 - options.labelSmoothing : 0;
      targets[i * classes + c] = weight * (one + even);
    }
  }
  return targets;
}

/** The teacher's probabilities at the temperature, times their part in the mean over records. */
function teacherTargets(teacher: Teacher, labels: ArrayLike<number>, classes: number): tf.Tensor2D {
  const batch = labels.length;
  const probabilities = tf.softmax(
    tf.div(tf.tensor2d(teacher.scores, [batch, classes]), teacher.temperature),
  );
  const weights = Array.from(labels, (label) => (label < classes ? teacher.share / batch : 0));
  return tf.mul(probabilities, tf.tensor2d(weights, [batch, 1])) as tf.Tensor2D;
}
