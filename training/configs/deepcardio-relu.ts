import type { TrainingConfig } from '../config.ts';
import polynomial from './deepcardio-deg2-plain.ts';

/** Six blocks with ReLU and max-pooling: the polynomial network's baseline, and one of its teachers. */
const config: TrainingConfig = {
  ...polynomial,
  architecture: {
    ...polynomial.architecture,
    dilations: [1, 1, 1, 1, 2, 4],
    activation: 'relu',
    pooling: 'max',
  },
  phases: {
    normalised: { epochs: 26, peak: 4e-3, last: 2e-5, warmUp: 200 },
    exact: { epochs: 0, peak: 1e-3, last: 1e-3, warmUp: 1 },
  },
  distillation: undefined,
};

export default config;
