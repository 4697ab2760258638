import type { RangeControl } from './activation.ts';
import type { Augmentation } from './augment.ts';
import type { Architecture } from './network.ts';

/** A training from beginning to end; training/configs has one file per published model. */
export interface TrainingConfig {
  architecture: Architecture;
  batch: number;
  phases: { normalised: Phase; exact: Phase };
  /** A class of share f weighs f^-exponent, scaled to a mean of 1 over the records. */
  classWeightExponent: number;
  labelSmoothing: number;
  /** In phase `exact` the loss sees bound * tanh(score / bound). */
  scoreBound: number;
  /** Decay per step of the average of the weights in phase `exact`; its network is judged beside the raw one. */
  averageDecay: number;
  /** Training records from which the batch-norm statistics of an evaluation are taken. */
  statisticsRecords: number;
  /** The exported model refuses beyond this |score|; the range gate wants twice the room. */
  scoreLimit: number;
  augmentation: Augmentation;
}

/** Epochs at a learning rate that warms up linearly over `warmUp` steps and falls along a cosine to `last`. */
export interface Phase {
  epochs: number;
  peak: number;
  last: number;
  warmUp: number;
  control?: RangeControl;
}
