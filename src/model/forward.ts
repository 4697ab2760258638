import { evaluateSeries } from '../approx/chebyshev.ts';
import { BlindbeatError } from '../errors.ts';
import { firstPlace } from './helix.ts';
import type { Block, Dense, Model } from './model.ts';

/** What the network makes of a segment. */
export interface ForwardResult {
  /** [classes] */
  scores: Float64Array;
  /**
   * [positions][classes] row-major: x_t . weights + bias of each time position; their mean over time is
   * `scores`.
   */
  contributions: Float64Array;
  /** Time positions after the last block. */
  positions: number;
  /** Smallest and largest pre-activation of each block. */
  ranges: [number, number][];
}

/** Who watches the forward pass. */
export interface ForwardOptions {
  /** Sees each block's output [time][channels] row-major; it must not change it. */
  onBlock?: (index: number, output: Float64Array) => void;
}

/**
 * The network in the clear, accumulated in float64: the reference that encrypted results are compared with.
 * segment [model.samples], as `prepareSegment` gives it.
 *
 * @throws BlindbeatError MODEL if the segment has another length
 */
export function forward(model: Model, segment: Float32Array, options: ForwardOptions = {}): ForwardResult {
  if (segment.length !== model.samples) {
    throw new BlindbeatError(
      'MODEL',
      `Model ${model.name} takes segments of ${model.samples} samples, got ${segment.length}. Prepare the ECG with this model's preprocessing.`,
    );
  }
  let x = Float64Array.from(segment);
  const ranges: [number, number][] = [];
  model.blocks.forEach((block, index) => {
    const before = model.blocks[index - 1];
    const y = block.helix > 0 ? convolveHelix(x, block, before.pool) : convolve(x, block);
    ranges.push(rangeOf(y));
    activate(y, block);
    const stride = model.blocks[index + 1]?.helix > 0 ? 1 : block.pool;
    x = block.pooling === 'max' ? maxPool(y, block) : averagePool(y, block, stride);
    options.onBlock?.(index, x);
  });
  const contributions = applyDense(x, model.dense);
  const classes = model.dense.bias.length;
  const positions = contributions.length / classes;
  const scores = new Float64Array(classes);
  for (let i = 0; i < contributions.length; i++) scores[i % classes] += contributions[i] / positions;
  return { scores, contributions, positions, ranges };
}

/** Pre-activations [time][out]: conv(x) + bias with circular padding; x [time][in]. */
function convolve(x: Float64Array, block: Block): Float64Array<ArrayBuffer> {
  const { inChannels: inputs, outChannels: outputs, kernel, dilation } = block;
  const time = x.length / inputs;
  const rows = kernel * inputs;
  const weights = Float64Array.from(block.weights); // [kernel * in][out]
  const column = new Float64Array(rows);
  const y = new Float64Array(time * outputs);
  const half = (kernel - 1) / 2;
  const whole = rows - (rows % 4);
  for (let t = 0; t < time; t++) {
    for (let k = 0; k < kernel; k++) {
      const from = modulo(t + dilation * (k - half), time) * inputs;
      for (let i = 0; i < inputs; i++) column[k * inputs + i] = x[from + i];
    }
    const index = t * outputs;
    for (let o = 0; o < outputs; o++) y[index + o] = block.bias[o];
    // Four rows at a time: y is read and written a quarter as often, 1.9 times faster than one by one.
    for (let r = 0; r < whole; r += 4) {
      const a = column[r];
      const b = column[r + 1];
      const c = column[r + 2];
      const d = column[r + 3];
      const w0 = r * outputs;
      const w1 = w0 + outputs;
      const w2 = w1 + outputs;
      const w3 = w2 + outputs;
      for (let o = 0; o < outputs; o++) {
        y[index + o] += a * weights[w0 + o] + b * weights[w1 + o] + c * weights[w2 + o] + d * weights[w3 + o];
      }
    }
    for (let r = whole; r < rows; r++) {
      for (let o = 0; o < outputs; o++) y[index + o] += column[r] * weights[r * outputs + o];
    }
  }
  return y;
}

/**
 * Pre-activations [time / pool][out] of a helical convolution (helix.ts); x [time][in] is pooled at every
 * time. For every output a tap is a window of `helix` places on each line of neighbouring channels.
 */
