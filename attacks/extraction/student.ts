import * as tf from '@tensorflow/tfjs-core';
import { Random } from '../../src/ecg/random.ts';
import type { TrainingConfig } from '../../training/config.ts';
import { rowsOf } from '../../training/data.ts';
import { type LossOptions, lossAndGradients } from '../../training/loss.ts';
import {
  batchStatistics,
  createNetwork,
  foldBatchNorm,
  forwardTensors,
  type Network,
  parameterTensors,
  plainOf,
} from '../../training/network.ts';
import { ADAMW, AdamW, learningRate } from '../../training/optimizer.ts';
import type { Targets } from './answers.ts';
import type { Queries } from './queries.ts';

/** Steps of training by the number of queries. */
export function stepsFor(count: number): number {
  return count <= 100 ? 80 : count <= 1000 ? 200 : 400;
}

/** Records that batch norm's statistics are taken of. */
const STATISTICS = 400;

/** What a student's training needs beside its queries. */
export interface StudentOptions {
  /** The config of the network that is copied: architecture, batch, rates, range control. */
  config: TrainingConfig;
  /** Of weights, order and variation. */
  seed: number;
  steps: number;
  onStep?: (step: number, loss: number) => void;
}

/**
 * Trains a network of the same architecture, without its helices, from random weights on answers: by the
 * first phase of the training recipe, with batch norm, on queries that are turned around, scaled and negated.
 *
 * @returns the network with batch norm folded away
 */
export async function trainStudent(
  queries: Queries,
  targets: Targets,
  { config, seed, steps, onStep }: StudentOptions,
): Promise<Network> {
  const { architecture, batch, labelSmoothing, phases } = config;
  const { control, peak, last, muon } = phases.normalised;
  const classes = architecture.classes.length;
  const random = new Random(seed);
  const network = createNetwork(plainOf(architecture), random);
  const optimizer = new AdamW(network.parameters, ADAMW);
  const { samples } = architecture;
  const segments = new Float32Array(batch * samples);
  const loss: LossOptions = { classWeights: Array(classes).fill(1), labelSmoothing, control };
  let order: number[] = [];
  for (let step = 0; step < steps; step++) {
    while (order.length < batch)
      order = [...order, ...random.shuffle(Array.from({ length: queries.count }, (_, i) => i))];
    const chosen = order.slice(0, batch);
    order = order.slice(batch);
    chosen.forEach((i, row) => {
      segments.set(turned(queries.segments.subarray(i * samples, (i + 1) * samples), random), row * samples);
    });
    if (targets.scores)
      loss.teacher = { scores: rowsOf(targets.scores, chosen, classes), share: 1, temperature: 2 };
    const labels = chosen.map((i) => targets.classes[i]);
    const result = lossAndGradients(network, segments, labels, loss);
    optimizer.update(result.gradients, learningRate(step, steps, 20, peak, last), muon);
    onStep?.(step + 1, result.loss);
    await new Promise((resolve) => setImmediate(resolve)); // lets Ctrl-C be heard
  }
  const some = queries.segments.subarray(0, Math.min(queries.count, STATISTICS) * samples);
  return foldBatchNorm(network, batchStatistics(network, some, control));
}

/** The segment from another sample on, with another sign and size: its class stays. */
function turned(segment: Float32Array, random: Random): Float32Array {
  const shift = random.below(segment.length);
  const gain = (random.next() < 0.5 ? -1 : 1) * random.between(0.9, 1.1);
  return segment.map((_, i) => gain * segment[(i + shift) % segment.length]);
}

/** Scores [count * classes] of a student, whose pre-activations are clipped as in its training. */
export function scoresOf(network: Network, queries: Queries, config: TrainingConfig, batch = 64) {
  const { samples, classes } = config.architecture;
  const { control } = config.phases.normalised;
  const scores = new Float32Array(queries.count * classes.length);
  const tensors = parameterTensors(network);
  for (let start = 0; start < queries.count; start += batch) {
    const count = Math.min(batch, queries.count - start);
    const part = queries.segments.subarray(start * samples, (start + count) * samples);
    const out = tf.tidy(() =>
      forwardTensors(network, tensors, tf.tensor3d(part, [count, samples, 1]), { control }).dataSync(),
    );
    scores.set(out as Float32Array, start * classes.length);
  }
  tf.dispose(tensors);
  return scores;
}
