import * as tf from '@tensorflow/tfjs-core';
import { approximate } from '../../src/approx/approximate.ts';
import { isComposite } from '../../src/approx/approximation.ts';
import type { ChebyshevSeries } from '../../src/approx/chebyshev.ts';
import type { Distribution } from '../../src/approx/distribution.ts';
import { BlindbeatError } from '../../src/errors.ts';
import {
  activations,
  copyOf,
  type Network,
  parameter,
  parameterTensors,
  preActivations,
} from '../network.ts';
import type { CellMethod } from './cells.ts';

/** A polynomial in each ReLU's place: of one degree, by one method. */
export interface Replacement {
  degree: number;
  method: CellMethod;
  /** By how much of its length a range is wider at both ends than what was seen. */
  margin: number;
}

/** The pre-activations of a block, all channels together. */
interface Seen {
  low: number;
  high: number;
  /** counts[k]: those from k WIDTH - FINEST on, up to the next. */
  counts: Float64Array;
}

/**
 * Where every channel's pre-activations lie after scaling; their deviation is near 1 then. On a symmetric
 * range the best polynomials of ReLU of degrees 2k and 2k + 1 would be the same.
 */
const TARGET = [-7, 9] as const;
/** So many times that range at most, before scaling: beyond it the polynomials have lost the network. */
const LIMIT = 1e3;
/** Bins of the histogram that weighs the squared errors. */
const BINS = 256;
/** The finer bins in which pre-activations are counted: so wide, over +-FINEST. */
const WIDTH = 1 / 128;
const FINEST = 9.1;
/** Share of an even weight in it, so that the polynomial is held where inputs are rare, too. */
const EVEN = 1e-3;

/**
 * The network with a polynomial in place of each ReLU, one for all channels of a block. Polynomials are
 * chosen block after block, for the pre-activations that the segments cause through the blocks replaced so
 * far; least squares are weighted by their histogram. Before that a block's channels are scaled to equal
 * largest pre-activations and the next block's weights by the inverse, which no ReLU network notices (ReLU(s
 * x) = s ReLU(x), s > 0): one range then suits all channels.
 *
 * @param segments [records * samples]
 * @param onBlock told how many blocks are done
 *
 * @throws BlindbeatError MODEL if the pre-activations of a block grow beyond every bound, or its polynomial
 * cannot be made
 */
export function replaceRelu(
  network: Network,
  segments: Float32Array,
  replacement: Replacement,
  onBlock: (done: number) => void = () => {},
): Network {
  const { samples, channels } = network.architecture;
  const series: ChebyshevSeries[] = [];
  const replaced = copyOf(network);
  replaced.architecture = { ...network.architecture, activation: series };
  const records = segments.length / samples;
  let inputs = tf.split(tf.tensor3d(segments, [records, samples, 1]), partsOf(records)) as tf.Tensor3D[];
  let tensors: tf.Tensor[] = [];
  const renew = () => {
    tf.dispose(tensors);
    tensors = parameterTensors(replaced);
  };
  try {
    channels.forEach((_, i) => {
      renew();
      const raw = inputs.map((x) => tf.tidy(() => preActivations(replaced, tensors, i, x)));
      tf.dispose(inputs);
      inputs = raw;
      const scales = scalesOf(raw, i);
      scaleChannels(replaced, i, scales);
      renew();
      inputs = raw.map((c) => tf.tidy(() => tf.mul(c, tf.tensor1d(scales)) as tf.Tensor3D));
      tf.dispose(raw);
      series.push(polynomialOf(look(inputs), replacement));
      const outputs = inputs.map((c) => tf.tidy(() => activations(replaced, tensors, i, c)));
      tf.dispose(inputs);
      inputs = outputs;
      onBlock(i + 1);
    });
    return replaced;
  } finally {
    tf.dispose([inputs, tensors]);
  }
}

