import * as tf from '@tensorflow/tfjs-core';
import type { RangeControl } from './config.ts';
import { averagePool, repeat } from './layers.ts';

/**
 * Batch normalisation gamma (c - mean) / sqrt(variance + epsilon) + beta with the batch's own mean and
 * variance over batch and time.
 *
 * @param c [batch, time, channels]; gamma and beta are [channels]
 * @param report receives mean and variance [channels], which it has to dispose of
 */
export function batchNorm(
  c: tf.Tensor3D,
  gamma: tf.Tensor1D,
  beta: tf.Tensor1D,
  report?: (mean: tf.Tensor1D, variance: tf.Tensor1D) => void,
): tf.Tensor3D {
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, scale, shift, save] = args as [tf.Tensor3D, tf.Tensor1D, tf.Tensor1D, tf.GradSaveFunc];
    const mean = tf.mean(input, [0, 1]) as tf.Tensor1D; // [channels]
    const squares = tf.mean(tf.square(input), [0, 1]); // [channels]
    const variance = tf.relu(tf.sub(squares, tf.square(mean))) as tf.Tensor1D; // [channels]
    const inverse = tf.rsqrt(tf.add(variance, BATCH_NORM_EPSILON)) as tf.Tensor1D;
    report?.(tf.keep(tf.clone(mean)), tf.keep(tf.clone(variance)));
    const slope = tf.mul(scale, inverse);
    const value = tf.add(tf.mul(input, slope), tf.sub(shift, tf.mul(mean, slope))) as tf.Tensor3D;
    save([input, scale, mean, inverse]);
    const gradFunc = (dx: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const [cs, g, m, inv] = saved as [tf.Tensor3D, tf.Tensor1D, tf.Tensor1D, tf.Tensor1D];
      const count = cs.shape[0] * cs.shape[1];
      const dBeta = tf.sum(dx, [0, 1]); // [channels]
      const dGamma = tf.mul(inv, tf.sub(tf.sum(tf.mul(dx, cs), [0, 1]), tf.mul(m, dBeta))); // [channels]
      // dc = gamma/std (dx - dBeta/n - xhat dGamma/n), regrouped: a multiple of dx, one of c, and a constant.
      const k = tf.mul(g, inv); // [channels]
      const onC = tf.div(tf.mul(tf.mul(k, inv), dGamma), -count); // [channels]
      const constant = tf.sub(tf.div(tf.mul(k, dBeta), -count), tf.mul(onC, m)); // [channels]
      const dc = tf.add(tf.add(tf.mul(dx, k), tf.mul(cs, onC)), constant); // [batch, time, channels]
      return [dc, dGamma, dBeta];
    };
    return { value, gradFunc: gradFunc as never };
  });
  return op(c, gamma, beta) as tf.Tensor3D;
}

/** What is added to a variance before its root is taken. */
export const BATCH_NORM_EPSILON = 1e-5;

/**
 * averagePool(a (x + h)^2), whose gradient is that of the loss plus all range penalties.
 *
 * The penalty's gradient is added to that of x, so that the penalty itself need not be part of the loss.
 *
 * @param x [batch, time, channels]; a and h are [channels], the result [batch, time / pool, channels]
 * @param onPenalty receives `rangePenalty` of x and has to dispose of it
 */
