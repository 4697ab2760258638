import { AUGMENTATION } from '../augment.ts';
import type { TrainingConfig } from '../config.ts';
import helical from './deepcardio-deg2.ts';

/**
 * The polynomial network without helical convolutions, on inputs of the default preprocessing, by AdamW
 * alone.
 */
const config: TrainingConfig = {
  ...helical,
  architecture: { ...helical.architecture, helix: undefined },
  preprocessing: undefined,
  phases: {
    normalised: { ...helical.phases.normalised, epochs: 32, muon: false },
    exact: { ...helical.phases.exact, epochs: 14, peak: 7e-4 },
  },
  augmentation: AUGMENTATION,
  distillation: {
    ...helical.distillation!,
    teachers: [
      { config: 'deepcardio-relu', seed: 1 },
      { config: 'deepcardio-relu7', seed: 3 },
    ],
  },
};

export default config;
