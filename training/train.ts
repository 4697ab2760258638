import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import { loadModel } from '../src/model/files.ts';
import type { Model } from '../src/model/model.ts';
import { type BackendName, loadBackend } from './backend.ts';
import { type EpochRecord, loadCheckpoint, saveCheckpoint, type TrainingState } from './checkpoint.ts';
import { loadConfig, type TrainingConfig } from './config.ts';
import { fromModel } from './convert.ts';
import { loadCorpus, partsOf } from './data.ts';
import { exportModel, type ModelMetrics } from './export.ts';
import { initialState, runTraining, type StepProgress } from './loop.ts';
import type { Architecture, Network } from './network.ts';
import type { Split } from './split.ts';
import split from './splits/cinc2017.json' with { type: 'json' };

export interface TrainOptions {
  /** The CinC 2017 data set: what `openDataset` takes. */
  data: string;
  /** Name of a config in training/configs, or the path of a .ts or .json file. */
  config: string;
  /** Folder of the model to write; its last part is the model's name. */
  out: string;
  /** Folder for checkpoints and the conditioned records (250 MB); default runs/. */
  work?: string;
  /** Go on from the checkpoint of an earlier run of the same config, seed and output. */
  resume?: boolean;
  /** Start from an exported model (name or folder), in the exact phase. */
  init?: string;
  /** Checkpoint of a finished training whose best network teaches this one, as the config's `distillation` says. */
  teacher?: string;
  /** Other number of epochs than the config's, shared out between the phases in its proportion. */
  epochs?: number;
  seed?: number;
  /** Insist on a backend; default: the fastest that loads. */
  backend?: BackendName;
  reporter?: Reporter;
  signal?: AbortSignal;
}

/** What a training tells; training/reporter.ts draws it on a terminal. */
export interface Reporter {
  note(line: string): void;
  /** Progress of reading the data or measuring the model. */
  work(what: string, done: number, total: number): void;
  step(progress: StepProgress): void;
  epoch(record: EpochRecord, epochs: number): void;
}

const SILENT: Reporter = { note() {}, work() {}, step() {}, epoch() {} };

export interface TrainResult {
  model: Model;
  metrics: ModelMetrics;
}

/**
 * Trains a network as its config says and exports it to `out`. A checkpoint is written after every epoch.
 *
 * @throws BlindbeatError ENVIRONMENT without data or a backend, USAGE for a config or a checkpoint that does not
 * fit, INTERRUPTED when `signal` is aborted, MODEL if the network left its range or is a ReLU one (nothing is exported)
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const reporter = options.reporter ?? SILENT;
  const seed = options.seed ?? 1;
  const name = basename(resolve(options.out));
  const work = options.work ?? 'runs';
  const config = withEpochs(await loadConfig(options.config), options.epochs);
  const p: Preprocessing = DEFAULT_PREPROCESSING;
  const backend = await loadBackend(options.backend);
  reporter.note(`backend: ${backend.description}`);
  reporter.note(`seed: ${seed}`);
  const corpus = loadCorpus(options.data, p, join(work, 'cache'), (done, total) =>
    reporter.work('reading records', done, total),
  );
  const parts = partsOf(corpus.records, split as Split);
  reporter.note(
    `records: ${parts.train.length} to train on, ${parts.validation.length} to choose by, ${parts.test.length} to report`,
  );
  for (const { name: record, reason } of corpus.refused) reporter.note(`left out: ${record} (${reason})`);

  const folder = join(work, name);
  const checkpoint = join(folder, 'checkpoint.json');
  mkdirSync(folder, { recursive: true });
  const state = options.resume
    ? resumed(checkpoint, options.config, seed)
    : initialState(options.config, config, seed, await initialNetwork(options.init, config.architecture));
  if (!options.resume && existsSync(checkpoint)) {
    reporter.note(`${checkpoint} of an earlier run is replaced (--resume would have gone on from it)`);
  }
  const epochs = config.phases.normalised.epochs + config.phases.exact.epochs;
  reporter.note(`checkpoints: ${checkpoint}, after every epoch`);
  if (config.distillation && options.teacher === undefined) {
    reporter.note('teacher: none (the config has a part for one), so the labels alone');
  }
  await runTraining(state, {
    corpus,
    parts,
    preprocessing: p,
    config,
    teacher: options.teacher === undefined ? undefined : teacherOf(options.teacher, config),
    signal: options.signal,
    onStep: (progress) => reporter.step(progress),
    onEpoch: (record, now) => {
      saveCheckpoint(checkpoint, now);
      reporter.epoch(record, epochs);
    },
  });
  if (config.architecture.activation === 'relu') {
    throw new BlindbeatError(
      'MODEL',
      `Trained, but a ReLU network cannot be evaluated on ciphertexts, so no model is written to ${options.out}. It can teach one that can: --teacher ${checkpoint}.`,
    );
  }
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
      `${checkpoint} is of config ${state.config} and seed ${state.seed}, not ${config} and ${seed}. Give those, or start without --resume.`,
    );
  }
  return state;
}

async function initialNetwork(
  init: string | undefined,
  architecture: Architecture,
): Promise<Network | undefined> {
  if (init === undefined) return undefined;
  const network = fromModel(await loadModel(init));
  if (JSON.stringify(network.architecture) !== JSON.stringify(architecture)) {
    throw new BlindbeatError(
      'USAGE',
      `${init} has another architecture than the config. Choose the config that it was trained with, or start without --init.`,
    );
  }
  return network;
}

function teacherOf(checkpoint: string, config: TrainingConfig): Network {
  const network = loadCheckpoint(checkpoint).best?.network;
  if (!network || !config.distillation) {
    throw new BlindbeatError(
      'USAGE',
      `${checkpoint} cannot teach: ${network ? 'the config has no distillation' : 'it holds no best network yet'}.`,
    );
  }
  return network;
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
  if (options.teacher !== undefined) parts.push(`--teacher ${options.teacher}`);
  if (options.epochs !== undefined) parts.push(`--epochs ${options.epochs}`);
  return [...parts, `--out ${options.out}`].join(' ');
}
