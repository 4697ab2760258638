import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { drawSvg } from '../src/charts/svg.ts';
import type { Split } from '../src/dataset/split.ts';
import split from '../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { DEFAULT_PREPROCESSING, type Preprocessing, parsePreprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import { writeOutput } from '../src/files/output.ts';
import { loadModel } from '../src/model/files.ts';
import { requireModelName } from '../src/model/format.ts';
import type { Model } from '../src/model/model.ts';
import { loadBackend, type TensorBackendName } from './backend.ts';
import { type EpochRecord, loadCheckpoint, saveCheckpoint, type TrainingState } from './checkpoint.ts';
import { type Architecture, loadConfig, type TrainingConfig } from './config.ts';
import { fromModel } from './convert.ts';
import { trainingCurves } from './curves.ts';
import { loadCorpus, partsOf } from './data.ts';
import { exportModel } from './export.ts';
import { initialState, runTraining, type StepProgress, type Teacher } from './loop.ts';
import type { ModelMetrics } from './model-metrics.ts';
import { type Network, plainOf } from './network.ts';

/** What a training is asked for. */
export interface TrainOptions {
  /** The CinC 2017 data set: what `openDataset` takes. */
  data: string;
  /** Name of a config in training/configs, or the path of a .ts or .json file. */
  config: string;
  /** Folder of the model to write; its last part is the model's name. */
  out: string;
  /** Folder for checkpoints, teachers and the conditioned records (250 MB); default: runs. */
  work?: string;
  /** Go on from the checkpoint of an earlier run of the same config, seed and output. */
  resume?: boolean;
  /** A model (name or folder) to start from, in the exact phase. */
  init?: string;
  /**
   * Models (names or folders) that teach this one, as the config's `distillation` says; false: none, the
   * labels alone. Default: the config's teachers, which are trained first.
   */
  teachers?: string[] | false;
  /** Instead of the config's number, shared out between the phases in its proportion. */
  epochs?: number;
  /** Of weights, order and augmentation; default: 1. */
  seed?: number;
  /** Insists on one; default: the fastest that loads. */
  backend?: TensorBackendName;
  /** Default: a silent one. */
  reporter?: Reporter;
  /** Stops the training after the step that is under way. */
  signal?: AbortSignal;
}

/** What a training tells; `streamReporter` writes it to a terminal. */
export interface Reporter {
  /** What is worth a line of the log. */
  note(line: string): void;
  /** Progress of reading the data or measuring the model. */
  work(what: string, done: number, total: number): void;
  step(progress: StepProgress): void;
  epoch(record: EpochRecord, epochs: number): void;
}

const SILENT: Reporter = { note() {}, work() {}, step() {}, epoch() {} };

/** The exported model and the content of its metrics.json. */
export interface TrainResult {
  model: Model;
  metrics: ModelMetrics;
}

