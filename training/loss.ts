import * as tf from '@tensorflow/tfjs-core';
import type { RangeControl } from './config.ts';
import { crossEntropy } from './layers.ts';
import { forwardTensors, type Network, parameterTensors } from './network.ts';

/** What the loss of a batch is made of. */
export interface LossOptions {
  /** Weight of a record of each class. */
  classWeights: number[];
  /** Share of the target spread evenly over all classes. */
  labelSmoothing: number;
  /**
   * In the loss only, scores go through bound * tanh(score / bound); undefined: they are taken as they are.
   */
  scoreBound?: number;
  /** weight * the mean over records of the sum over classes of log(1 + relu(|score| - start)^2) is added. */
  scoreExcess?: { start: number; weight: number };
  /** What keeps pre-activations in range. */
  control?: RangeControl;
  /** What a teacher says of the same segments. */
  teacher?: Teacher;
}

interface Teacher {
  /** [batch * classes] */
  scores: Float32Array;
  /** Of the loss, 0..1; the labels have the rest. */
  share: number;
  /** By which both networks' scores are divided in the teacher's part of the loss. */
  temperature: number;
}

/** What one batch gives. */
export interface StepResult {
  /** Cross-entropy with the teacher's part and the scores' excess, without the range penalty. */
  loss: number;
  /** Of all blocks. */
  penalty: number;
  /** [batch * classes] */
  scores: Float32Array;
  /** In the order of the network's parameters. */
  gradients: Float32Array[];
}

/**
 * Loss and gradients of one batch; the gradients are those of loss and penalty together.
 *
 * @param segments [batch * samples]
 * @param labels [batch]; one that is no class leaves its segment out of the cross-entropy, so that it counts
 * for the range penalty and the scores' excess only
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
    const x = tf.tensor3d(segments, [batch, samples, 1]); // [batch, samples, 1]
    const weights = weightedTargets(labels, classes.length, options);
    const targets = tf.tensor2d(weights, [batch, classes.length]); // [batch, classes]
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
      scores = tf.keep(s); // [batch, classes]
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

/** [batch * classes]: target probabilities times the record's class weight over the batch's size. */
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

/**
 * [batch, classes]: the teacher's probabilities at the temperature, times their part in the mean over
 * records.
 */
function teacherTargets(teacher: Teacher, labels: ArrayLike<number>, classes: number): tf.Tensor2D {
  const batch = labels.length;
  const probabilities = tf.softmax(
    tf.div(tf.tensor2d(teacher.scores, [batch, classes]), teacher.temperature),
  );
  const weights = Array.from(labels, (label) => (label < classes ? teacher.share / batch : 0));
  return tf.mul(probabilities, tf.tensor2d(weights, [batch, 1])) as tf.Tensor2D;
}
