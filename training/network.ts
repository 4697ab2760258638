import * as tf from '@tensorflow/tfjs-core';
import type { Random } from '../src/ecg/random.ts';
import { BlindbeatError } from '../src/errors.ts';
import { BATCH_NORM_EPSILON, batchNorm, squarePool } from './activation.ts';
import type { Architecture, RangeControl } from './config.ts';
import { circularConv } from './convolution.ts';
import { helicalConv } from './helix.ts';
import { addBias, dense, meanOverTime, reluAveragePool, reluPool } from './layers.ts';
import type { Parameter } from './optimizer.ts';
import { polynomialPool } from './polynomial.ts';

/** Where a (x + h)^2 starts and stays: as a -> 0 the folded form would cancel badly. */
export const SQUARE = { a: 0.25, h: 1, aBounds: [0.05, 4], hBounds: [-4, 4] } satisfies {
  a: number;
  h: number;
  aBounds: [number, number];
  hBounds: [number, number];
};

/** A network in training. */
export interface Network {
  architecture: Architecture;
  /**
   * `normalised`: batch norm before every activation. `exact`: batch norm folded into the convolutions, so
   * that what is trained is what is exported.
   */
  phase: 'normalised' | 'exact';
  /**
   * Of each block conv, then gamma and beta or bias, then a and h of a square; then dense/weights,
   * dense/bias.
   */
  parameters: Parameter[];
}

/** Mean and variance [channels] of one block's convolution. */
export interface Statistics {
  mean: Float32Array;
  variance: Float32Array;
}

/** The architecture without its helix. */
export function plainOf({ helix: _, ...plain }: Architecture): Architecture {
  return plain;
}

/**
 * A new network in the normalised phase: normal weights by He et al. 2015 (arXiv 1502.01852), batch norm that
 * changes nothing, a and h of `SQUARE`.
 */
export function createNetwork(architecture: Architecture, random: Random): Network {
  const parameters: Parameter[] = [];
  let inputs = 1;
  architecture.channels.forEach((outputs, i) => {
    const fanIn = architecture.kernel * inputs;
    parameters.push({
      name: `block${i + 1}/conv`,
      shape: [architecture.kernel, inputs, outputs],
      values: normal(fanIn * outputs, Math.sqrt(2 / fanIn), random),
      decay: true,
    });
    parameters.push(vector(`block${i + 1}/gamma`, outputs, 1), vector(`block${i + 1}/beta`, outputs, 0));
    parameters.push(...squareParameters(architecture, i, outputs));
    inputs = outputs;
  });
  const classes = architecture.classes.length;
  parameters.push({
    name: 'dense/weights',
    shape: [inputs, classes],
    values: normal(inputs * classes, Math.sqrt(1 / inputs), random),
    decay: true,
  });
  parameters.push(vector('dense/bias', classes, 0));
  return { architecture, phase: 'normalised', parameters };
}

function squareParameters(architecture: Architecture, block: number, channels: number): Parameter[] {
  if (architecture.activation !== 'square') return [];
  const a = vector(`block${block + 1}/a`, channels, SQUARE.a);
  const h = vector(`block${block + 1}/h`, channels, SQUARE.h);
  a.bounds = SQUARE.aBounds;
  h.bounds = SQUARE.hBounds;
  return [a, h];
}

function vector(name: string, length: number, value: number): Parameter {
  return { name, shape: [length], values: new Float32Array(length).fill(value), decay: false };
}

function normal(length: number, deviation: number, random: Random): Float32Array {
  return Float32Array.from({ length }, () => deviation * random.normal());
}

/**
 * The parameter of this name, such as `block1/conv`.
 *
 * @throws Error if the network has none
 */
export function parameter(network: Network, name: string): Parameter {
  const found = network.parameters.find((p) => p.name === name);
  if (!found) throw new Error(`no parameter ${name} in a network of phase ${network.phase}`);
  return found;
}

/**
 * The exact network that computes what `network` computes with these fixed statistics:
 * conv' = conv gamma / std and bias = beta - mean gamma / std, std = sqrt(variance + epsilon).
 */
export function foldBatchNorm(network: Network, statistics: Statistics[]): Network {
  const parameters: Parameter[] = [];
  network.architecture.channels.forEach((channels, i) => {
    const conv = parameter(network, `block${i + 1}/conv`);
    const gamma = parameter(network, `block${i + 1}/gamma`).values;
    const beta = parameter(network, `block${i + 1}/beta`).values;
    const { mean, variance } = statistics[i];
    const slope = gamma.map((g, c) => g / Math.sqrt(variance[c] + BATCH_NORM_EPSILON));
    parameters.push({ ...conv, values: conv.values.map((w, j) => w * slope[j % channels]) });
    const bias = vector(`block${i + 1}/bias`, channels, 0);
    bias.values = beta.map((b, c) => b - mean[c] * slope[c]);
    parameters.push(bias);
    if (network.architecture.activation === 'square') {
      parameters.push(
        copy(parameter(network, `block${i + 1}/a`)),
        copy(parameter(network, `block${i + 1}/h`)),
      );
    }
  });
  parameters.push(copy(parameter(network, 'dense/weights')), copy(parameter(network, 'dense/bias')));
  return { architecture: network.architecture, phase: 'exact', parameters };
}

/** The same network with arrays of its own. */
export function copyOf(network: Network): Network {
  return { ...network, parameters: network.parameters.map(copy) };
}

function copy(p: Parameter): Parameter {
  return { ...p, values: p.values.slice() };
}

