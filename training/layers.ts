import * as tf from '@tensorflow/tfjs-core';

/**
 * An op with its own gradient. tfjs-core registers no gradients under Node (only the 60 MB union package does),
 * so every op of the network brings one. `gradient` gets dy, the inputs and the value.
 */
export function withGradient<Y extends tf.Tensor>(
  inputs: tf.Tensor[],
  forward: (...inputs: tf.Tensor[]) => Y,
  gradient: (dy: Y, inputs: tf.Tensor[], value: Y) => tf.Tensor[],
): Y {
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const save = args.pop() as tf.GradSaveFunc;
    const tensors = args as tf.Tensor[];
    const value = forward(...tensors);
    save([...tensors, value]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) =>
      gradient(dy as Y, saved.slice(0, -1), saved[saved.length - 1] as Y);
    return { value, gradFunc: gradFunc as never };
  });
  return op(...inputs) as Y;
}

/** x + b over the last axis; x [batch, time, channels], b [channels]. */
export function addBias(x: tf.Tensor3D, b: tf.Tensor1D): tf.Tensor3D {
  return withGradient(
    [x, b],
    (xs, bs) => tf.add(xs, bs) as tf.Tensor3D,
    (dy) => [dy, tf.sum(dy, [0, 1])],
  );
}

/** Mean over time: [batch, time, channels] -> [batch, channels]. */
export function meanOverTime(x: tf.Tensor3D): tf.Tensor2D {
  return withGradient(
    [x],
    (xs) => tf.mean(xs, 1) as tf.Tensor2D,
    (dy, [xs]) => {
      const [batch, time, channels] = xs.shape as [number, number, number];
      const even = tf.reshape(tf.div(dy, time), [batch, 1, channels]);
      return [tf.mul(even, tf.onesLike(xs))];
    },
  );
}

/** x W + b; x [batch, channels], W [channels, classes], b [classes]. */
export function dense(x: tf.Tensor2D, w: tf.Tensor2D, b: tf.Tensor1D): tf.Tensor2D {
  return withGradient(
    [x, w, b],
    (xs, ws, bs) => tf.add(tf.matMul(xs as tf.Tensor2D, ws as tf.Tensor2D), bs) as tf.Tensor2D,
    (dy, [xs, ws]) => [
      tf.matMul(dy, ws as tf.Tensor2D, false, true),
      tf.matMul(xs as tf.Tensor2D, dy, true),
      tf.sum(dy, 0),
    ],
  );
}

/** y = maxPool(max(x, 0)), the published network's activation; x [batch, time, channels], pool divides time. */
export function reluPool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  const [batch, time, channels] = x.shape;
  const flat = (t: tf.Tensor) => tf.reshape(t, [batch, 1, t.size / (batch * channels), channels]);
  return withGradient(
    [x],
    (xs) => {
      const pooled = tf.maxPool(flat(tf.relu(xs)) as tf.Tensor4D, [1, pool], [1, pool], 'valid');
      return tf.reshape(pooled, [batch, time / pool, channels]) as tf.Tensor3D;
    },
    (dy, [xs], value) => {
      // The first of equal samples of a window takes the gradient; windows without a positive one take none.
      const wide = tf.reshape(xs, [batch, time / pool, pool * channels]) as tf.Tensor3D;
      const open = tf.mul(dy, tf.cast(tf.greater(value, 0), 'float32'));
      const parts: tf.Tensor[] = [];
      let left = open as tf.Tensor;
      for (let k = 0; k < pool; k++) {
        const part = tf.slice(wide, [0, 0, k * channels], [batch, time / pool, channels]);
        const mine = tf.mul(left, tf.cast(tf.equal(part, value), 'float32'));
        parts.push(mine);
        left = tf.sub(left, mine);
      }
      return [tf.reshape(tf.concat(parts, 2), [batch, time, channels])];
    },
  );
}

