import * as tf from '@tensorflow/tfjs-core';
import { type ChebyshevSeries, monomials } from '../src/approx/chebyshev.ts';
import { clip, rangeGradients, rangePenalty } from './activation.ts';
import type { RangeControl } from './config.ts';
import { averagePool, repeat, withGradient } from './layers.ts';

/**
 * averagePool(p(x)) for one fixed polynomial p, with the range penalty's gradient added as in `squarePool`.
 *
 * p is evaluated in t = (2x - low - high) / (high - low), which is 1 at the upper end of its range, by
 * Horner's rule: two passes over memory a degree, where Clenshaw's recurrence takes three. So, in float32,
 * the series of ReLU loses 2e-5 at degree 11 and 7e-4 at degree 16, on a range of length 9.
 *
 * @param x [batch, time, channels]; the result is [batch, time / pool, channels]
 * @param control clip and start are in units of t
 * @param onPenalty receives `rangePenalty` of t and has to dispose of it
 */
export function polynomialPool(
  x: tf.Tensor3D,
  { range, coefficients }: ChebyshevSeries,
  pool: number,
  control?: RangeControl,
  onPenalty?: (penalty: tf.Scalar) => void,
): tf.Tensor3D {
  const [low, high] = range;
  const scale = 2 / (high - low);
  const shift = -(low + high) / (high - low);
  const powers = monomials({ range: [-1, 1], coefficients }).coefficients;
  const slopes = powers.slice(1).map((c, k) => c * (k + 1));
  const unit = (xs: tf.Tensor) => tf.add(tf.mul(xs, scale), shift) as tf.Tensor3D;
  return withGradient(
    [x],
    (xs) => {
      const t = unit(xs); // [batch, time, channels]
      if (control && onPenalty) onPenalty(tf.keep(rangePenalty(t, control)));
      return averagePool(horner(powers, clip(t, control?.clip)), pool);
    },
    (dy, [xs]) => {
      const t = unit(xs);
      const clipped = clip(t, control?.clip);
      const spread = repeat(tf.mul(dy, scale / pool) as tf.Tensor3D, pool); // [batch, time, channels]
      let dx: tf.Tensor = tf.mul(spread, horner(slopes, clipped));
      if (control?.clip !== undefined) dx = tf.mul(dx, tf.cast(tf.equal(t, clipped), 'float32'));
      if (control)
        dx = rangeGradients(t, control).reduce((sum, term) => tf.add(sum, tf.mul(term, scale)), dx);
      return [dx];
    },
  );
}

/** Σ powers[k] t^k */
function horner(powers: number[], t: tf.Tensor3D): tf.Tensor3D {
  const top = powers.length - 1;
  if (top === 0) return tf.fill(t.shape, powers[0]);
  let y: tf.Tensor3D = tf.mul(t, powers[top]);
  for (let k = top - 1; k > 0; k--) y = tf.mul(tf.add(y, powers[k]), t);
  return tf.add(y, powers[0]);
}
