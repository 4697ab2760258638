import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { ChebyshevSeries } from '../../src/approx/chebyshev.ts';
import type { Split } from '../../src/dataset/split.ts';
import split from '../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { nameClass, type Outcome } from '../../src/evaluation/outcome.ts';
import { writeOutput } from '../../src/files/output.ts';
import { saveModel } from '../../src/model/files.ts';
import { serialiseModel } from '../../src/model/format.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { loadBackend, type TensorBackendName } from '../backend.ts';
import { loadCheckpoint, saveCheckpoint } from '../checkpoint.ts';
import { loadConfig, type TrainingConfig } from '../config.ts';
import { fromModel, toModel } from '../convert.ts';
import { type Corpus, loadCorpus, partsOf, rowsOf } from '../data.ts';
import { initialState, type LoopOptions, runTraining } from '../loop.ts';
import { forwardTensors, type Network, parameterTensors } from '../network.ts';
import type { Reporter } from '../train.ts';
import type { Cell } from './cells.ts';
import { normalSeries, replaceRelu } from './replace.ts';

/** The choices that all cells share. */
const RECIPE = {
  /**
   * Training records, drawn by the seed, whose pre-activations choose the polynomials' ranges, and their
   * margin.
   */
  records: 2048,
  margin: 0.05,
  /** In units of a polynomial's range: 1 is its end. */
  control: { clip: 1, start: 0.8, form: 'quadratic', linear: 20, square: 800, largest: 1 },
  averageDecay: 0.99,
  finetune: { peak: 2e-3, last: 2e-5, warmUp: 50 },
  normalised: { peak: 5e-3, last: 2e-4, warmUp: 200 },
  exact: { peak: 1e-3, last: 2e-5, warmUp: 20 },
} as const;

/** Raised whenever the same settings would give another result. */
const CACHE_VERSION = 1;

/** What a study is made of. */
export interface StudyOptions {
  /** The CinC 2017 data set: what `openDataset` takes. */
  data: string;
  /** The trained ReLU network. */
  baseline: Model;
  cells: Cell[];
  /** Epochs of a `finetune` and of a `retrain`. */
  epochs: number;
  seed: number;
  /** Config with batch, loss and augmentation. */
  config: string;
  /** Folder of the cells' models, results and checkpoints. */
  work: string;
  /** Folder of the prepared records (250 MB). */
  cache: string;
  backend?: TensorBackendName;
  reporter: Reporter;
  signal?: AbortSignal;
}

/** What one cell gave; kept as a file, by the hash of its settings. */
export interface CellResult extends Cell {
  key: string;
  /** Polynomials of the blocks. */
  series: ChebyshevSeries[];
  /** Name of the model's folder in the work folder. */
  model: string;
  /** One per record of the test part. */
  outcomes: Outcome[];
  /** Ids of the records with a pre-activation outside of its polynomial's range. */
  left: string[];
  /** Largest difference of a score from `forward`, over some records. */
  forwardDifference: number;
  epochs: number;
  /** Of all epochs, or of choosing the polynomials. */
  seconds: number;
}

/** A cell for which there is no network. */
export interface FailedCell extends Cell {
  key: string;
  failed: string;
}

/** The networks of all cells, measured. */
export interface Study {
  /** Of the ReLU network, one per record of the test part. */
  baseline: Outcome[];
  cells: (CellResult | FailedCell)[];
  records: { train: number; validation: number; test: number };
  /** Training records that chose the ranges. */
  replaced: number;
}

/**
 * The network of every cell, measured on the test part. Finished cells are taken from `work` if their
 * settings, the data and the baseline are the same; an interrupted training goes on after its last finished
 * epoch.
 *
 * @throws BlindbeatError ENVIRONMENT without data or a backend, MODEL if the baseline is no ReLU network with
 * average pooling, USAGE for a config that does not fit it, INTERRUPTED when `signal` is aborted
 */
