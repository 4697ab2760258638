import { BlindbeatError } from '../errors.ts';
import { type Block, degreeOf, type Model } from '../model/model.ts';

/** A convolution with everything linear folded into it, so that a bare square follows. All in float64. */
export interface FoldedConvolution {
  name: string;
  inChannels: number;
  outChannels: number;
  kernel: number;
  dilation: number;
  /** Average pooling of this convolution's input, folded into it: window and stride. */
  pool: number;
  /** `[kernel][inChannels][outChannels]` */
  weights: Float64Array;
  /** `[outChannels]` */
  bias: Float64Array;
  /** Largest |value| entering the square over the model's validated range. */
  bound: number;
}

/** The model as convolutions, bare squares and a dense layer over the mean of the last squares. */
export interface FoldedModel {
  convolutions: FoldedConvolution[];
  /** `[channels][classes]` for the mean over time. */
  denseWeights: Float64Array;
  denseBias: Float64Array;
}

/**
 * Folds polynomials and pooling into the neighbouring linear layers: c2 x^2 + c1 x + c0 = c2 (x + h)^2 + k with
 * h = c1 / 2 c2 and k = c0 - c2 h^2. h joins this layer's bias; c2 and k go into the next layer, which is exact
 * because the padding is circular.
 *
 * @throws BlindbeatError PLAN for an activation that is no polynomial of degree 2, or max-pooling.
 */
export function foldModel(model: Model): FoldedModel {
  let previous = { scale: [1], constant: [0], pool: 1 };
  const convolutions = model.blocks.map((block, index) => {
    const name = `block ${index + 1}`;
    const { kernel, inChannels, outChannels } = block;
    const square = completeSquare(block, name);
    const weights = new Float64Array(block.weights.length);
    const bias = Float64Array.from(block.bias, (b, o) => b + square.shift[o]);
    for (let tap = 0, at = 0; tap < kernel; tap++) {
      for (let i = 0; i < inChannels; i++) {
        for (let o = 0; o < outChannels; o++, at++) {
          weights[at] = block.weights[at] * previous.scale[i];
          bias[o] += block.weights[at] * previous.constant[i];
        }
      }
    }
    const [low, high] = block.activation.range;
    const bound = Math.max(...square.shift.map((h) => Math.max(Math.abs(low + h), Math.abs(high + h))));
    const folded = {
      name,
      inChannels,
      outChannels,
      kernel,
      dilation: block.dilation,
      pool: previous.pool,
      weights,
      bias,
      bound,
    };
    previous = { scale: square.scale, constant: square.constant, pool: block.pool };
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

function completeSquare(block: Block, name: string) {
  const { activation } = block;
  if (activation.kind === 'relu' || block.pooling === 'max') {
    throw new BlindbeatError(
      'PLAN',
      `${name} has ${activation.kind === 'relu' ? 'ReLU' : 'max-pooling'}, which cannot be evaluated on ciphertexts: choose a model of polynomials and average pooling, such as deepcardio-deg2`,
    );
  }
  const degree = degreeOf(activation);
  const { coefficients } = activation;
  if (activation.kind !== 'polynomial' || degree !== 2) {
    throw new BlindbeatError(
      'PLAN',
      `${name}: its activation has degree ${degree}, but only degree 2 can be planned: retrain with degree 2`,
    );
  }
  const channels = block.outChannels;
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
  return { scale, shift, constant };
}
