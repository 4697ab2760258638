import type { TrainingConfig } from '../config.ts';
import relu from './deepcardio-relu.ts';

/** The ReLU network with a seventh block: a second teacher. */
const config: TrainingConfig = {
  ...relu,
  architecture: {
    ...relu.architecture,
    channels: [...relu.architecture.channels, 256],
    dilations: [...relu.architecture.dilations, 4],
  },
};

export default config;
