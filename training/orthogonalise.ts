import * as tf from '@tensorflow/tfjs-core';

/**
 * Steps x -> a x + b (x x') x + c (x x')^2 x: five bring singular values of 0.01 to 1 to about 0.7 to 1.2.
 */
const STEPS = 5;
const [A, B, C] = [3.4445, -4.775, 2.0315];

/**
 * About the orthogonal matrix that is nearest to a matrix [rows * columns]: the same singular vectors, and
 * singular values of about 0.7 to 1.2, except where they are below 0.01 of the matrix's norm.
 *
 * By the quintic Newton-Schulz iteration of Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon).
 */
export function orthogonalise(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const result = tf.tidy(() => {
    const tall = rows > columns;
    const turned = (x: tf.Tensor2D): tf.Tensor2D => (tall ? tf.transpose(x) : x);
    const given = turned(tf.tensor2d(matrix, [rows, columns])); // [short, long]
    let x = tf.div(given, tf.add(tf.norm(given), 1e-20)) as tf.Tensor2D; // [short, long]
    for (let step = 0; step < STEPS; step++) {
      const gram = tf.matMul(x, x, false, true); // [short, short]
      const rest = tf.add(tf.mul(gram, B), tf.mul(tf.matMul(gram, gram), C)) as tf.Tensor2D;
      x = tf.add(tf.mul(x, A), tf.matMul(rest, x));
    }
    return turned(x);
  });
  const values = result.dataSync() as Float32Array;
  result.dispose();
  return values;
}