export function squarePool(
  x: tf.Tensor3D,
  a: tf.Tensor1D,
  h: tf.Tensor1D,
  pool: number,
  control?: RangeControl,
  onPenalty?: (penalty: tf.Scalar) => void,
): tf.Tensor3D {
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, scale, offset, save] = args as [tf.Tensor3D, tf.Tensor1D, tf.Tensor1D, tf.GradSaveFunc];
    const clipped = clip(input, control?.clip);
    const shifted = tf.add(clipped, offset) as tf.Tensor3D; // [batch, time, channels]
    const pooled = averagePool(tf.square(shifted), pool); // [batch, time / pool, channels]
    save([input, scale, shifted, pooled]);
    if (control && onPenalty) onPenalty(tf.keep(rangePenalty(input, control)));
    const gradFunc = (dy: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const [xs, as, zs, ps] = saved as [tf.Tensor3D, tf.Tensor1D, tf.Tensor3D, tf.Tensor3D];
      const spread = repeat(tf.mul(dy, tf.mul(as, 2 / pool)) as tf.Tensor3D, pool); // [batch, time, channels]
      let dx = tf.mul(spread, zs); // [batch, time, channels]
      const dh = tf.sum(dx, [0, 1]); // [channels]
      if (control?.clip !== undefined) {
        dx = tf.mul(dx, tf.cast(tf.equal(xs, tf.clipByValue(xs, -control.clip, control.clip)), 'float32'));
      }
      if (control) dx = rangeGradients(xs, control).reduce((sum, term) => tf.add(sum, term), dx);
      return [dx, tf.sum(tf.mul(dy, ps), [0, 1]), dh];
    };
    return { value: tf.mul(pooled, scale) as tf.Tensor3D, gradFunc: gradFunc as never };
  });
  return op(x, a, h) as tf.Tensor3D;
}

/**
 * linear mean(e) + square mean(e^2) + largest mean over records of max(e), e = relu(|x| - start); of the
 * bounded form log(1 + .) of each e, e^2 and max(e).
 *
 * @param x [batch, time, channels]
 */
export function rangePenalty(x: tf.Tensor3D, control: RangeControl): tf.Scalar {
  const e = tf.abs(excess(x, control.start));
  const f = control.form === 'bounded' ? tf.log1p<tf.Tensor> : (v: tf.Tensor) => v;
  const terms = [
    weighted(control.linear, () => tf.mean(f(e))),
    weighted(control.square, () => tf.mean(f(tf.square(e)))),
    weighted(control.largest, () => tf.mean(f(tf.max(e, [1, 2])))),
  ];
  return terms.flat().reduce((sum, term) => tf.add(sum, term), tf.scalar(0)) as tf.Scalar;
}

/** The gradient of `rangePenalty` as the terms of a sum, each [batch, time, channels] as x. */
export function rangeGradients(x: tf.Tensor3D, control: RangeControl): tf.Tensor[] {
  const [batch, time, channels] = x.shape;
  const count = batch * time * channels;
  const bounded = control.form === 'bounded';
  const d = excess(x, control.start);
  const e = tf.abs(d);
  return [
    weighted(control.linear / count, () => (bounded ? tf.div(tf.sign(d), tf.add(e, 1)) : tf.sign(d))),
    weighted((2 * control.square) / count, () => (bounded ? tf.div(d, tf.add(tf.square(d), 1)) : d)),
    weighted(control.largest / batch, () => {
      const peak = tf.max(e, [1, 2], true); // [batch, 1, 1]
      const atPeak = tf.mul(tf.sign(d), tf.cast(tf.equal(e, peak), 'float32')); // [batch, time, channels]
      return bounded ? tf.div(atPeak, tf.add(peak, 1)) : atPeak;
    }),
  ].flat();
}

/**
 * The term times its weight; no term if it weighs nothing, since an activation costs what it reads of memory.
 */
function weighted(weight: number, term: () => tf.Tensor): tf.Tensor[] {
  return weight === 0 ? [] : [tf.mul(term(), weight)];
}

/** The signed part of x beyond +-start: |excess| = relu(|x| - start). */
function excess(x: tf.Tensor3D, start: number): tf.Tensor3D {
  return tf.sub(x, tf.clipByValue(x, -start, start));
}

/** x held to +-bound; x itself without a bound. */
export function clip(x: tf.Tensor3D, bound: number | undefined): tf.Tensor3D {
  return bound === undefined ? x : tf.clipByValue(x, -bound, bound);
}
