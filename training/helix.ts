import * as tf from '@tensorflow/tfjs-core';
import { BlindbeatError } from '../src/errors.ts';
import { helixOffset } from '../src/model/helix.ts';
import { circular, filterGradient, flip } from './convolution.ts';

/** How a helical convolution reads its input: `pool` is that of the block before it. */
export interface HelixShape {
  dilation: number;
  pool: number;
  /** Channels side by side; pool * helix divides the number of outputs. */
  helix: number;
}

/**
 * Pooling and helical convolution (src/model/helix.ts) in one: y [batch, time, in] before pooling, w [kernel, in, out],
 * to [batch, time / pool, out]. Outputs of one turn of the helix (`pool` turns, then from the first again) read two
 * neighbouring phases of the pooled signal, so each turn is a circular convolution of both with half of its weights 0.
 *
 * @throws BlindbeatError USAGE if pool * helix does not divide the number of outputs
 */
export function helicalConv(y: tf.Tensor3D, w: tf.Tensor3D, shape: HelixShape): tf.Tensor3D {
  const { dilation, pool, helix } = shape;
  const [kernel, inputs, outputs] = w.shape;
  if (outputs % (pool * helix) !== 0) {
    throw new BlindbeatError(
      'USAGE',
      `A helix of ${helix} after pooling by ${pool} needs a multiple of ${pool * helix} output channels, got ${outputs}. Change the architecture's helix or channels.`,
    );
  }
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, filter, save] = args as [tf.Tensor3D, tf.Tensor3D, tf.GradSaveFunc];
    const masks = masksOf(inputs, outputs, shape);
    const pairs = phasePairs(input, pool);
    const filters = turnsOf(filter, pool, helix).map((turn) =>
      tf.concat(
        masks.map((m) => tf.mul(turn, m)),
        1,
      ),
    );
    const value = fromTurns(
      pairs.map((pair, h) => circular(pair, filters[h] as tf.Tensor3D, dilation)),
      helix,
    );
    save([...pairs, ...filters, ...masks]);
    const gradFunc = (dy: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const turns = turnsOf(dy, pool, helix);
      const dInput = phasePairsTransposed(
        turns.map((turn, h) => circular(turn, flip(saved[pool + h] as tf.Tensor3D), dilation)),
        pool,
      );
      const dFilters = turns.map((turn, h) => {
        const both = filterGradient(saved[h] as tf.Tensor3D, turn, kernel, dilation);
        const [now, next] = tf.split(both, 2, 1);
        return tf.add(tf.mul(now, saved[2 * pool]), tf.mul(next, saved[2 * pool + 1])) as tf.Tensor3D;
      });
      return [dInput, fromTurns(dFilters, helix)];
    };
    return { value, gradFunc: gradFunc as never };
  });
  return op(y, w) as tf.Tensor3D;
}

/** 1 / pool where a weight [in, out / pool] reads the earlier phase of its turn, and where it reads the later one. */
function masksOf(inputs: number, outputs: number, { pool, helix }: HelixShape): tf.Tensor2D[] {
  const width = outputs / pool;
  const earlier = new Float32Array(inputs * width);
  const first = firstPhase(pool);
  for (let i = 0; i < inputs; i++) {
    for (let o = 0; o < width; o++) {
      // Offsets of the first turn stand for all: each turn's are one more.
      if (helixOffset(i, o % helix, helix, pool) === first) earlier[i * width + o] = 1 / pool;
    }
  }
  const later = earlier.map((value) => 1 / pool - value);
  return [earlier, later].map((mask) => tf.tensor2d(mask, [inputs, width]));
}

/** The earlier phase of the first turn. */
function firstPhase(pool: number): number {
  return helixOffset(0, 0, 1, pool);
}

/** [a, b, out] as one [a, b, out / pool] for each turn of the helix. */
function turnsOf(x: tf.Tensor3D, pool: number, helix: number): tf.Tensor3D[] {
  const [a, b, outputs] = x.shape;
  const rounds = tf.reshape(x, [a * b, outputs / (pool * helix), pool, helix]);
  return tf.split(rounds, pool, 2).map((turn) => tf.reshape(turn, [a, b, outputs / pool]));
}

/** Takes `turnsOf` back. */
function fromTurns(turns: tf.Tensor3D[], helix: number): tf.Tensor3D {
  const [a, b, width] = turns[0].shape;
  const rounds = turns.map((turn) => tf.reshape(turn, [a * b, width / helix, 1, helix]));
  return tf.reshape(tf.concat(rounds, 2), [a, b, width * turns.length]);
}

/**
 * Of each turn h its two phases side by side, summed over the window: [batch, time / pool, 2 in], where
 * channel j in + i at t is the sum of y[pool t + first + h + j + u] over u < pool.
 */
function phasePairs(y: tf.Tensor3D, pool: number): tf.Tensor3D[] {
  const [batch, time, inputs] = y.shape;
  const first = firstPhase(pool);
  // sums[n] is the window's sum at time first + n
  const length = time + Math.max(pool - 1, 1);
  const part = (x: tf.Tensor3D, from: number, size: number) =>
    tf.slice(x, [0, from, 0], [batch, size, inputs]);
  const before = part(y, time + first, -first);
  const after = part(y, 0, length - time + pool - 1 + first);
  const around = tf.concat([before, y, after], 1);
  const windows = Array.from({ length: pool }, (_, u) => part(around, u, length));
  const sums = windows.reduce((sum, x) => tf.add(sum, x));
  return Array.from({ length: pool }, (_, h) => {
    if (pool === 1) return tf.concat([part(sums, 0, time), part(sums, 1, time)], 2);
    const frames = tf.reshape(part(sums, h, time), [batch, time / pool, pool * inputs]) as tf.Tensor3D;
    return pool === 2 ? frames : tf.slice(frames, [0, 0, 0], [batch, time / pool, 2 * inputs]);
  });
}

/** The transpose of `phasePairs`: what its outputs' gradients make of its input's. */
function phasePairsTransposed(pairs: tf.Tensor3D[], pool: number): tf.Tensor3D {
  const [batch, steps, both] = pairs[0].shape;
  const [time, inputs] = [steps * pool, both / 2];
  const first = firstPhase(pool);
  const spread = pairs.map((pair, h) => {
    if (pool === 1) {
      const [now, next] = tf.split(pair, 2, 2);
      return tf.add(now, rolled(next as tf.Tensor3D, 1)) as tf.Tensor3D;
    }
    const zeros = () => tf.zeros<tf.Rank.R3>([batch, steps, (pool - 2) * inputs]);
    const gap = pool === 2 ? pair : tf.concat([pair, zeros()], 2);
    return rolled(tf.reshape(gap, [batch, time, inputs]) as tf.Tensor3D, h);
  });
  const sums = tf.addN(spread) as tf.Tensor3D;
  return tf.addN(Array.from({ length: pool }, (_, u) => rolled(sums, first + u))) as tf.Tensor3D;
}

/** y[t] = x[t - by], circular in time. */
function rolled(x: tf.Tensor3D, by: number): tf.Tensor3D {
  if (by === 0) return x;
  const time = x.shape[1];
  const cut = by > 0 ? time - by : -by;
  const [head, tail] = tf.split(x, [cut, time - cut], 1) as tf.Tensor3D[];
  return tf.concat([tail, head], 1);
}