function convolveHelix(x: Float64Array, block: Block, pool: number): Float64Array<ArrayBuffer> {
  const { inChannels: inputs, outChannels: outputs, kernel, dilation, helix } = block;
  const time = x.length / inputs;
  const places = time * helix;
  const lines = Array.from({ length: Math.ceil(inputs / helix) }, (_, line) =>
    // One window more than there are places, so that none wraps around.
    Float64Array.from({ length: places + helix }, (_, index) => {
      const place = index % places;
      const channel = line * helix + (place % helix);
      return channel < inputs ? x[Math.floor(place / helix) * inputs + channel] : 0;
    }),
  );
  const y = new Float64Array((time / pool) * outputs);
  const half = (kernel - 1) / 2;
  const rows = kernel * lines.length * helix;
  const column = new Float64Array(rows);
  const weights = new Float64Array(4 * rows);
  const turn = pool * helix; // outputs so far apart read the same windows
  for (let place = 0; place < turn; place++) {
    const first = firstPlace(place, helix, pool);
    for (let o = place; o < outputs; o += 4 * turn) {
      weights.fill(0);
      const group = Math.min(4, Math.ceil((outputs - o) / turn));
      for (let k = 0, row = 0; k < kernel; k++)
        for (let line = 0; line < lines.length; line++)
          for (let a = 0; a < helix; a++, row++) {
            const channel = line * helix + modulo(first + a, helix);
            if (channel >= inputs) continue;
            const from = (k * inputs + channel) * outputs + o;
            for (let n = 0; n < group; n++) weights[4 * row + n] = block.weights[from + n * turn];
          }
      for (let t = 0; t * pool < time; t++) {
        for (let k = 0, row = 0; k < kernel; k++) {
          const from = modulo(pool * (t + dilation * (k - half)) * helix + first, places);
          for (const line of lines) for (let a = 0; a < helix; a++, row++) column[row] = line[from + a];
        }
        let [s0, s1, s2, s3] = [0, 0, 0, 0];
        for (let row = 0, w = 0; row < rows; row++, w += 4) {
          const x = column[row];
          s0 += x * weights[w];
          s1 += x * weights[w + 1];
          s2 += x * weights[w + 2];
          s3 += x * weights[w + 3];
        }
        const sums = [s0, s1, s2, s3];
        for (let n = 0; n < group; n++) y[t * outputs + o + n * turn] = block.bias[o + n * turn] + sums[n];
      }
    }
  }
  return y;
}

function modulo(a: number, n: number): number {
  return ((a % n) + n) % n;
}

function rangeOf(x: Float64Array): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
  }
  return [low, high];
}

/** The activation in place, powers by Horner's rule and a series by Clenshaw's; y [time][channels]. */
function activate(y: Float64Array, { activation, outChannels: channels }: Block): void {
  if (activation.kind === 'relu') {
    for (let i = 0; i < y.length; i++) y[i] = Math.max(y[i], 0);
    return;
  }
  if (activation.kind === 'chebyshev') {
    for (let i = 0; i < y.length; i++) y[i] = evaluateSeries(activation, y[i]);
    return;
  }
  const { degree, coefficients } = activation;
  for (let index = 0; index < y.length; index += channels) {
    for (let c = 0; c < channels; c++) {
      const x = y[index + c];
      let value = coefficients[degree * channels + c];
      for (let k = degree - 1; k >= 0; k--) value = value * x + coefficients[k * channels + c];
      y[index + c] = value;
    }
  }
}

/**
 * Means of `pool` times from every `stride`-th on, circular: [time][channels] -> [time / stride][channels]
 */
function averagePool(
  x: Float64Array<ArrayBuffer>,
  { outChannels: channels, pool }: Block,
  stride: number,
): Float64Array<ArrayBuffer> {
  if (pool === 1) return x;
  const y = new Float64Array(x.length / stride);
  for (let i = 0; i < y.length; i++) {
    const c = i % channels;
    const from = (i - c) * stride + c;
    let sum = 0;
    for (let k = 0; k < pool; k++) sum += x[(from + k * channels) % x.length];
    y[i] = sum / pool;
  }
  return y;
}

/** [time][channels] -> [time / pool][channels] */
function maxPool(
  x: Float64Array<ArrayBuffer>,
  { outChannels: channels, pool }: Block,
): Float64Array<ArrayBuffer> {
  const y = new Float64Array(x.length / pool).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < x.length; i++) {
    const index = Math.floor(i / (channels * pool)) * channels + (i % channels);
    y[index] = Math.max(y[index], x[i]);
  }
  return y;
}

/** [time][channels] -> [time][classes] */
function applyDense(x: Float64Array, { weights, bias }: Dense): Float64Array {
  const classes = bias.length;
  const channels = weights.length / classes;
  const y = new Float64Array((x.length / channels) * classes);
  for (let t = 0; t * channels < x.length; t++) {
    for (let j = 0; j < classes; j++) {
      let sum = bias[j];
      for (let c = 0; c < channels; c++) sum += x[t * channels + c] * weights[c * classes + j];
      y[t * classes + j] = sum;
    }
  }
  return y;
}
