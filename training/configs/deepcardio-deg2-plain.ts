import type { TrainingConfig } from '../config.ts';
import helical from './deepcardio-deg2.ts';

/** The polynomial network without helical convolutions, as it was trained before there were any. */
const config: TrainingConfig = {
  ...helical,
  architecture: { ...helical.architecture, helix: undefined },
  distillation: {
    ...helical.distillation!,
    teachers: [
      { config: 'deepcardio-relu', seed: 1 },
      { config: 'deepcardio-relu7', seed: 3 },
    ],
  },
};

export default config;
