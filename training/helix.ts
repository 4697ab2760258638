import * as tf from '@tensorflow/tfjs-core';
import { BlindbeatError } from '../src/errors.ts';
import { helixOffset } from '../src/model/helix.ts';
import { circular, filterGradient, flip } from './convolution.ts';

/** How a helical convolution reads its input. */
export interface HelixShape {
  dilation: number;
  /** Of the block before it. */
  pool: number;
  /** Channels side by side. */
  helix: number;
}

/**
 * Average pooling and helical convolution (src/model/helix.ts) in one, with a gradient.
 *
 * @param y [batch, time, in], not yet pooled; the result is [batch, time / pool, out]
 * @param w [kernel, in, out]
 * @throws BlindbeatError USAGE if dilation > 1 and pool * helix does not divide the number of outputs
 */
export function helicalConv(y: tf.Tensor3D, w: tf.Tensor3D, shape: HelixShape): tf.Tensor3D {
  // Measured on the shipped architecture: frames save passes over memory, turns save multiplications.
  return shape.dilation === 1 ? frameConv(y, w, shape) : turnConv(y, w, shape);
}

/**
 * Without dilation: one plain convolution, with two taps more, of frames of `pool` samples in time.
 *
 * A weight of it is the one of w divided by `pool`, at each time that the pooling window of its phase covers.
 */
function frameConv(y: tf.Tensor3D, w: tf.Tensor3D, { pool, helix }: HelixShape): tf.Tensor3D {
  const [batch, time, inputs] = y.shape;
  const [kernel, , outputs] = w.shape;
  const width = pool * inputs;
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, filter, save] = args as [tf.Tensor3D, tf.Tensor3D, tf.GradSaveFunc];
    const frames = tf.reshape(input, [batch, time / pool, width]) as tf.Tensor3D; // [batch, frames, pool in]
    // What w reads in the frame before its tap's, in that frame and in the one after.
    const masks = [-1, 0, 1].map((frame) =>
      maskOf(width, outputs, (k, o) => {
        const [position, i] = [Math.floor(k / inputs), k % inputs];
        const into = frame * pool + position - helixOffset(i, o, helix, pool);
        return into >= 0 && into < pool ? 1 / pool : 0;
      }),
    );
    const repeated = tf.concat(Array<tf.Tensor3D>(pool).fill(filter), 1); // [kernel, pool in, out]
    const shifted = masks.map((mask, k) => tf.pad(tf.mul(repeated, mask), [[k, 2 - k], NONE, NONE]));
    const expanded = tf.addN(shifted) as tf.Tensor3D; // [kernel + 2, pool in, out]
    save([frames, expanded, ...masks]);
    const gradFunc = (dy: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const [xs, ws, ...ms] = saved as [tf.Tensor3D, tf.Tensor3D, ...tf.Tensor[]];
      const dExpanded = filterGradient(xs, dy, kernel + 2, 1); // [kernel + 2, pool in, out]
      const parts = ms.map((mask, k) =>
        tf.mul(tf.slice(dExpanded, [k, 0, 0], [kernel, width, outputs]), mask),
      );
      const dRepeated = tf.addN(parts); // [kernel, pool in, out]
      return [
        tf.reshape(circular(dy, flip(ws), 1), [batch, time, inputs]),
        tf.addN(tf.split(dRepeated, pool, 1)),
      ];
    };
    return { value: circular(frames, expanded, 1), gradFunc: gradFunc as never };
  });
  return op(y, w) as tf.Tensor3D;
}

const NONE: [number, number] = [0, 0];

/**
 * With dilation: one convolution for each turn of the helix.
 *
 * A turn is `helix` outputs; after `pool` turns comes the first again. The outputs of one turn read two
 * neighbouring phases of the pooled signal, so that its convolution takes both, half of its weights 0.
 */
function turnConv(y: tf.Tensor3D, w: tf.Tensor3D, { dilation, pool, helix }: HelixShape): tf.Tensor3D {
  const [kernel, inputs, outputs] = w.shape;
  if (outputs % (pool * helix) !== 0) {
    throw new BlindbeatError(
      'USAGE',
      `A dilated convolution with a helix of ${helix} after pooling by ${pool} needs a multiple of ` +
        `${pool * helix} output channels, got ${outputs}. Change the architecture's helix or channels.`,
    );
  }
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, filter, save] = args as [tf.Tensor3D, tf.Tensor3D, tf.GradSaveFunc];
    // The first turn stands for all: the phases of the others are later, but the same for each output.
    const masks = [0, 1].map((later) =>
      maskOf(inputs, outputs / pool, (i, o) =>
        helixOffset(i, o % helix, helix, pool) === firstPhase(pool) + later ? 1 : 0,
      ),
    );
    const pairs = phasePairs(input, pool); // pool x [batch, time / pool, 2 in]
    // pool x [kernel, 2 in, out / pool]
    const filters = turnsOf(filter, pool, helix).map(
      (turn) =>
        tf.concat(
          masks.map((m) => tf.mul(turn, m)),
          1,
        ) as tf.Tensor3D,
    );
    const value = fromTurns(
      pairs.map((pair, h) => circular(pair, filters[h], dilation)),
      helix,
    );
    save([...pairs, ...filters, ...masks]);
    const gradFunc = (dy: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const [xs, ws] = [saved.slice(0, pool), saved.slice(pool, 2 * pool)] as tf.Tensor3D[][];
      const [earlier, later] = saved.slice(2 * pool);
      const turns = turnsOf(dy, pool, helix); // pool x [batch, time / pool, out / pool]
      const dFilters = turns.map((turn, h) => {
        const [one, other] = tf.split(filterGradient(xs[h], turn, kernel, dilation), 2, 1);
        return tf.add(tf.mul(one, earlier), tf.mul(other, later)) as tf.Tensor3D;
      });
      const dPairs = turns.map((turn, h) => circular(turn, flip(ws[h]), dilation));
      return [phasePairsTransposed(dPairs, pool), fromTurns(dFilters, helix)];
    };
    return { value, gradFunc: gradFunc as never };
  });
  return op(y, w) as tf.Tensor3D;
}

