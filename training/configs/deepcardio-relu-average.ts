import type { TrainingConfig } from '../config.ts';
import polynomial from './deepcardio-deg2.ts';
import relu from './deepcardio-relu.ts';

/** The polynomial network with ReLU in place of its polynomials: what `evaluate-degrees` approximates. */
const config: TrainingConfig = {
  ...relu,
  architecture: { ...polynomial.architecture, activation: 'relu', helix: undefined },
};

export default config;