/** What brings the pre-activations of each channel just into `TARGET`. */
function scalesOf(values: tf.Tensor3D[], block: number): Float32Array {
  const largest = tf.tidy(() => {
    const each = values.map((value) =>
      tf.maximum(tf.div(tf.min(value, [0, 1]), TARGET[0]), tf.div(tf.max(value, [0, 1]), TARGET[1])),
    );
    return tf.max(tf.stack(each), 0).dataSync() as Float32Array;
  });
  const most = largest.reduce((a, b) => Math.max(a, Number.isNaN(b) ? Number.POSITIVE_INFINITY : b), 0);
  if (most > LIMIT) {
    throw new BlindbeatError(
      'MODEL',
      `the pre-activations of block ${block + 1} reach ${(9 * most).toPrecision(3)}, at most ` +
        `${9 * LIMIT} is allowed: the polynomials before it lead them out of every range. Take another ` +
        'degree or method.',
    );
  }
  return largest.map((x) => 1 / Math.max(x, 1e-6 * most, 1e-30));
}

/** Channel c of block `i` times scales[c], and its inverse in the weights that read it: [kernel][in][out]. */
function scaleChannels(network: Network, i: number, scales: Float32Array): void {
  const multiply = (name: string, factor: (index: number) => number) => {
    const { values } = parameter(network, name);
    for (let k = 0; k < values.length; k++) values[k] *= factor(k);
  };
  const n = scales.length;
  multiply(`block${i + 1}/conv`, (k) => scales[k % n]);
  multiply(`block${i + 1}/bias`, (k) => scales[k]);
  const last = i === network.architecture.channels.length - 1;
  const outputs = last ? network.architecture.classes.length : network.architecture.channels[i + 1];
  multiply(last ? 'dense/weights' : `block${i + 2}/conv`, (k) => 1 / scales[Math.floor(k / outputs) % n]);
}

/** Sizes of the parts in which the records are computed. */
function partsOf(records: number, size = 64): number[] {
  const whole = Array<number>(Math.floor(records / size)).fill(size);
  return records % size === 0 ? whole : [...whole, records % size];
}

function look(values: tf.Tensor[]): Seen {
  const seen: Seen = {
    low: Number.POSITIVE_INFINITY,
    high: Number.NEGATIVE_INFINITY,
    counts: new Float64Array((2 * FINEST) / WIDTH + 2),
  };
  for (const value of values) {
    for (const x of value.dataSync() as Float32Array) {
      if (x < seen.low) seen.low = x;
      if (x > seen.high) seen.high = x;
      seen.counts[Math.floor((x + FINEST) / WIDTH)]++;
    }
  }
  return seen;
}

function polynomialOf(seen: Seen, { degree, method, margin }: Replacement): ChebyshevSeries {
  const wider = margin * (seen.high - seen.low);
  const range = [seen.low - wider, seen.high + wider] as const;
  const counts = Array<number>(BINS).fill(0);
  seen.counts.forEach((count, k) => {
    const bin = Math.floor((BINS * ((k + 0.5) * WIDTH - FINEST - range[0])) / (range[1] - range[0]));
    counts[Math.max(0, Math.min(BINS - 1, bin))] += count;
  });
  return polynomialFor(range, degree, method, counts);
}

/** A polynomial in place of ReLU for pre-activations as after batch norm: normal, mean 0, deviation 1. */
export function normalSeries(degree: number, method: CellMethod): ChebyshevSeries {
  const width = (TARGET[1] - TARGET[0]) / BINS;
  const counts = Array.from({ length: BINS }, (_, k) =>
    Math.exp(-0.5 * (TARGET[0] + (k + 0.5) * width) ** 2),
  );
  return polynomialFor(TARGET, degree, method, counts);
}

/**
 * ReLU by one polynomial; least squares are weighted by `counts` in bins of equal width, and a little evenly.
 */
function polynomialFor(
  range: readonly [number, number],
  degree: number,
  method: CellMethod,
  counts: number[],
): ChebyshevSeries {
  const total = counts.reduce((a, b) => a + b, 0);
  const [low, high] = range;
  const edges = counts.map((_, k) => low + (k * (high - low)) / counts.length);
  const distribution: Distribution = {
    kind: 'histogram',
    edges: [...edges, high],
    counts: counts.map((c) => c + (EVEN * total) / counts.length),
  };
  const found = approximate('relu', {
    range,
    degree,
    method,
    ...(method === 'least-squares' && { distribution }),
  });
  if (isComposite(found)) throw new BlindbeatError('INTERNAL', 'a composite is no single polynomial');
  return { range, coefficients: found.coefficients };
}
