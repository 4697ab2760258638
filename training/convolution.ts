import * as tf from '@tensorflow/tfjs-core';

/**
 * Circular 1-D convolution, y[b,t,o] = sum over k, i of x[b, t + d(k - (K-1)/2) mod T, i] w[k,i,o].
 *
 * Its gradient is made of convolutions and matrix products only: the wasm backend has no
 * `Conv2DBackpropFilter`, and TensorFlow.js no gradient of a dilated convolution.
 *
 * @param x [batch, time, in]; the result is [batch, time, out]
 * @param w [kernel, in, out], an odd kernel
 * @param dilation d divides time
 */
export function circularConv(x: tf.Tensor3D, w: tf.Tensor3D, dilation: number): tf.Tensor3D {
  const op = tf.customGrad((...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [input, filter, save] = args as [tf.Tensor3D, tf.Tensor3D, tf.GradSaveFunc];
    save([input, filter]);
    const gradFunc = (dy: tf.Tensor3D, saved: tf.Tensor[]): tf.Tensor[] => {
      const [xs, ws] = saved as [tf.Tensor3D, tf.Tensor3D];
      // Both gradients in one go; the first layer's input needs none, but its price is one cheap convolution.
      return [circular(dy, flip(ws), dilation), filterGradient(xs, dy, ws.shape[0], dilation)];
    };
    return { value: circular(input, filter, dilation), gradFunc: gradFunc as never };
  });
  return op(x, w) as tf.Tensor3D;
}

/** The forward pass of `circularConv`: a dilated convolution is a plain one on [time / d, d]. */
export function circular(x: tf.Tensor3D, w: tf.Tensor3D, dilation: number): tf.Tensor3D {
  const [batch, time] = x.shape;
  const [kernel, inputs, outputs] = w.shape;
  const filter = tf.reshape(w, [kernel, 1, inputs, outputs]) as tf.Tensor4D; // [kernel, 1, in, out]
  const y = tf.conv2d(padded(x, kernel, dilation), filter, 1, 'valid'); // [batch, time / d, d, out]
  return tf.reshape(y, [batch, time, outputs]);
}

/** [batch, time, c] -> [batch, time / d + kernel - 1, d, c], wrapped around in time. */
function padded(x: tf.Tensor3D, kernel: number, dilation: number): tf.Tensor4D {
  const [batch, time, channels] = x.shape;
  const rows = time / dilation;
  const folded = tf.reshape(x, [batch, rows, dilation, channels]) as tf.Tensor4D; // [batch, time / d, d, c]
  const half = (kernel - 1) / 2;
  if (half === 0) return folded;
  const head = tf.slice(folded, [0, 0, 0, 0], [batch, half, dilation, channels]);
  const tail = tf.slice(folded, [0, rows - half, 0, 0], [batch, half, dilation, channels]);
  return tf.concat([tail, folded, head], 1); // [batch, time / d + kernel - 1, d, c]
}

/** The filter of the input's gradient: [kernel, in, out] reversed in time, as [kernel, out, in]. */
export function flip(w: tf.Tensor3D): tf.Tensor3D {
  return tf.transpose(tf.reverse(w, 0), [0, 2, 1]);
}

/**
 * The gradient of w [kernel, in, out]: dw[k,i,o] = sum over b, t of x[b, t + d(k - (K-1)/2), i] dy[b,t,o].
 */
export function filterGradient(
  x: tf.Tensor3D,
  dy: tf.Tensor3D,
  kernel: number,
  dilation: number,
): tf.Tensor3D {
  const [batch, time, inputs] = x.shape;
  const outputs = dy.shape[2];
  const rows = time / dilation;
  const input = padded(x, kernel, dilation); // [batch, time / d + kernel - 1, d, in]
  if (tf.getBackend() === 'wasm') {
    // One convolution with batch and channels swapped: 15-30 GFLOP/s; wasm's transposed product is slow.
    const images = tf.transpose(input, [3, 1, 2, 0]); // [in, time / d + kernel - 1, d, batch]
    const turned = tf.reshape(dy, [batch, rows, dilation, outputs]); // [batch, time / d, d, out]
    const filter = tf.transpose(turned, [1, 2, 0, 3]); // [time / d, d, batch, out]
    const dw = tf.conv2d(images as tf.Tensor4D, filter as tf.Tensor4D, 1, 'valid'); // [in, kernel, 1, out]
    return tf.transpose(tf.reshape(dw, [inputs, kernel, outputs]), [1, 0, 2]);
  }
  const flat = tf.reshape(dy, [batch * time, outputs]) as tf.Tensor2D; // [batch * time, out]
  const taps = Array.from({ length: kernel }, (_, k) => {
    const seen = tf.slice(input, [0, k, 0, 0], [batch, rows, dilation, inputs]); // [batch, time / d, d, in]
    return tf.matMul(tf.reshape(seen, [batch * time, inputs]) as tf.Tensor2D, flat, true); // [in, out]
  });
  return tf.stack(taps) as tf.Tensor3D; // [kernel, in, out]
}
