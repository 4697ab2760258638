import * as tf from '@tensorflow/tfjs-core';

/** Five steps x -> a x + b (x x') x + c (x x')^2 x, which bring singular values from 0.01 .. 1 to about 0.7 .. 1.2. */
const STEPS = 5;
const [A, B, C] = [3.4445, -4.775, 2.0315];

/**
 * The orthogonal matrix nearest to a matrix [rows][columns], about: its singular vectors, all singular values between 0.7 and
 * 1.2, but the smallest. By the quintic Newton-Schulz iteration of Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon).
 */
export function orthogonalise(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = tf.tidy(() => {
    const tall = rows > columns;
    const turned = (x: tf.Tensor2D): tf.Tensor2D => (tall ? tf.transpose(x) : x);
    const given = turned(tf.tensor2d(matrix, [rows, columns]));
    let x = tf.div(given, tf.add(tf.norm(given), 1e-20)) as tf.Tensor2D;
    for (let step = 0; step < STEPS; step++) {
      const gram = tf.matMul(x, x, false, true);
      const rest = tf.add(tf.mul(gram, B), tf.mul(tf.matMul(gram, gram), C)) as tf.Tensor2D;
      x = tf.add(tf.mul(x, A), tf.matMul(rest, x));
    }
    return turned(x);
  });
  const values = result.dataSync() as Float32Array;
  result.dispose();
  return values;
}
