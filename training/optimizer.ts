import { orthogonalise } from './orthogonalise.ts';

/** A trained array and how the optimiser treats it. */
export interface Parameter {
  name: string;
  shape: number[];
  values: Float32Array;
  /** Whether weight decay applies: to convolutions and the dense layer, not to scales and biases. */
  decay: boolean;
  /** After each step the values are held to [low, high]. */
  bounds?: [number, number];
}

/** The constants of AdamW. */
export interface AdamWSettings {
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Gradients of a larger global norm are scaled down to this one. */
  clipNorm: number;
}

/** How Muon steps: see `AdamW.update`. */
const MUON = { beta: 0.95, rms: 0.2 };

/** What all configs train with. */
export const ADAMW: AdamWSettings = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
  clipNorm: 5,
};

/**
 * AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2) in plain TypeScript: the same numbers on
 * every backend, and two arrays per parameter as state.
 *
 * 220,000 parameters take about a millisecond a step; Muon, which multiplies matrices by TensorFlow.js, 60
 * ms.
 */
export class AdamW {
  /** Updates so far. */
  step = 0;
  /** Mean of the gradients of each parameter; momentum, where it steps by Muon. */
  readonly first: Float32Array[];
  /** Mean of the squared gradients of each parameter. */
  readonly second: Float32Array[];
  readonly parameters: Parameter[];
  readonly settings: AdamWSettings;

  constructor(parameters: Parameter[], settings: AdamWSettings = ADAMW) {
    this.parameters = parameters;
    this.settings = settings;
    this.first = parameters.map((p) => new Float32Array(p.values.length));
    this.second = parameters.map((p) => new Float32Array(p.values.length));
  }

  /**
   * One update of the parameters; gives the gradients' global norm before clipping. Gradients that are not
   * finite change nothing, and NaN is given.
   *
   * With `muon`, convolutions of more than one input channel step by Muon (Jordan 2024,
   * https://kellerjordan.github.io/posts/muon): Nesterov's momentum, orthogonalised as a matrix [kernel * in,
   * out] and scaled to the rms of a step of Adam (Liu et al. 2025, arXiv 2502.16982, section 2.2), so that
   * one learning rate serves both.
   *
   * @param gradients one array for each parameter, in their order
   */
  update(gradients: Float32Array[], learningRate: number, muon = false): number {
    const { beta1, beta2, epsilon, weightDecay, clipNorm } = this.settings;
    let sum = 0;
    for (const g of gradients) for (let i = 0; i < g.length; i++) sum += g[i] * g[i];
    const norm = Math.sqrt(sum);
    if (!Number.isFinite(norm)) return Number.NaN;
    const factor = norm > clipNorm ? clipNorm / norm : 1;
    this.step++;
    const rate = (learningRate * Math.sqrt(1 - beta2 ** this.step)) / (1 - beta1 ** this.step);
    const floor = epsilon * Math.sqrt(1 - beta2 ** this.step);
    this.parameters.forEach((p, k) => {
      const m = this.first[k];
      const v = this.second[k];
      const g = gradients[k];
      const keep = p.decay ? 1 - learningRate * weightDecay : 1;
      if (muon && p.shape.length === 3 && p.shape[1] > 1) {
        stepOrthogonally(p, m, g, factor, learningRate, keep);
        return;
      }
      const [low, high] = p.bounds ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let i = 0; i < g.length; i++) {
        const d = g[i] * factor;
        m[i] = beta1 * m[i] + (1 - beta1) * d;
        v[i] = beta2 * v[i] + (1 - beta2) * d * d;
        const next = p.values[i] * keep - (rate * m[i]) / (Math.sqrt(v[i]) + floor);
        p.values[i] = Math.min(Math.max(next, low), high);
      }
    });
    return norm;
  }
}

/**
 * One step of Muon for a convolution: momentum `m` goes on by the gradient `g` times `factor`; values are
 * multiplied by `keep` and moved.
 */
function stepOrthogonally(
  p: Parameter,
  m: Float32Array,
  g: Float32Array,
  factor: number,
  learningRate: number,
  keep: number,
): void {
  const { beta, rms } = MUON;
  const ahead = g.map((x, i) => {
    m[i] = beta * m[i] + (1 - beta) * x * factor;
    return beta * m[i] + (1 - beta) * x * factor;
  });
  const columns = p.shape[2];
  const rows = g.length / columns;
  const direction = orthogonalise(ahead, rows, columns);
  const rate = learningRate * rms * Math.sqrt(Math.max(rows, columns));
  for (let i = 0; i < g.length; i++) p.values[i] = p.values[i] * keep - rate * direction[i];
}

/**
 * The rate of a step: a linear warm-up over `warmUp` steps, then half a cosine from `peak` to `last` at
 * `total`.
 */
export function learningRate(
  step: number,
  total: number,
  warmUp: number,
  peak: number,
  last: number,
): number {
  if (step < warmUp) return (peak * (step + 1)) / warmUp;
  const part = Math.min(1, (step - warmUp) / Math.max(1, total - warmUp));
  return last + (peak - last) * 0.5 * (1 + Math.cos(Math.PI * part));
}
