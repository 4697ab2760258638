import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import type { TrainingConfig } from '../config.ts';

/** The polynomial DeepCardio that ships; docs/training.md has the reasons of its recipe. */
const config: TrainingConfig = {
  architecture: {
    samples: 4096,
    classes: ['N', 'A', 'O', '~'],
    channels: [8, 16, 32, 64, 128, 256],
    kernel: 5,
    dilations: [1, 1, 1, 1, 4, 8],
    pool: 2,
    activation: 'square',
    pooling: 'average',
    helix: [0, 2, 4, 8, 16, 32],
  },
  // Peaks and rms more alike than by default: what a polynomial of degree 64 needs.
  preprocessing: { ...DEFAULT_PREPROCESSING, scale: { percentile: 1, factor: 1 }, bound: 2 },
  batch: 32,
  phases: {
    normalised: {
      epochs: 34,
      peak: 5e-3,
      last: 2e-4,
      warmUp: 200,
      plain: true,
      muon: true,
      control: { clip: 5, start: 3, form: 'quadratic', linear: 1, square: 10, largest: 0.02 },
    },
    exact: {
      epochs: 7,
      peak: 4e-4,
      last: 1e-5,
      warmUp: 50,
      control: { start: 3, form: 'bounded', linear: 3, square: 10, largest: 0.3 },
    },
  },
  classWeightExponent: 0.3,
  labelSmoothing: 0.05,
  scoreBound: 30,
  scoreExcess: { start: 8, weight: 0.3 },
  averageDecay: 0.998,
  statisticsRecords: 800,
  scoreLimit: 32,
  augmentation: {
    flip: 0.5,
    stretch: { probability: 0.8, most: 0.08 },
    amplitude: { most: 0.15 },
    noise: { probability: 0.4, most: 0.15 },
    wander: { probability: 0.4, most: 0.3 },
  },
  hostilePerBatch: 6,
  distillation: {
    teachers: [
      { config: 'deepcardio-relu-average', seed: 1 },
      { config: 'deepcardio-relu7', seed: 3 },
    ],
    share: 0.6,
    temperature: 2,
  },
};

export default config;
