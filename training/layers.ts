import * as tf from '@tensorflow/tfjs-core';

/**
 * An op with its own gradient: tfjs-core alone registers none, so that every op of the network brings one.
 *
 * @param gradient gives the gradients of the inputs, in their order, from dy, the inputs and the value
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

/** x + b; x [batch, time, channels], b [channels]. */
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
      const even = tf.reshape(tf.div(dy, time), [batch, 1, channels]); // [batch, 1, channels]
      return [tf.mul(even, tf.onesLike(xs))]; // [batch, time, channels]
    },
  );
}

/** x W + b; x [batch, channels], W [channels, classes], b [classes]. */
export function dense(x: tf.Tensor2D, w: tf.Tensor2D, b: tf.Tensor1D): tf.Tensor2D {
  return withGradient(
    [x, w, b],
    (xs, ws, bs) => tf.add(tf.matMul(xs as tf.Tensor2D, ws as tf.Tensor2D), bs) as tf.Tensor2D,
    (dy, [xs, ws]) => [
      tf.matMul(dy, ws as tf.Tensor2D, false, true), // [batch, channels]
      tf.matMul(xs as tf.Tensor2D, dy, true), // [channels, classes]
      tf.sum(dy, 0), // [classes]
    ],
  );
}

/**
 * maxPool(max(x, 0)), the published DeepCardio's activation: x [batch, time, channels] to
 * [batch, time / pool, channels]; pool divides time.
 */
export function reluPool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  const [batch, time, channels] = x.shape;
  const flat = (t: tf.Tensor) => tf.reshape(t, [batch, 1, t.size / (batch * channels), channels]);
  return withGradient(
    [x],
    (xs) => {
      // [batch, 1, time / pool, channels]
      const pooled = tf.maxPool(flat(tf.relu(xs)) as tf.Tensor4D, [1, pool], [1, pool], 'valid');
      return tf.reshape(pooled, [batch, time / pool, channels]) as tf.Tensor3D;
    },
    (dy, [xs], value) => {
      // The first of equal samples of a window takes the gradient; windows without a positive one take none.
      const wide = tf.reshape(xs, [batch, time / pool, pool * channels]); // [batch, windows, pool channels]
      const open = tf.mul(dy, tf.cast(tf.greater(value, 0), 'float32')); // [batch, time / pool, channels]
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

/** averagePool(max(x, 0)): x [batch, time, channels] to [batch, time / pool, channels]; pool divides time. */
export function reluAveragePool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  return withGradient(
    [x],
    (xs) => averagePool(tf.relu(xs as tf.Tensor3D), pool),
    (dy, [xs]) => [tf.mul(repeat(tf.div(dy, pool) as tf.Tensor3D, pool), tf.step(xs))],
  );
}

/**
 * Means over `pool` samples in time: [batch, time, c] to [batch, time / pool, c]. Has no gradient of its own.
 */
export function averagePool(x: tf.Tensor3D, pool: number): tf.Tensor3D {
  if (pool === 1) return x;
  const [batch, time, channels] = x.shape;
  const flat = tf.reshape(x, [batch, 1, time, channels]) as tf.Tensor4D; // [batch, 1, time, c]
  return tf.reshape(tf.avgPool(flat, [1, pool], [1, pool], 'valid'), [batch, time / pool, channels]);
}

/** Each row `times` times: [batch, time, c] to [batch, time * times, c]. Has no gradient of its own. */
export function repeat(x: tf.Tensor3D, times: number): tf.Tensor3D {
  if (times === 1) return x;
  const [batch, time, channels] = x.shape;
  const side = tf.concat(Array<tf.Tensor3D>(times).fill(x), 2); // [batch, time, times c]
  return tf.reshape(side, [batch, time * times, channels]);
}

/** What the loss of a batch is made of beside the scores. */
export interface LossTerms {
  /** [batch, classes]: class probabilities times the record's weight. */
  targets: tf.Tensor2D;
  /** Scores go through bound * tanh(score / bound) first; undefined: they are taken as they are. */
  bound?: number;
  /** A teacher's probabilities [batch, classes] at a temperature, times the record's weight. */
  teacher?: { targets: tf.Tensor2D; temperature: number };
  /** weight * the mean over records of the sum over classes of log(1 + relu(|score| - start)^2) is added. */
  excess?: { start: number; weight: number };
}

/**
 * The sum over records and classes of -targets log softmax(s) - temperature teacher log softmax(s /
 * temperature), plus the excess of the scores; s are the bounded scores.
 *
 * @param scores [batch, classes]
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
      let ds = slope(targets, s); // [batch, classes]
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
