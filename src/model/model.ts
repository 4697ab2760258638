import type { Preprocessing } from '../ecg/preprocess.ts';

/**
 * A network: blocks of circular convolution, activation and pooling, then the mean over time and a dense
 * layer. Everything a plan, a forward pass or an export needs, and nothing of CKKS. Only polynomials and
 * average pooling can be planned; ReLU and max-pooling are there for the plaintext baseline.
 */
export interface Model {
  name: string;
  /** Names of the scores, in order: N normal, A atrial fibrillation, O other rhythm, ~ noise. */
  classes: string[];
  preprocessing: Preprocessing;
  /** Samples of one segment: the length of the first block's input. */
  samples: number;
  blocks: Block[];
  dense: Dense;
  /** Beyond this |score| no class is named: the network left the range that it was validated on. */
  scoreLimit: number;
  provenance: Provenance;
}

/** `y = pool(activation(conv(x)))` on channels x time; all padding is circular. */
export interface Block {
  inChannels: number;
  outChannels: number;
  /** Odd number of taps, centred: output t reads inputs t + dilation * (tap - (kernel - 1) / 2). */
  kernel: number;
  dilation: number;
  /**
   * Neighbouring input channels of a helical convolution (helix.ts), which also pools the block before at
   * every time; 0: a plain one.
   */
  helix: number;
  /** `[kernel][inChannels][outChannels]`, row-major (the layout of tf.conv1d). */
  weights: Float32Array;
  /** `[outChannels]` */
  bias: Float32Array;
  activation: Polynomial | ChebyshevPolynomial | Relu;
  /** Window and stride of the pooling; 1 means none. Divides the block's input length. */
  pool: number;
  pooling: 'average' | 'max';
}

/** One polynomial per channel, applied to the pre-activations (the convolution with its bias). */
export interface Polynomial {
  kind: 'polynomial';
  degree: number;
  /** `[degree + 1][channels]`, ascending powers: p_c(x) = sum_k coefficients[k * channels + c] * x^k. */
  coefficients: Float32Array;
  /** The pre-activations for which the network was validated: [low, high]. */
  range: [number, number];
}

/**
 * One polynomial for all channels, as a Chebyshev series: powers of x in float32 would lose everything at
 * degree 16.
 */
export interface ChebyshevPolynomial {
  kind: 'chebyshev';
  /** c_0 ... c_d of p(x) = sum_k c_k T_k(t), t = (2x - low - high) / (high - low). */
  coefficients: number[];
  /** [low, high]: where t is within +-1, and the pre-activations for which the network was validated. */
  range: [number, number];
}

/** max(x, 0), and the pre-activations that were seen: [low, high]. */
interface Relu {
  kind: 'relu';
  range: [number, number];
}

/** `scores = mean over time (x) . weights + bias` */
export interface Dense {
  /** `[channels][classes]` row-major */
  weights: Float32Array;
  /** `[classes]` */
  bias: Float32Array;
}

/** Where the weights come from: enough to make them again. */
export interface Provenance {
  data: string;
  seed: number;
  command: string;
  createdAt: string;
  /**
   * Figures measured at export, such as cincScore on the test part; empty for a network that was not trained.
   */
  metrics: Record<string, number>;
}

/** The degree of an activation, none for ReLU. */
export function degreeOf(activation: Block['activation']): number | null {
  if (activation.kind === 'relu') return null;
  return activation.kind === 'polynomial' ? activation.degree : activation.coefficients.length - 1;
}