export async function studyDegrees(options: StudyOptions): Promise<Study> {
  const { baseline, cells, reporter, work, seed, signal } = options;
  const network = fromModel(baseline);
  if (network.architecture.activation !== 'relu' || network.architecture.pooling !== 'average') {
    throw new BlindbeatError(
      'MODEL',
      `${baseline.name} cannot be approximated: expected a network with ReLU and average pooling, such as ` +
        'deepcardio-relu-average.',
    );
  }
  const config = await loadConfig(options.config);
  const backend = await loadBackend(options.backend);
  reporter.note(`backend: ${backend.description}`);
  const p = DEFAULT_PREPROCESSING;
  if (JSON.stringify(baseline.preprocessing) !== JSON.stringify(p)) {
    throw new BlindbeatError('MODEL', `${baseline.name} prepares ECGs in another way than training does.`);
  }
  const corpus = await loadCorpus(options.data, p, options.cache, (done, total) =>
    reporter.work('reading records', done, total),
  );
  const parts = partsOf(corpus.records, split as Split);
  for (const [part, members] of Object.entries(parts)) {
    if (members.length > 0) continue;
    throw new BlindbeatError(
      'USAGE',
      `${options.data} holds no record of the ${part} part of src/dataset/splits/cinc2017.json: expected ` +
        'the CinC 2017 training set.',
    );
  }
  mkdirSync(join(work, 'cells'), { recursive: true });
  const common = {
    version: CACHE_VERSION,
    ranges: { records: RECIPE.records, margin: RECIPE.margin },
    seed,
    baseline: fingerprint(baseline),
    data: digest(corpus.records.map(({ name, label, content }) => [name, label, content])),
  };
  const setting: Setting = { options, config, network, corpus, parts };
  const pace = paceOf(cells, options.epochs);
  const results: Study['cells'] = [];
  for (const [i, cell] of cells.entries()) {
    const epochs = cell.mode === 'replace' ? 0 : options.epochs;
    const training = cell.mode === 'replace' ? null : configOf(cell, epochs, setting);
    const key = keyOf(cell, digest({ ...common, ...cell, training }));
    const file = join(work, 'cells', `${key}.json`);
    const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as CellResult) : undefined;
    if (known) {
      results.push(known);
      continue;
    }
    reporter.note(`cell ${i + 1} of ${cells.length}: ${nameOf(cell)}${pace.left(i)}`);
    const began = performance.now();
    const result = await measured(cell, key, epochs, setting);
    pace.done(i, (performance.now() - began) / 1000);
    await writeOutput(file, JSON.stringify(result));
    rmSync(join(work, 'cells', key, 'checkpoint.json'), { force: true });
    results.push(result);
    signal?.throwIfAborted();
  }
  return {
    baseline: score(network, baseline, setting).outcomes,
    cells: results,
    replaced: Math.min(RECIPE.records, parts.train.length),
    records: { train: parts.train.length, validation: parts.validation.length, test: parts.test.length },
  };
}

interface Setting {
  options: StudyOptions;
  config: TrainingConfig;
  /** The baseline. */
  network: Network;
  corpus: Corpus;
  parts: LoopOptions['parts'];
}

function nameOf({ mode, method, degree }: Cell): string {
  return `${mode} ${method} degree ${degree}`;
}

function keyOf({ mode, method, degree }: Cell, hash: string): string {
  return `${mode}-${method}-${degree}-${hash.slice(0, 12)}`;
}

async function measured(
  cell: Cell,
  key: string,
  epochs: number,
  setting: Setting,
): Promise<CellResult | FailedCell> {
  const { options } = setting;
  try {
    const { network, seconds } = await networkOf(cell, key, epochs, setting);
    const series = network.architecture.activation as ChebyshevSeries[];
    const model = toModel(network, {
      name: key,
      preprocessing: options.baseline.preprocessing,
      scoreLimit: options.baseline.scoreLimit,
      ranges: [],
      provenance: {
        data: options.baseline.provenance.data,
        seed: options.seed,
        command: `blindbeat evaluate-degrees --data PATH, ${nameOf(cell)}, ${epochs} epochs`,
        createdAt: new Date().toISOString(),
        metrics: {},
      },
    });
    await saveModel(model, join(options.work, 'cells', key));
    const scored = score(network, model, setting);
    return { ...cell, key, series, model: join('cells', key), ...scored, epochs, seconds };
  } catch (error) {
    if (!(error instanceof BlindbeatError)) throw error;
    if (error.code === 'INTERRUPTED') {
      const message = 'interrupted; the same command goes on after the last finished epoch';
      throw new BlindbeatError('INTERRUPTED', message, { cause: error });
    }
    if (!['MODEL', 'USAGE', 'PLAN'].includes(error.code)) throw error;
    return { ...cell, key, failed: error.message };
  }
}

/** The trained or replaced network of a cell. */
async function networkOf(
  cell: Cell,
  key: string,
  epochs: number,
  setting: Setting,
): Promise<{ network: Network; seconds: number }> {
  const { options, network: baseline, corpus, parts } = setting;
  const began = performance.now();
  const { reporter } = options;
  const checkpoint = join(options.work, 'cells', key, 'checkpoint.json');
  const config = configOf(cell, epochs, setting);
  let state = existsSync(checkpoint) ? loadCheckpoint(checkpoint) : undefined;
  if (!state) {
    if (cell.mode === 'retrain') {
      const series = baseline.architecture.channels.map(() => normalSeries(cell.degree, cell.method));
      config.architecture = { ...config.architecture, activation: series };
      state = initialState(key, config, options.seed);
    } else {
      const chosen = new Random(options.seed).shuffle(parts.train.slice()).slice(0, RECIPE.records);
      const segments = rowsOf(corpus.segments, chosen, config.architecture.samples);
      const replaced = replaceRelu(baseline, segments, { ...cell, margin: RECIPE.margin }, (done) =>
        reporter.work('replacing ReLU', done, baseline.architecture.channels.length),
      );
      if (cell.mode === 'replace') return { network: replaced, seconds: (performance.now() - began) / 1000 };
      state = initialState(key, config, options.seed, replaced);
    }
  }
  config.architecture = state.network.architecture;
  mkdirSync(dirname(checkpoint), { recursive: true });
  await runTraining(state, {
    corpus,
    parts,
    preprocessing: options.baseline.preprocessing,
    config,
    gate: false,
    signal: options.signal,
    onStep: (progress) => reporter.step(progress),
    onEpoch: async (record, now) => {
      await saveCheckpoint(checkpoint, now);
      reporter.epoch(record, epochs);
    },
  });
  const seconds = state.history.reduce((sum, epoch) => sum + epoch.seconds, 0);
  if (state.best) return { network: state.best.network, seconds };
  throw new BlindbeatError(
    'MODEL',
    'the scores of some validation records were not finite after every epoch: the network left the range ' +
      'of its polynomials',
  );
}