/** [rows, columns] of the values. */
function maskOf(rows: number, columns: number, value: (row: number, column: number) => number): tf.Tensor2D {
  const values = Float32Array.from({ length: rows * columns }, (_, k) =>
    value(Math.floor(k / columns), k % columns),
  );
  return tf.tensor2d(values, [rows, columns]);
}

/** The earlier phase of the first turn. */
function firstPhase(pool: number): number {
  return helixOffset(0, 0, 1, pool);
}

/** [a, b, out] as one [a, b, out / pool] for each turn of the helix. */
function turnsOf(x: tf.Tensor3D, pool: number, helix: number): tf.Tensor3D[] {
  const [a, b, outputs] = x.shape;
  const rounds = tf.reshape(x, [a * b, outputs / (pool * helix), pool, helix]); // [a b, rounds, pool, helix]
  return tf.split(rounds, pool, 2).map((turn) => tf.reshape(turn, [a, b, outputs / pool]));
}

/** The inverse of `turnsOf`. */
function fromTurns(turns: tf.Tensor3D[], helix: number): tf.Tensor3D {
  const [a, b, width] = turns[0].shape;
  const rounds = turns.map((turn) => tf.reshape(turn, [a * b, width / helix, 1, helix]));
  return tf.reshape(tf.concat(rounds, 2), [a, b, width * turns.length]);
}

/**
 * For each turn h the pooled signal P at its two phases side by side, P[pool t + first + h] and the next:
 * pool tensors [batch, time / pool, 2 in].
 */
function phasePairs(y: tf.Tensor3D, pool: number): tf.Tensor3D[] {
  const [batch, time, inputs] = y.shape;
  const [steps, first] = [time / pool, firstPhase(pool)];
  const length = time + Math.max(pool - 1, 1);
  const pooled = slidingMean(y, first, length, pool); // [batch, length, in]: P[first], P[first + 1], ...
  const from = (n: number) => tf.slice(pooled, [0, n, 0], [batch, time, inputs]); // [batch, time, in]
  if (pool === 1) return [tf.concat([from(0), from(1)], 2)];
  return Array.from({ length: pool }, (_, h) => {
    const frames = tf.reshape(from(h), [batch, steps, pool * inputs]) as tf.Tensor3D;
    return pool === 2 ? frames : tf.slice(frames, [0, 0, 0], [batch, steps, 2 * inputs]);
  });
}

/** The transpose of `phasePairs`: the gradient of its input [batch, time, in] from those of its outputs. */
function phasePairsTransposed(pairs: tf.Tensor3D[], pool: number): tf.Tensor3D {
  const [batch, steps, both] = pairs[0].shape;
  const [time, inputs] = [steps * pool, both / 2];
  const spread = pairs.map((pair, h) => {
    if (pool === 1) {
      const [one, other] = tf.split(pair, 2, 2) as tf.Tensor3D[];
      return tf.add(one, part(other, -1, time));
    }
    const rest = () => tf.zeros<tf.Rank.R3>([batch, steps, (pool - 2) * inputs]);
    const frames = pool === 2 ? pair : tf.concat([pair, rest()], 2);
    return part(tf.reshape(frames, [batch, time, inputs]) as tf.Tensor3D, -h, time);
  });
  return slidingMean(tf.addN(spread) as tf.Tensor3D, 1 - pool - firstPhase(pool), time, pool);
}

/**
 * [batch, length, c]: the means of x [batch, time, c] over pool times from each of from, from + 1, ...,
 * circular.
 */
function slidingMean(x: tf.Tensor3D, from: number, length: number, pool: number): tf.Tensor3D {
  const around = part(x, from, length + pool - 1);
  if (pool === 1) return around;
  const [batch, time, channels] = around.shape;
  const flat = tf.reshape(around, [batch, 1, time, channels]) as tf.Tensor4D;
  return tf.reshape(tf.avgPool(flat, [1, pool], 1, 'valid'), [batch, length, channels]);
}

/** [batch, length, c]: x[from], x[from + 1], ... of x [batch, time, c], circular in time. */
function part(x: tf.Tensor3D, from: number, length: number): tf.Tensor3D {
  const [batch, time, channels] = x.shape;
  const parts: tf.Tensor3D[] = [];
  for (let at = from; at < from + length; ) {
    const start = ((at % time) + time) % time;
    const count = Math.min(time - start, from + length - at);
    parts.push(tf.slice(x, [0, start, 0], [batch, count, channels]));
    at += count;
  }
  return parts.length === 1 ? parts[0] : tf.concat(parts, 1);
}
