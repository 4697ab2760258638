import { BlindbeatError } from '../../errors.ts';
import type { Block, Model } from '../../model/model.ts';
import { type PolynomialProgram, polynomialProgram } from './polynomial.ts';

/**
 * A convolution with everything linear folded into it, so that a bare square or steps on [-1, 1] follow. All
 * in float64.
 */
export interface FoldedConvolution {
  name: string;
  inChannels: number;
  outChannels: number;
  kernel: number;
  dilation: number;
  /** See `Block`; the input of a helical convolution is pooled at every time. */
  helix: number;
  /** Average pooling of this convolution's input: window and stride. */
  pool: number;
  /** `[kernel][inChannels][outChannels]` */
  weights: Float64Array;
  /** `[outChannels]` */
  bias: Float64Array;
  /** Largest |value| entering the activation over the model's validated range. */
  bound: number;
  /** What follows: steps, or null for a bare square. */
  polynomial: PolynomialProgram | null;
}

/** The model as convolutions, activations and a dense layer over the mean of the last activations. */
export interface FoldedModel {
  convolutions: FoldedConvolution[];
  /** `[channels][classes]` for the mean over time. */
  denseWeights: Float64Array;
  denseBias: Float64Array;
}

/**
 * Folds activations and pooling into the neighbouring linear layers.
 *
 * Degree 2: c2 x^2 + c1 x + c0 = c2 (x + h)^2 + k with h = c1 / 2 c2 and k = c0 - c2 h^2. h joins this layer's
 * bias; c2 and k go into the next layer, which is exact because the padding is circular.
 * Higher degrees: the map of the activation's range to [-1, 1] goes into this layer, the factor that its steps
 * leave out into the next.
 *
 * @throws BlindbeatError PLAN for an activation that is no such polynomial, or max-pooling.
 */
export function foldModel(model: Model): FoldedModel {
  let previous = { scale: [1], constant: [0], pool: 1 };
  const convolutions = model.blocks.map((block, index) => {
    const name = `block ${index + 1}`;
    const { kernel, inChannels, outChannels } = block;
    const { before, after, polynomial } = foldActivation(block, name);
    const weights = new Float64Array(block.weights.length);
    const bias = Float64Array.from(block.bias, (b, o) => before.scale * b + before.shift[o]);
    for (let tap = 0, at = 0; tap < kernel; tap++) {
      for (let i = 0; i < inChannels; i++) {
        for (let o = 0; o < outChannels; o++, at++) {
          const weight = before.scale * block.weights[at];
          weights[at] = weight * previous.scale[i];
          bias[o] += weight * previous.constant[i];
        }
      }
    }
    const [low, high] = block.activation.range;
    const bound = Math.max(
      ...before.shift.flatMap((h) => [low, high].map((x) => Math.abs(before.scale * x + h))),
    );
    const folded = {
      name,
      inChannels,
      outChannels,
      kernel,
      dilation: block.dilation,
      helix: block.helix,
      pool: previous.pool,
      weights,
      bias,
      bound,
      polynomial,
    };
    previous = { ...after, pool: block.pool };
    return folded;
  });
  const classes = model.classes.length;
  const denseBias = Float64Array.from(model.dense.bias);
  const denseWeights = Float64Array.from(model.dense.weights, (w, at) => {
    const channel = Math.floor(at / classes);
    denseBias[at % classes] += w * previous.constant[channel];
    return w * previous.scale[channel];
  });
  return { convolutions, denseWeights, denseBias };
}

/** Of t in [-1, 1], to complete the square of a series of degree 2. */
const LARGEST_SHIFT = 8;

/** What is linear about an activation, before it and after it by channel, and what is left. */
interface FoldedActivation {
  before: { scale: number; shift: number[] };
  after: { scale: number[]; constant: number[] };
  polynomial: PolynomialProgram | null;
}

function foldActivation(
  { activation, pooling, outChannels: channels }: Block,
  name: string,
): FoldedActivation {
  if (activation.kind === 'relu' || pooling === 'max') {
    throw new BlindbeatError(
      'PLAN',
      `${name} has ${activation.kind === 'relu' ? 'ReLU' : 'max-pooling'}, which cannot be evaluated on ciphertexts: choose a model of polynomials and average pooling, such as deepcardio-deg2`,
    );
  }
  if (activation.kind === 'polynomial') return completeSquares(activation, channels, name);
  const { coefficients, range } = activation;
  const [low, high] = range;
  const scale = 2 / (high - low);
  const shift = -(low + high) / (high - low);
  const each = (value: number) => new Array<number>(channels).fill(value);
  const [c0, c1, c2] = coefficients;
  // c2 T_2 + c1 T_1 + c0 as a square, unless its input would be far larger than t.
  if (coefficients.length === 3 && Math.abs(c1) <= LARGEST_SHIFT * Math.abs(4 * c2)) {
    const powers = [c0 - c2, c1, 2 * c2].flatMap(each);
    const { before, after } = completeSquares({ degree: 2, coefficients: powers }, channels, name);
    return { before: { scale, shift: before.shift.map((h) => h + shift) }, after, polynomial: null };
  }
  const polynomial = polynomialProgram(coefficients, name);
  return {
    before: { scale, shift: each(shift) },
    after: { scale: each(polynomial.factor), constant: each(0) },
    polynomial,
  };
}

function completeSquares(
  { degree, coefficients }: { degree: number; coefficients: ArrayLike<number> },
  channels: number,
  name: string,
): FoldedActivation {
  if (degree !== 2) {
    throw new BlindbeatError(
      'PLAN',
      `${name}: its activation has degree ${degree} in powers of x, of which only degree 2 can be planned: use a Chebyshev series (kind "chebyshev")`,
    );
  }
  const scale: number[] = [];
  const shift: number[] = [];
  const constant: number[] = [];
  for (let c = 0; c < channels; c++) {
    const [c0, c1, c2] = [0, 1, 2].map((k) => coefficients[k * channels + c]);
    if (Math.abs(c2) < 1e-3 * Math.abs(c1) || c2 === 0) {
      throw new BlindbeatError(
        'PLAN',
        `${name}: channel ${c} has a quadratic coefficient of ${c2.toPrecision(3)} beside a linear one of ${c1.toPrecision(3)}; ` +
          'completing the square would cancel badly: retrain with a lower bound on it',
      );
    }
    const h = c1 / (2 * c2);
    scale.push(c2);
    shift.push(h);
    constant.push(c0 - c2 * h * h);
  }
  return { before: { scale: 1, shift }, after: { scale, constant }, polynomial: null };
}