/** The config with a cell's phases: no teachers, no inputs that are no ECG. */
function configOf({ mode }: Cell, epochs: number, { config, network }: Setting): TrainingConfig {
  const { control } = RECIPE;
  const last = mode === 'finetune' ? epochs : Math.max(1, Math.round(epochs / 4));
  return {
    ...config,
    architecture: network.architecture,
    phases: {
      normalised: { ...RECIPE.normalised, control, epochs: epochs - last },
      exact: { ...(mode === 'finetune' ? RECIPE.finetune : RECIPE.exact), control, epochs: last },
    },
    averageDecay: RECIPE.averageDecay,
    hostilePerBatch: 0,
    distillation: undefined,
  };
}

/** What a network makes of the test part; refused records stand in it as `evaluate` has them. */
function score(
  network: Network,
  model: Model,
  { corpus, parts }: Setting,
): Pick<CellResult, 'outcomes' | 'left' | 'forwardDifference'> {
  const { samples, classes } = network.architecture;
  const series = network.architecture.activation;
  const left: string[] = [];
  const outcomes: Outcome[] = [];
  const tensors = parameterTensors(network);
  for (let start = 0; start < parts.test.length; start += BATCH) {
    const members = parts.test.slice(start, start + BATCH);
    tf.tidy(() => {
      const segments = tf.tensor3d(rowsOf(corpus.segments, members, samples), [members.length, samples, 1]);
      const outside = new Set<number>();
      const scores = forwardTensors(network, tensors, segments, {
        onPreActivation: (x, block) => {
          if (typeof series === 'string') return;
          const [low, high] = series[block].range;
          const lows = tf.min(x, [1, 2]).dataSync();
          const highs = tf.max(x, [1, 2]).dataSync();
          members.forEach((_, k) => {
            if (!(lows[k] >= low && highs[k] <= high)) outside.add(k);
          });
        },
      }).dataSync();
      members.forEach((member, k) => {
        const { name: id, label } = corpus.records[member];
        const own = Array.from(scores.subarray(k * classes.length, (k + 1) * classes.length));
        outcomes.push(nameClass(model, { id, label }, own));
        if (outside.has(k)) left.push(id);
      });
    });
  }
  tf.dispose(tensors);
  return { outcomes, left, forwardDifference: differenceTo(model, outcomes, corpus, parts.test) };
}

const BATCH = 64;

/** Some records through the path that ships; those beyond the limit are no measure. */
function differenceTo(model: Model, outcomes: Outcome[], corpus: Corpus, members: number[]): number {
  let largest = 0;
  let checked = 0;
  for (let k = 0; k < members.length && checked < 3; k++) {
    const { scores } = outcomes[k];
    if (outcomes[k].named < 0 || !scores) continue;
    const at = members[k] * model.samples;
    const exact = forward(model, corpus.segments.subarray(at, at + model.samples)).scores;
    exact.forEach((s, c) => {
      largest = Math.max(largest, Math.abs(s - scores[c]));
    });
    checked++;
  }
  return largest;
}

/** Guesses the time that all cells take, by what the finished ones took. */
function paceOf(cells: Cell[], epochs: number) {
  const units = cells.map(({ mode, degree }) =>
    mode === 'replace' ? 1 + degree / 8 : epochs * (20 + 3 * degree),
  );
  let done = 0;
  let seconds = 0;
  return {
    done(i: number, took: number): void {
      done += units[i];
      seconds += took;
    },
    left(i: number): string {
      if (done === 0) return '';
      const rest = units.slice(i).reduce((a, b) => a + b, 0);
      return `; all: about ${Math.ceil((seconds * rest) / done / 60)} min left`;
    },
  };
}

/** What decides a network's scores. */
function fingerprint(model: Model): string {
  const { samples, classes, preprocessing, scoreLimit, blocks, weights } = serialiseModel(model).json;
  return digest([samples, classes, preprocessing, scoreLimit, blocks, weights]);
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
