import { existsSync, readFileSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import type { RangeControl } from './activation.ts';
import type { Augmentation } from './augment.ts';
import type { Architecture } from './network.ts';

/** A training from beginning to end; training/configs has one file per published model. */
export interface TrainingConfig {
  architecture: Architecture;
  /** Default: DEFAULT_PREPROCESSING. */
  preprocessing?: Preprocessing;
  batch: number;
  phases: { normalised: Phase; exact: Phase };
  /** A class of share f weighs f^-exponent, scaled to a mean of 1 over the records. */
  classWeightExponent: number;
  labelSmoothing: number;
  /** In phase `exact` the loss sees bound * tanh(score / bound). */
  scoreBound: number;
  /** In phase `exact` weight * log(1 + relu(|score| - start)^2) is added: no record may come near the limit. */
  scoreExcess: { start: number; weight: number };
  /** Decay per step of the average of the weights; its network is judged beside the raw one. */
  averageDecay: number;
  /** Training records from which the batch-norm statistics of an evaluation are taken. */
  statisticsRecords: number;
  /** The exported model refuses beyond this |score|. An epoch is a candidate for export up to 3/4 of it. */
  scoreLimit: number;
  augmentation: Augmentation;
  /** In phase `exact` so many inputs that are no ECG join every batch, for the range penalty only. */
  hostilePerBatch: number;
  /** Teachers, trained first if they are not given, their share of the loss, and the temperature of both softmaxes. */
  distillation?: { teachers: { config: string; seed: number }[]; share: number; temperature: number };
}

/** Epochs at a learning rate that warms up linearly over `warmUp` steps and falls along a cosine to `last`. */
export interface Phase {
  epochs: number;
  peak: number;
  last: number;
  warmUp: number;
  control?: RangeControl;
  /** Convolutions step by Muon instead of AdamW. */
  muon?: boolean;
  /** The normalised phase only: without the architecture's helix, which is faster and whose weights carry over. */
  plain?: boolean;
}

/**
 * Loads a config by its name in training/configs or by the path of a .ts, .js or .json file.
 *
 * @throws BlindbeatError USAGE if there is none or it lacks a part
 */
export async function loadConfig(nameOrPath: string): Promise<TrainingConfig> {
  const own = new URL(`./configs/${nameOrPath}${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
  const path = existsSync(own) ? fileURLToPath(own) : resolve(nameOrPath);
  if (!existsSync(path) || extname(path) === '') {
    throw new BlindbeatError(
      'USAGE',
      `There is no training config "${nameOrPath}": expected a name in training/configs or the path of a .ts or .json file.`,
    );
  }
  const config: TrainingConfig =
    extname(path) === '.json'
      ? JSON.parse(readFileSync(path, 'utf8'))
      : (await import(pathToFileURL(path).href)).default;
  const needed: (keyof TrainingConfig)[] = [
    'architecture',
    'batch',
    'phases',
    'classWeightExponent',
    'labelSmoothing',
    'scoreBound',
    'scoreExcess',
    'averageDecay',
    'statisticsRecords',
    'scoreLimit',
    'augmentation',
    'hostilePerBatch',
  ];
  const missing = needed.filter((key) => config?.[key] === undefined);
  if (missing.length > 0) {
    throw new BlindbeatError('USAGE', `${path} is no training config: it lacks ${missing.join(', ')}.`);
  }
  return config;
}