/**
 * Trains a network as its config says, its teachers first, and exports it to `out`; a checkpoint is written
 * after every epoch.
 *
 * @throws BlindbeatError ENVIRONMENT without data or a backend
 * @throws BlindbeatError USAGE for a config, a start, a teacher or a checkpoint that does not fit
 * @throws BlindbeatError FILE if there is no checkpoint to resume from
 * @throws BlindbeatError INTERRUPTED when `signal` is aborted
 * @throws BlindbeatError MODEL if the folder's name is none for a model, or the network left its range; nothing
 * is exported then
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const reporter = options.reporter ?? SILENT;
  const seed = options.seed ?? 1;
  const name = basename(resolve(options.out));
  requireModelName(name);
  const work = options.work ?? 'runs';
  const config = withEpochs(await loadConfig(options.config), options.epochs);
  const p = parsePreprocessing(config.preprocessing ?? DEFAULT_PREPROCESSING);
  const models = await teachersOf(options, config, work);
  const teachers = models.map((model) => teacherOf(model, p));
  const backend = await loadBackend(options.backend);
  reporter.note(`config: ${options.config}`);
  reporter.note(`backend: ${backend.description}`);
  reporter.note(`seed: ${seed}`);
  const corpus = await loadCorpus(options.data, p, join(work, 'cache'), (done, total) =>
    reporter.work('reading records', done, total),
  );
  const parts = partsOf(corpus.records, split as Split);
  reporter.note(
    `records: ${parts.train.length} to train on, ${parts.validation.length} to choose by, ` +
      `${parts.test.length} to report`,
  );
  for (const { name: record, reason } of corpus.refused) reporter.note(`left out: ${record} (${reason})`);

  const checkpoint = checkpointOf(work, options.out);
  mkdirSync(dirname(checkpoint), { recursive: true });
  const began = existsSync(checkpoint);
  // An interrupted training may not have come further than its teachers.
  const state =
    options.resume && (began || !config.distillation)
      ? resumed(checkpoint, options.config, seed)
      : initialState(
          options.config,
          config,
          seed,
          await initialNetwork(options.init, config.architecture, p),
        );
  if (!options.resume && began) {
    reporter.note(`${checkpoint} of an earlier run is replaced (--resume would have gone on from it)`);
  }
  if (options.resume && !began) reporter.note(`${checkpoint} is not there yet: from the beginning`);
  const epochs = config.phases.normalised.epochs + config.phases.exact.epochs;
  const curves = join(dirname(checkpoint), 'training.svg');
  reporter.note(`after every epoch: ${checkpoint}, ${curves}`);
  if (config.distillation) {
    const names = models.map((model) => model.name).join(', ');
    reporter.note(`teachers: ${names || 'none, so the labels alone'}`);
  }
  await runTraining(state, {
    corpus,
    parts,
    preprocessing: p,
    config,
    teachers,
    signal: options.signal,
    onStep: (progress) => reporter.step(progress),
    onEpoch: async (record, now) => {
      await saveCheckpoint(checkpoint, now);
      await writeOutput(curves, await drawSvg(trainingCurves(now.history, name)));
      reporter.epoch(record, epochs);
    },
  });
  const [cpu] = cpus();
  const result = await exportModel({
    state,
    corpus,
    parts,
    preprocessing: p,
    scoreLimit: config.scoreLimit,
    out: options.out,
    name,
    command: commandOf(options, seed),
    backend: backend.name,
    machine: `${cpus().length} x ${cpu?.model ?? 'unknown processor'}`,
    onProgress: (what, done, total) => reporter.work(what, done, total),
  });
  reporter.note(`exported: ${options.out}`);
  return result;
}

function resumed(checkpoint: string, config: string, seed: number): TrainingState {
  const state = loadCheckpoint(checkpoint);
  if (state.config !== config || state.seed !== seed) {
    throw new BlindbeatError(
      'USAGE',
      `${checkpoint} is of config ${state.config} and seed ${state.seed}, not ${config} and ${seed}. Give ` +
        'those, or start without --resume.',
    );
  }
  return state;
}

async function initialNetwork(
  init: string | undefined,
  architecture: Architecture,
  p: Preprocessing,
): Promise<Network | undefined> {
  if (init === undefined) return undefined;
  const model = await loadModel(init);
  if (JSON.stringify(model.preprocessing) !== JSON.stringify(p)) {
    throw new BlindbeatError(
      'USAGE',
      `${init} has another preprocessing than the config. Give the config that of the model, or start ` +
        'without --init.',
    );
  }
  const network = fromModel(model);
  const { helix, ...plain } = network.architecture;
  const same = JSON.stringify(plain) === JSON.stringify(plainOf(architecture));
  // A plain network's weights carry over to a helical one, not the other way.
  if (!same || (helix && JSON.stringify(helix) !== JSON.stringify(architecture.helix))) {
    throw new BlindbeatError(
      'USAGE',
      `${init} has another architecture than the config. Choose the config that it was trained with, or ` +
        'start without --init.',
    );
  }
  return { ...network, architecture };
}

/** A model as a teacher of a network whose inputs `p` makes: both must be of the same conditioned signal. */
function teacherOf(model: Model, p: Preprocessing): Teacher {
  const signalOf = ({ seconds, samples, band }: Preprocessing) => JSON.stringify([seconds, samples, band]);
  if (signalOf(model.preprocessing) !== signalOf(p)) {
    throw new BlindbeatError(
      'USAGE',
      `${model.name} cannot teach this config: its segments have another length, rate or band ` +
        `(${signalOf(model.preprocessing)}, expected ${signalOf(p)}). Choose another teacher.`,
    );
  }
  return { network: fromModel(model), preprocessing: model.preprocessing };
}

function checkpointOf(work: string, out: string): string {
  return join(work, basename(resolve(out)), 'checkpoint.json');
}

/**
 * The given teachers, or those of the config, which are trained into `work` unless a resumed training has
 * them.
 */
async function teachersOf(options: TrainOptions, config: TrainingConfig, work: string): Promise<Model[]> {
  const { teachers: given, reporter } = options;
  const named = config.distillation?.teachers ?? [];
  if (given && !config.distillation) {
    throw new BlindbeatError(
      'USAGE',
      `config ${options.config} says nothing of teachers: it lacks distillation.`,
    );
  }
  if (given) return Promise.all(given.map(loadModel));
  if (given === false) return [];
  const models: Model[] = [];
  for (const [k, { config: its, seed }] of named.entries()) {
    const out = join(work, 'teachers', `${basename(its)}-seed${seed}`);
    if (!options.resume || !existsSync(join(out, 'model.json'))) {
      reporter?.note(`teacher ${k + 1} of ${named.length}: ${its}, seed ${seed}`);
      const resume = options.resume && existsSync(checkpointOf(work, out));
      await train({ ...options, config: its, seed, out, resume, init: undefined });
    }
    models.push(await loadModel(out));
  }
  return models;
}

/** The config with both phases scaled to `epochs` in all. */
function withEpochs(config: TrainingConfig, epochs: number | undefined): TrainingConfig {
  if (epochs === undefined) return config;
  const { normalised, exact } = config.phases;
  const share = normalised.epochs / (normalised.epochs + exact.epochs);
  const first = Math.round(epochs * share);
  return {
    ...config,
    phases: {
      normalised: { ...normalised, epochs: first },
      exact: { ...exact, epochs: epochs - first },
    },
  };
}

/** The command that makes the model again, with a stand-in for the data's place. */
function commandOf(options: TrainOptions, seed: number): string {
  const parts = ['blindbeat train --data PATH', `--config ${options.config}`, `--seed ${seed}`];
  if (options.init !== undefined) parts.push(`--init ${options.init}`);
  if (options.teachers === false) parts.push('--no-teachers');
  else if (options.teachers) parts.push(`--teachers ${options.teachers.join(' ')}`);
  if (options.epochs !== undefined) parts.push(`--epochs ${options.epochs}`);
  return [...parts, `--out ${options.out}`].join(' ');
}