/** What a forward pass heeds and tells. */
export interface TensorForwardOptions {
  /** What keeps the pre-activations of polynomials in range. */
  control?: RangeControl;
  /** Receives each block's range penalty, if there is a control; it has to dispose of it. */
  onPenalty?: (penalty: tf.Scalar) => void;
  /** Receives each block's statistics [channels] in the normalised phase; it has to dispose of them. */
  onStatistics?: (mean: tf.Tensor1D, variance: tf.Tensor1D) => void;
  /** Receives each block's pre-activations [batch, time, channels], before any clip. */
  onPreActivation?: (x: tf.Tensor3D, block: number) => void;
}

/** Scores [batch, classes] of segments [batch, samples, 1], with the parameters as tensors in their order. */
export function forwardTensors(
  network: Network,
  tensors: tf.Tensor[],
  segments: tf.Tensor3D,
  options: TensorForwardOptions = {},
): tf.Tensor2D {
  let x = segments;
  network.architecture.channels.forEach((_, i) => {
    const c = preActivations(network, tensors, i, x, options.onStatistics); // [batch, time, channels]
    options.onPreActivation?.(c, i);
    x = activations(network, tensors, i, c, options); // [batch, time / pool, channels], before a helix as c
  });
  const last = (name: string) => tensorOf(network, tensors, `dense/${name}`);
  return dense(meanOverTime(x), last('weights') as tf.Tensor2D, last('bias') as tf.Tensor1D);
}

/**
 * The helix of block `i`; 0 for a plain convolution.
 *
 * @throws BlindbeatError USAGE if block `i` cannot have one: it is the first, or pooling is `max`
 */
export function helixOf({ helix, pooling }: Architecture, i: number): number {
  const own = helix?.[i] ?? 0;
  if (own > 0 && (i === 0 || pooling === 'max')) {
    throw new BlindbeatError(
      'USAGE',
      `Block ${i + 1} cannot be helical: a helix needs a block with average pooling before it. Set its ` +
        "helix to 0, or pooling to 'average'.",
    );
  }
  return own;
}

/**
 * What block `i` makes of its input before the activation.
 *
 * @param x [batch, time, in]; the result is [batch, time, out], of a helical block [batch, time / pool, out]
 */
export function preActivations(
  network: Network,
  tensors: tf.Tensor[],
  i: number,
  x: tf.Tensor3D,
  onStatistics?: TensorForwardOptions['onStatistics'],
): tf.Tensor3D {
  const of = (name: string) => tensorOf(network, tensors, `block${i + 1}/${name}`);
  const { pool, dilations } = network.architecture;
  const [weights, dilation, helix] = [
    of('conv') as tf.Tensor3D,
    dilations[i],
    helixOf(network.architecture, i),
  ];
  const c =
    helix > 0 ? helicalConv(x, weights, { dilation, pool, helix }) : circularConv(x, weights, dilation);
  if (network.phase === 'exact') return addBias(c, of('bias') as tf.Tensor1D);
  return batchNorm(c, of('gamma') as tf.Tensor1D, of('beta') as tf.Tensor1D, onStatistics);
}

/**
 * What block `i` makes of its pre-activations.
 *
 * @param x [batch, time, out]; the result is [batch, time / pool, out], before a helical block [batch, time,
 * out]
 */
export function activations(
  network: Network,
  tensors: tf.Tensor[],
  i: number,
  x: tf.Tensor3D,
  { control, onPenalty }: TensorForwardOptions = {},
): tf.Tensor3D {
  const { activation, pooling } = network.architecture;
  const pool = helixOf(network.architecture, i + 1) > 0 ? 1 : network.architecture.pool;
  if (activation === 'relu') return pooling === 'max' ? reluPool(x, pool) : reluAveragePool(x, pool);
  if (activation !== 'square') return polynomialPool(x, activation[i], pool, control, onPenalty);
  const of = (name: string) => tensorOf(network, tensors, `block${i + 1}/${name}`) as tf.Tensor1D;
  return squarePool(x, of('a'), of('h'), pool, control, onPenalty);
}

function tensorOf({ parameters }: Network, tensors: tf.Tensor[], name: string): tf.Tensor {
  return tensors[parameters.findIndex((p) => p.name === name)];
}

/** The network's parameters as tensors, in their order; the caller disposes of them. */
export function parameterTensors(network: Network): tf.Tensor[] {
  return network.parameters.map((p) => tf.tensor(p.values, p.shape, 'float32'));
}

/** Scores [records * classes] of segments [records * samples], `batch` records at a time. */
export function computeScores(network: Network, segments: Float32Array, batch = 64): Float32Array {
  const { samples, classes } = network.architecture;
  const records = segments.length / samples;
  const scores = new Float32Array(records * classes.length);
  const tensors = parameterTensors(network);
  for (let start = 0; start < records; start += batch) {
    const count = Math.min(batch, records - start);
    const part = segments.subarray(start * samples, (start + count) * samples);
    const out = tf.tidy(() =>
      forwardTensors(network, tensors, tf.tensor3d(part, [count, samples, 1])).dataSync(),
    );
    scores.set(out as Float32Array, start * classes.length);
  }
  tf.dispose(tensors);
  return scores;
}

/**
 * Batch-norm statistics of each block of a normalised network over segments [records * samples], in one
 * batch.
 */
export function batchStatistics(
  network: Network,
  segments: Float32Array,
  control?: RangeControl,
): Statistics[] {
  const { samples } = network.architecture;
  const statistics: Statistics[] = [];
  const tensors = parameterTensors(network);
  tf.tidy(() => {
    forwardTensors(network, tensors, tf.tensor3d(segments, [segments.length / samples, samples, 1]), {
      control,
      onStatistics: (mean, variance) => {
        statistics.push({
          mean: mean.dataSync() as Float32Array,
          variance: variance.dataSync() as Float32Array,
        });
        tf.dispose([mean, variance]);
      },
    });
  });
  tf.dispose(tensors);
  return statistics;
}
