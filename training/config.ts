import { existsSync, readFileSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as v from 'valibot';
import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import {
  choice,
  list,
  notNegative,
  number,
  positive,
  record,
  text,
  validate,
  wholeNumber,
} from '../src/schema.ts';

/** More than any network or training has: layers, classes; channels, samples, records; steps and epochs. */
const FEW = 1024;
const MANY = 2 ** 24;
const MOST = Number.MAX_SAFE_INTEGER;

/** The schema of `Architecture`. */
const ArchitectureSchema = record({
  samples: wholeNumber(1, MANY),
  classes: list(text(), FEW, 2),
  channels: list(wholeNumber(1, MANY), FEW, 1),
  kernel: wholeNumber(1, MANY),
  /** One per block. */
  dilations: list(wholeNumber(1, MANY), FEW, 1),
  pool: wholeNumber(1, MANY),
  /** `square`: a (x + h)^2, a and h trained; `relu`: the published one; or one fixed polynomial per block. */
  activation: v.union(
    [
      choice(['square', 'relu']),
      list(
        record({
          range: v.pipe(v.strictTuple([number(), number()]), v.readonly()),
          coefficients: v.pipe(list(number(), FEW, 1), v.readonly()),
        }),
        FEW,
        1,
      ),
    ],
    '"square", "relu" or a list of Chebyshev series',
  ),
  /** Polynomials need `average`; the published network has `max`. */
  pooling: choice(['average', 'max']),
  /**
   * One per block: 0 for a plain convolution, else the channels side by side of a helical one
   * (model/helix.ts).
   */
  helix: v.optional(list(wholeNumber(0, MANY), FEW)),
});

/** The architecture: everything that decides the parameters' shapes. */
export type Architecture = v.InferOutput<typeof ArchitectureSchema>;

/** The schema of `RangeControl`. */
const RangeControlSchema = record({
  /**
   * Training clips pre-activations to +-clip before the polynomial; undefined: not, as in the exact network.
   */
  clip: v.optional(positive()),
  /** The penalty starts at |x| = start. */
  start: number(),
  /**
   * `quadratic`: |e| and e^2, strong on outliers; `bounded`: their log(1 + .), of vanishing gradient far out.
   */
  form: choice(['quadratic', 'bounded']),
  /** Weights of the mean of e, of the mean of e^2 and of the mean over records of the largest e. */
  linear: number(),
  square: number(),
  largest: number(),
});

/** What keeps pre-activations where a polynomial is harmless: section "The range" of docs/training.md. */
export type RangeControl = v.InferOutput<typeof RangeControlSchema>;

/** The schema of `Augmentation`. */
const AugmentationSchema = record({
  /** Probability of a change of sign (an electrode pair held the other way round). */
  flip: number(),
  /** Probability and largest relative change of the heart rate and all durations. */
  stretch: record({ probability: number(), most: number() }),
  /** Factor on the scaled segment: 1 +- most. */
  amplitude: record({ most: number() }),
  /** White noise of up to `most` x rms. */
  noise: record({ probability: number(), most: number() }),
  /** A sine of 0.3-1 Hz of up to `most` x rms. */
  wander: record({ probability: number(), most: number() }),
});

/**
 * How a record is varied each time that it is seen. Probabilities 0..1; sizes relative to the record's rms.
 */
export type Augmentation = v.InferOutput<typeof AugmentationSchema>;

/** The schema of `Phase`. */
const PhaseSchema = record({
  epochs: wholeNumber(0, MOST),
  peak: number(),
  last: number(),
  warmUp: notNegative(),
  control: v.optional(RangeControlSchema),
  /** Convolutions step by Muon instead of AdamW. */
  muon: v.optional(v.boolean('true or false')),
  /**
   * The normalised phase only: without the architecture's helix; it is faster, and its weights carry over.
   */
  plain: v.optional(v.boolean('true or false')),
});

/**
 * Epochs at a learning rate that warms up linearly over `warmUp` steps, then falls along a cosine to `last`.
 */
export type Phase = v.InferOutput<typeof PhaseSchema>;

/** The schema of `TrainingConfig`. */
const TrainingConfigSchema = record({
  architecture: ArchitectureSchema,
  /** Default: DEFAULT_PREPROCESSING. `parsePreprocessing` checks it. */
  preprocessing: v.optional(v.custom<Preprocessing>(() => true)),
  batch: wholeNumber(1, MANY),
  phases: record({ normalised: PhaseSchema, exact: PhaseSchema }),
  /** A class of share f weighs f^-exponent, scaled to a mean of 1 over the records. */
  classWeightExponent: number(),
  labelSmoothing: number(),
  /** In phase `exact` the loss sees bound * tanh(score / bound). */
  scoreBound: positive(),
  /**
   * In phase `exact` weight * log(1 + relu(|score| - start)^2) is added: no record may come near the limit.
   */
  scoreExcess: record({ start: number(), weight: number() }),
  /** Decay per step of the average of the weights; its network is judged beside the raw one. */
  averageDecay: number(),
  /** Training records from which the batch-norm statistics of an evaluation are taken. */
  statisticsRecords: wholeNumber(1, MANY),
  /** The exported model refuses beyond this |score|. An epoch is a candidate for export up to 3/4 of it. */
  scoreLimit: positive(),
  augmentation: AugmentationSchema,
  /** In phase `exact` so many inputs that are no ECG join every batch, for the range penalty only. */
  hostilePerBatch: wholeNumber(0, MANY),
  /**
   * Teachers, trained first if they are not given, their share of the loss, and the temperature of both
   * softmaxes.
   */
  distillation: v.optional(
    record({
      teachers: list(record({ config: text(), seed: number() }), FEW),
      share: number(),
      temperature: positive(),
    }),
  ),
});

/** A training from beginning to end; training/configs has one file per published model. */
export type TrainingConfig = v.InferOutput<typeof TrainingConfigSchema>;

/**
 * Loads a config by its name in training/configs or by the path of a .ts, .js or .json file.
 *
 * @throws BlindbeatError USAGE if there is none, or with all that is wrong with it
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
  const config: unknown =
    extname(path) === '.json' ? readJson(path) : (await import(pathToFileURL(path).href)).default;
  return validate(TrainingConfigSchema, config, {
    code: 'USAGE',
    title: `${path} is no training config`,
    root: 'config',
  });
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new BlindbeatError('USAGE', `${path} is no training config: it cannot be read as JSON.`, { cause });
  }
}
