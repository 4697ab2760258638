import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import type { Block, Model, Provenance } from '../src/model/model.ts';
import type { Architecture } from './config.ts';
import { helixOf, type Network, parameter, SQUARE } from './network.ts';
import type { Parameter } from './optimizer.ts';

/** What a model file says beyond the network. */
export interface ModelDetails {
  name: string;
  preprocessing: Preprocessing;
  scoreLimit: number;
  provenance: Provenance;
  /**
   * Smallest and largest validated pre-activation of each block; a Chebyshev series has a range of its own.
   */
  ranges: [number, number][];
}

/**
 * An exact network as a model; a (x + h)^2 becomes a h^2 + 2 a h x + a x^2 per channel.
 *
 * @throws BlindbeatError INTERNAL if the network is in the normalised phase
 */
export function toModel(network: Network, details: ModelDetails): Model {
  const { architecture } = network;
  if (network.phase !== 'exact') {
    throw new BlindbeatError(
      'INTERNAL',
      `Only an exact network becomes a model, not a ${network.phase} one.`,
    );
  }
  const { ranges, ...rest } = details;
  const of = (name: string) => parameter(network, name).values;
  const activationOf = (i: number): Block['activation'] => {
    const { activation } = architecture;
    if (activation === 'relu') return { kind: 'relu', range: ranges[i] };
    if (activation !== 'square') {
      const { coefficients, range } = activation[i];
      return { kind: 'chebyshev', coefficients: [...coefficients], range: [...range] };
    }
    const coefficients = squareCoefficients(of(`block${i + 1}/a`), of(`block${i + 1}/h`));
    return { kind: 'polynomial', degree: 2, coefficients, range: ranges[i] };
  };
  let inChannels = 1;
  const blocks = architecture.channels.map((outChannels, i): Block => {
    const block: Block = {
      inChannels,
      outChannels,
      kernel: architecture.kernel,
      dilation: architecture.dilations[i],
      helix: helixOf(architecture, i),
      weights: of(`block${i + 1}/conv`).slice(),
      bias: of(`block${i + 1}/bias`).slice(),
      activation: activationOf(i),
      pool: architecture.pool,
      pooling: architecture.pooling,
    };
    inChannels = outChannels;
    return block;
  });
  return {
    ...rest,
    classes: architecture.classes,
    samples: architecture.samples,
    blocks,
    dense: { weights: of('dense/weights').slice(), bias: of('dense/bias').slice() },
  };
}

/** [3 * channels]: those of 1, of x and of x^2. */
function squareCoefficients(a: Float32Array, h: Float32Array): Float32Array {
  const n = a.length;
  const coefficients = new Float32Array(3 * n);
  for (let c = 0; c < n; c++) {
    coefficients[c] = a[c] * h[c] ** 2;
    coefficients[n + c] = 2 * a[c] * h[c];
    coefficients[2 * n + c] = a[c];
  }
  return coefficients;
}

/**
 * The exact network of a model, to go on training from or to learn from.
 *
 * @throws BlindbeatError MODEL if it is not of the form that training makes
 */
export function fromModel(model: Model): Network {
  const [first] = model.blocks;
  const relu = model.blocks.every((b) => b.activation.kind === 'relu');
  const series = model.blocks.flatMap(({ activation: a, pooling }) =>
    a.kind === 'chebyshev' && pooling === 'average' ? [{ range: a.range, coefficients: a.coefficients }] : [],
  );
  const square = model.blocks.every(
    ({ activation: a, pooling }) => a.kind === 'polynomial' && a.degree === 2 && pooling === 'average',
  );
  const even = model.blocks.every(
    (b) => b.kernel === first.kernel && b.pool === first.pool && b.pooling === first.pooling,
  );
  const chebyshev = series.length === model.blocks.length;
  if (!even || !(relu || square || chebyshev)) {
    throw new BlindbeatError(
      'MODEL',
      `Model ${model.name} cannot be trained on: expected polynomials of degree 2 or Chebyshev series and ` +
        'average pooling, or ReLU, and one kernel length and pool for all blocks.',
    );
  }
  const helix = model.blocks.map((b) => b.helix);
  const architecture: Architecture = {
    samples: model.samples,
    classes: model.classes,
    channels: model.blocks.map((b) => b.outChannels),
    kernel: first.kernel,
    dilations: model.blocks.map((b) => b.dilation),
    pool: first.pool,
    activation: relu ? 'relu' : chebyshev ? series : 'square',
    pooling: first.pooling,
    ...(helix.some((s) => s > 0) && { helix }),
  };
  const parameters = model.blocks.flatMap((b, i): Parameter[] => {
    const name = (part: string) => `block${i + 1}/${part}`;
    const n = b.outChannels;
    const convolution: Parameter[] = [
      { name: name('conv'), shape: [b.kernel, b.inChannels, n], values: b.weights.slice(), decay: true },
      { name: name('bias'), shape: [n], values: b.bias.slice(), decay: false },
    ];
    if (b.activation.kind !== 'polynomial') return convolution;
    const { coefficients } = b.activation;
    const a = coefficients.slice(2 * n, 3 * n);
    const h = a.map((value, c) => coefficients[n + c] / (2 * value));
    if (a.some((value, c) => !(Math.abs(coefficients[c] - value * h[c] ** 2) <= 1e-4))) {
      throw new BlindbeatError(
        'MODEL',
        `Model ${model.name} cannot be trained on: the polynomials of block ${i + 1} are not of the form ` +
          'a (x + h)^2.',
      );
    }
    return [
      ...convolution,
      { name: name('a'), shape: [n], values: a, decay: false, bounds: SQUARE.aBounds },
      { name: name('h'), shape: [n], values: h, decay: false, bounds: SQUARE.hBounds },
    ];
  });
  const classes = model.classes.length;
  const { weights, bias } = model.dense;
  parameters.push(
    {
      name: 'dense/weights',
      shape: [weights.length / classes, classes],
      values: weights.slice(),
      decay: true,
    },
    { name: 'dense/bias', shape: [classes], values: bias.slice(), decay: false },
  );
  return { architecture, phase: 'exact', parameters };
}