/** y = averagePool(max(x, 0)); x [batch, time, channels], pool divides time. */
export function reluAveragePool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  return withGradient(
    [x],
    (xs) => averagePool(tf.relu(xs as tf.Tensor3D), pool),
    (dy, [xs]) => [tf.mul(repeat(tf.div(dy, pool) as tf.Tensor3D, pool), tf.step(xs))],
  );
}

/** [batch, time, c] -> [batch, time / pool, c] */
export function averagePool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  if (pool === 1) return x;
  const [batch, time, channels] = x.shape;
  const flat = tf.reshape(x, [batch, 1, time, channels]) as tf.Tensor4D;
  return tf.reshape(tf.avgPool(flat, [1, pool], [1, pool], 'valid'), [batch, time / pool, channels]);
}

/** [batch, time, c] -> [batch, time * times, c], each row repeated. */
export function repeat(x: tf.Tensor3D, times: number): tf.Tensor3D {
  if (times === 1) return x;
  const [batch, time, channels] = x.shape;
  const rows = tf.reshape(x, [batch, time, channels]);
  return tf.reshape(tf.concat(Array(times).fill(rows), 2), [batch, time * times, channels]);
}

/** What the loss of a batch is made of beside the scores. */
export interface LossTerms {
  /** [batch, classes]: class probabilities times the record's weight. */
  targets: tf.Tensor2D;
  /** Scores go through s = bound * tanh(score / bound) first. */
  bound?: number;
  /** A teacher's probabilities at a temperature, times their weight. */
  teacher?: { targets: tf.Tensor2D; temperature: number };
  /** weight * the mean over records of the sum of log(1 + relu(|score| - start)^2) is added. */
  excess?: { start: number; weight: number };
}

/**
 * Sum over records and classes of -targets log softmax(s) - temperature teacher log softmax(s / temperature), plus
 * the scores' excess. scores [batch, classes].
 */
export function crossEntropy(scores: tf.Tensor2D, terms: LossTerms): tf.Scalar {
  const { targets, bound, teacher, excess } = terms;
  const squash = (s: tf.Tensor) => (bound === undefined ? s : tf.mul(tf.tanh(tf.div(s, bound)), bound));
  const log = (s: tf.Tensor) => tf.logSoftmax(s as tf.Tensor2D);
  const beyond = (s: tf.Tensor, start: number) => tf.sub(s, tf.clipByValue(s, -start, start));
  return withGradient(
    [scores],
    (raw) => {
      const s = squash(raw);
      let loss = tf.neg(tf.sum(tf.mul(targets, log(s))));
      if (teacher) {
        const { temperature } = teacher;
        const soft = tf.sum(tf.mul(teacher.targets, log(tf.div(s, temperature))));
        loss = tf.sub(loss, tf.mul(soft, temperature));
      }
      if (excess) {
        const sum = tf.sum(tf.log1p(tf.square(beyond(raw, excess.start))));
        loss = tf.add(loss, tf.mul(sum, excess.weight / raw.shape[0]));
      }
      return loss as tf.Scalar;
    },
    (dy, [raw]) => {
      const s = squash(raw);
      // d/ds of -t . log softmax(s) = softmax(s) sum(t) - t; the temperature's two factors cancel
      const slope = (t: tf.Tensor, at: tf.Tensor) => tf.sub(tf.mul(tf.exp(log(at)), tf.sum(t, 1, true)), t);
      let ds = slope(targets, s);
      if (teacher) ds = tf.add(ds, slope(teacher.targets, tf.div(s, teacher.temperature)));
      if (bound !== undefined) ds = tf.mul(ds, tf.sub(1, tf.square(tf.div(s, bound))));
      if (excess) {
        const e = beyond(raw, excess.start);
        const steep = tf.div(e, tf.add(tf.square(e), 1));
        ds = tf.add(ds, tf.mul(steep, (2 * excess.weight) / raw.shape[0]));
      }
      return [tf.mul(ds, dy)];
    },
  );
}
