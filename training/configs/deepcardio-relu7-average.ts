import type { TrainingConfig } from '../config.ts';
import polynomial from './deepcardio-deg2.ts';
import average from './deepcardio-relu-average.ts';

/** ReLU and average pooling in seven blocks, on the polynomial network's inputs, taught by the polynomial network's teachers. */
const config: TrainingConfig = {
  ...average,
  architecture: {
    ...average.architecture,
    channels: [...average.architecture.channels, 256],
    dilations: [...average.architecture.dilations, 4],
  },
  preprocessing: polynomial.preprocessing,
  phases: {
    ...average.phases,
    normalised: { ...average.phases.normalised, epochs: 20, muon: true },
  },
  augmentation: polynomial.augmentation,
  distillation: polynomial.distillation,
};

export default config;
