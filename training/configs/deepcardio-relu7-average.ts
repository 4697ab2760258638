import type { TrainingConfig } from '../config.ts';
import polynomial from './deepcardio-deg2.ts';
import relu7 from './deepcardio-relu7.ts';

/** ReLU and average pooling in seven blocks, with the inputs and the teachers of the polynomial network. */
const config: TrainingConfig = {
  ...relu7,
  architecture: {
    ...relu7.architecture,
    dilations: [...polynomial.architecture.dilations, 4],
    pooling: 'average',
  },
  preprocessing: polynomial.preprocessing,
  phases: {
    ...relu7.phases,
    normalised: { ...relu7.phases.normalised, epochs: 20, muon: true },
  },
  augmentation: polynomial.augmentation,
  distillation: polynomial.distillation,
};

export default config;
