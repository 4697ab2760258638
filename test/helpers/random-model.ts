import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import type { Block, ChebyshevPolynomial, Model } from '../../src/model/model.ts';

export interface RandomModelOptions {
  samples?: number;
  /** Output channels of each block; the first block has one input channel. */
  channels?: number[];
  kernel?: number;
  /** One for all blocks, or one per block. */
  dilation?: number | number[];
  /** Of all blocks but the first, which has none: one for all, or one per block. */
  helix?: number | number[];
  pool?: number | number[];
  classes?: number;
  degree?: number;
  /**
   * Degree of a Chebyshev series instead of polynomials per channel: one for all blocks, or one per block.
   */
  series?: number | number[];
  /** ReLU and max-pooling instead of polynomials and average pooling. */
  relu?: boolean;
  seed?: number;
}

/** The architecture of models/deepcardio-deg2; a plan depends on weights only through those that are zero. */
export const SHIPPED = {
  samples: 4096,
  channels: [8, 16, 32, 64, 128, 256],
  dilation: [1, 1, 1, 1, 4, 8],
  helix: [0, 2, 4, 8, 16, 32],
};

/**
 * A small seeded network with random weights, scaled by their sums so that for every input within +-3 the
 * pre-activations stay within +-4 and the scores within +-10.
 */
export function randomModel(options: RandomModelOptions = {}): Model {
  const {
    samples = 64,
    channels = [4, 8],
    kernel = 5,
    classes = 4,
    degree = 2,
    relu = false,
    seed = 1,
  } = options;
  const random = mulberry32(seed);
  const symmetric = () => 2 * random() - 1;
  const seconds = (samples * DEFAULT_PREPROCESSING.seconds) / DEFAULT_PREPROCESSING.samples; // the usual rate
  let inputs = 1;
  let bound = 3; // of |x| into the block: weights are scaled so that no input within it escapes
  const blocks = channels.map((outputs, i): Block => {
    const weights = Float32Array.from({ length: kernel * inputs * outputs }, symmetric);
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let j = o; j < weights.length; j += outputs) sum += Math.abs(weights[j]);
      for (let j = o; j < weights.length; j += outputs) weights[j] *= 3.5 / (sum * bound);
    }
    const coefficients = Float32Array.from({ length: (degree + 1) * outputs }, (_, j) => {
      const power = Math.floor(j / outputs);
      // The square's coefficient stays away from 0, as in trained networks: a >= 0.05.
      return power === 2 ? 0.1 + 0.1 * random() : (0.5 * symmetric()) / 4 ** Math.max(0, power - 1);
    });
    const series = options.series === undefined ? null : randomSeries(pick(options.series, i), symmetric);
    bound = series?.coefficients.reduce((sum, c) => sum + Math.abs(c), 0) ?? 0;
    for (let o = 0; o < outputs && !series; o++) {
      let most = 0;
      for (let k = 0; k <= degree; k++) most += Math.abs(coefficients[k * outputs + o]) * 4 ** k;
      bound = Math.max(bound, most);
    }
    const block: Block = {
      inChannels: inputs,
      outChannels: outputs,
      kernel,
      dilation: pick(options.dilation ?? 1, i),
      helix: i === 0 ? 0 : pick(options.helix ?? 0, i),
      weights,
      bias: Float32Array.from({ length: outputs }, () => 0.5 * symmetric()),
      activation:
        series ??
        (relu
          ? { kind: 'relu', range: [-4, 4] }
          : { kind: 'polynomial', degree, coefficients, range: [-4, 4] }),
      pool: pick(options.pool ?? 2, i),
      pooling: relu ? 'max' : 'average',
    };
    inputs = outputs;
    return block;
  });
  const dense = {
    weights: Float32Array.from({ length: inputs * classes }, () => (9 * symmetric()) / (inputs * bound)),
    bias: Float32Array.from({ length: classes }, symmetric),
  };
  return {
    name: `random-${seed}`,
    classes: ['N', 'A', 'O', '~', ...Array.from({ length: classes }, (_, i) => `class${i}`)].slice(
      0,
      classes,
    ),
    preprocessing: { ...DEFAULT_PREPROCESSING, samples, seconds, minimumSeconds: Math.min(5, seconds) },
    samples,
    blocks,
    dense,
    scoreLimit: 32,
    provenance: {
      data: 'none',
      seed,
      command: 'randomModel',
      createdAt: '2026-01-01T00:00:00.000Z',
      metrics: {},
    },
  };
}

/**
 * A lopsided range and no small coefficient, so that neither the map to [-1, 1] nor a term can get lost
 * unnoticed.
 */
function randomSeries(degree: number, symmetric: () => number): ChebyshevPolynomial {
  const coefficients = Array.from({ length: degree + 1 }, () => {
    const c = symmetric();
    return c + Math.sign(c) / 2;
  });
  return { kind: 'chebyshev', coefficients, range: [-4, 4.5] };
}

function pick(value: number | number[], i: number): number {
  return typeof value === 'number' ? value : value[i];
}

/** Tommy Ettinger's 32-bit generator: enough for tests. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The coefficients of a block's polynomial, to be changed in place. */
export function coefficientsOf({ activation }: Block): Float32Array {
  if (activation.kind !== 'polynomial') throw new Error(`${activation.kind} has no coefficients`);
  return activation.coefficients;
}
