import { cropSegment, type Preprocessing } from '../src/ecg/preprocess.ts';
import { Random } from '../src/ecg/random.ts';
import { BlindbeatError } from '../src/errors.ts';
import { computeMetrics } from '../src/evaluation/metrics.ts';
import { type Variation, variedInput, vary } from './augment.ts';
import type { EpochRecord, TrainingState } from './checkpoint.ts';
import type { Phase, TrainingConfig } from './config.ts';
import { type Corpus, type Parts, rowsOf } from './data.ts';
import { disturbedRecords, hostileInputs, hostileSegments } from './hostile.ts';
import { type LossOptions, lossAndGradients } from './loss.ts';
import { argmaxRows, meanCrossEntropy } from './metrics.ts';
import {
  batchStatistics,
  computeScores,
  copyOf,
  createNetwork,
  foldBatchNorm,
  type Network,
  plainOf,
} from './network.ts';
import { ADAMW, AdamW, learningRate } from './optimizer.ts';
import { isInRange, measureRanges } from './ranges.ts';

/** What a training tells after every step. */
export interface StepProgress {
  /** From 1, over both phases. */
  epoch: number;
  epochs: number;
  /** From 1, of the epoch. */
  step: number;
  steps: number;
  /** Mean over the epoch so far, without the range penalty. */
  loss: number;
  /** CinC score of the batches of this epoch so far, as they were seen. */
  score: number;
  /** Expected seconds to the end of the training. */
  eta: number;
}

/**
 * An exact network and what makes its inputs. Samples, seconds and band of the preprocessing are those of the
 * network that is taught; scale and bounds are its own.
 */
export interface Teacher {
  network: Network;
  preprocessing: Preprocessing;
}

/** What a training needs beside its state. */
export interface LoopOptions {
  corpus: Corpus;
  parts: Parts;
  preprocessing: Preprocessing;
  config: TrainingConfig;
  /** Networks whose mean scores are targets too, as `config.distillation` says. */
  teachers?: Teacher[];
  /** Whether a polynomial network must pass the gate of an export to be chosen; default: true. */
  gate?: boolean;
  /** Stops the training after the step that is under way. */
  signal?: AbortSignal;
  onStep?: (progress: StepProgress) => void;
  /** Called after every epoch with the state to store. */
  onEpoch?: (record: EpochRecord, state: TrainingState) => void | Promise<void>;
}

/** A training at its beginning: of a new network, or of the exact one `init`, which skips the first phase. */
export function initialState(configName: string, config: TrainingConfig, seed: number, init?: Network) {
  const { architecture, phases } = config;
  const first = phases.normalised.plain ? plainOf(architecture) : architecture;
  const network = init ?? createNetwork(first, new Random(seed));
  const state: TrainingState = {
    config: configName,
    seed,
    epoch: 0,
    network,
    optimizer: new AdamW(network.parameters, ADAMW),
    history: [],
  };
  if (init) state.epoch = phases.normalised.epochs;
  // Polynomial networks leave their range in the first phase: an average of such ones is worth nothing.
  if (init || architecture.activation === 'relu') state.average = copyOf(network);
  return state;
}

/**
 * Runs both phases of the recipe from `state`, which it changes, to their end: `normalised` with batch norm,
 * then `exact` with batch norm folded away, so that what is trained is what is exported.
 *
 * Random numbers depend on seed and epoch alone: a resumed training sees what it would have seen.
 *
 * @throws BlindbeatError INTERRUPTED when `signal` is aborted; every finished epoch was handed to `onEpoch`
 */
export async function runTraining(state: TrainingState, options: LoopOptions): Promise<TrainingState> {
  const { normalised, exact } = options.config.phases;
  const epochs = normalised.epochs + exact.epochs;
  while (state.epoch < epochs) {
    if (state.epoch === normalised.epochs && state.network.phase === 'normalised') freeze(state, options);
    const first = state.epoch < normalised.epochs;
    const inPhase = first ? state.epoch : state.epoch - normalised.epochs;
    const record = await trainEpoch(state, first ? normalised : exact, inPhase, epochs, options);
    state.epoch++;
    state.history.push(record);
    judge(state, record, options);
    await options.onEpoch?.(record, state);
  }
  return state;
}

/**
 * From batch norm to the exact network of the config's architecture. The optimiser starts anew, because
 * folded weights have other scales.
 */
function freeze(state: TrainingState, options: LoopOptions): void {
  const { architecture } = options.config;
  state.network = exactOf({ ...state.network, architecture }, state.seed, options);
  state.optimizer = new AdamW(state.network.parameters, ADAMW);
  state.average = copyOf(state.network);
}

async function trainEpoch(
  state: TrainingState,
  phase: Phase,
  epochInPhase: number,
  epochs: number,
  options: LoopOptions,
): Promise<EpochRecord> {
  const { corpus, parts, config, preprocessing } = options;
  const { samples, classes } = config.architecture;
  const random = new Random(state.seed + (state.epoch + 1) / 4096);
  const order = random.shuffle(parts.train.slice());
  const steps = Math.floor(order.length / config.batch);
  const loss = lossOptions(config, phase, state.network.phase, corpus, parts);
  const hostile = hostilePool(state, options, random);
  const rows = config.batch + (hostile.length > 0 ? config.hostilePerBatch : 0);
  const segments = new Float32Array(rows * samples);
  const labels = new Uint8Array(rows).fill(NO_LABEL);
  const variations: Variation[] = [];
  const seen: number[] = [];
  const named: number[] = [];
  let sumLoss = 0;
  let sumPenalty = 0;
  let largest = 0;
  let rate = 0;
  const began = performance.now();
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < config.batch; i++) {
      const record = corpus.records[order[step * config.batch + i]];
      const signal = corpus.signals.subarray(record.offset, record.offset + record.length);
      variations[i] = vary(signal, preprocessing, config.augmentation, random);
      segments.set(variedInput(variations[i], preprocessing), i * samples);
      labels[i] = classes.indexOf(record.label);
    }
    for (let i = config.batch; i < rows; i++) {
      segments.set(varied(hostile[random.below(hostile.length)], random), i * samples);
    }
    if (options.teachers?.length && config.distillation) {
      const { share, temperature } = config.distillation;
      const scores = meanScores(options.teachers, variations, segments, preprocessing);
      loss.teacher = { scores, share, temperature };
    }
    const result = lossAndGradients(state.network, segments, labels, loss);
    const done = epochInPhase * steps + step;
    rate = learningRate(done, phase.epochs * steps, phase.warmUp, phase.peak, phase.last);
    state.optimizer.update(result.gradients, rate, phase.muon);
    if (state.average) average(state.average, state.network, config.averageDecay);
    sumLoss += result.loss;
    sumPenalty += result.penalty;
    largest = result.scores.reduce((most, s) => Math.max(most, Math.abs(s)), largest);
    seen.push(...labels.subarray(0, config.batch));
    named.push(...argmaxRows(result.scores, classes.length).subarray(0, config.batch));
    const perStep = (performance.now() - began) / 1000 / (step + 1);
    options.onStep?.({
      epoch: state.epoch + 1,
      epochs,
      step: step + 1,
      steps,
      loss: sumLoss / (step + 1),
      score: computeMetrics(seen, named, classes).cincScore,
      eta: perStep * (steps * (epochs - state.epoch) - step - 1),
    });
    await new Promise((resolve) => setImmediate(resolve)); // lets Ctrl-C be heard
    if (options.signal?.aborted) {
      throw new BlindbeatError(
        'INTERRUPTED',
        `Training stopped in epoch ${state.epoch + 1} of ${epochs}. --resume goes on after the last ` +
          'finished epoch.',
      );
    }
  }
  return {
    epoch: state.epoch + 1,
    phase: state.network.phase,
    seconds: (performance.now() - began) / 1000,
    learningRate: rate,
    loss: sumLoss / steps,
    penalty: sumPenalty / steps,
    trainScore: computeMetrics(seen, named, classes).cincScore,
    trainLargest: largest,
    validationScore: 0,
    validationCrossEntropy: 0,
    validationLargest: 0,
  };
}

/**
 * The mean of the teachers' scores [rows * classes] for a batch [rows * samples] that the preprocessing `own`
 * made. For a teacher with another one, rows that are no variation are 0: they have no label.
 */
function meanScores(
  teachers: Teacher[],
  variations: Variation[],
  segments: Float32Array,
  own: Preprocessing,
): Float32Array {
  const inputs = new Map([[JSON.stringify(own), segments]]);
  const all = teachers.map(({ network, preprocessing: p }) => {
    const key = JSON.stringify(p);
    const input = inputs.get(key) ?? new Float32Array(segments.length);
    if (!inputs.has(key)) {
      for (const [i, variation] of variations.entries()) input.set(variedInput(variation, p), i * p.samples);
      inputs.set(key, input);
    }
    return computeScores(network, input);
  });
  return all[0].map((_, i) => all.reduce((sum, scores) => sum + scores[i], 0) / all.length);
}

/** Marks a segment that has no class. */
const NO_LABEL = 255;

/** Hostile inputs, fresh in every epoch: the exact network is to stay in range on them too. */
function hostilePool(state: TrainingState, options: LoopOptions, random: Random): Float32Array[] {
  const { corpus, parts, preprocessing, config } = options;
  if (state.network.phase !== 'exact' || config.hostilePerBatch === 0) return [];
  const crop = () => {
    const record = corpus.records[parts.train[random.below(parts.train.length)]];
    const signal = Float64Array.from(corpus.signals.subarray(record.offset, record.offset + record.length));
    return cropSegment(signal, preprocessing).samples;
  };
  const pool = hostileInputs(preprocessing, crop(), random.word());
  for (let k = 0; k < 8; k++) pool.push(...disturbedRecords(preprocessing, crop(), random));
  return pool.map((input) => input.segment);
}

/** A hostile input with another sign, size and position. */
function varied(segment: Float32Array, random: Random): Float32Array {
  const shift = random.below(segment.length);
  const gain = (random.next() < 0.5 ? -1 : 1) * random.between(0.7, 1);
  return segment.map((_, i) => gain * segment[(i + shift) % segment.length]);
}

function lossOptions(
  config: TrainingConfig,
  phase: Phase,
  kind: Network['phase'],
  corpus: Corpus,
  parts: Parts,
): LossOptions {
  const { classes } = config.architecture;
  const counts = classes.map(() => 0);
  for (const i of parts.train) counts[classes.indexOf(corpus.records[i].label)]++;
  const raw = counts.map((n) => (n / parts.train.length) ** -config.classWeightExponent);
  const mean = raw.reduce((sum, w, c) => sum + w * counts[c], 0) / parts.train.length;
  return {
    classWeights: raw.map((w) => w / mean),
    labelSmoothing: config.labelSmoothing,
    scoreBound: kind === 'exact' ? config.scoreBound : undefined,
    scoreExcess: kind === 'exact' ? config.scoreExcess : undefined,
    control: phase.control,
  };
}

/** Fills in the validation figures of a finished epoch and keeps the best exact network. */
function judge(state: TrainingState, record: EpochRecord, options: LoopOptions): void {
  const exact = exactOf(state.network, state.seed, options);
  const current = judgeNetwork(exact, options);
  record.validationScore = current.score;
  record.validationCrossEntropy = current.crossEntropy;
  record.validationLargest = current.largest;
  // In the first phase a polynomial network escapes and a plain one is not yet the config's; ReLU has no
  // second.
  const early = options.config.phases.normalised.plain || state.network.architecture.activation !== 'relu';
  if (state.network.phase !== 'exact' && early) return;
  const candidates = [{ network: exact, ...current }];
  if (state.average) {
    const network = exactOf(state.average, state.seed, options);
    const averaged = judgeNetwork(network, options);
    record.averageScore = averaged.score;
    record.averageCrossEntropy = averaged.crossEntropy;
    record.averageLargest = averaged.largest;
    candidates.push({ network, ...averaged });
  }
  const gated = (options.gate ?? true) && state.network.architecture.activation !== 'relu';
  for (const { network, score, crossEntropy } of candidates) {
    // By cross-entropy: the score of some hundred records jumps by 0.02 from epoch to epoch, this does not.
    if (!(crossEntropy < (state.best?.crossEntropy ?? Number.POSITIVE_INFINITY))) continue;
    if (gated && !staysInRange(network, options)) continue;
    state.best = { network: copyOf(network), score, crossEntropy, epoch: state.epoch };
  }
}

/**
 * Whether a network would pass the gate of an export with a quarter to spare, on hostile inputs and the
 * records that it may know, both signs: one record in thousands escapes for long, and it need not be a
 * validation one.
 */
function staysInRange(network: Network, { corpus, parts, config, preprocessing: p }: LoopOptions): boolean {
  const known = rowsOf(corpus.segments, [...parts.train, ...parts.validation], p.samples);
  const tame = (segments: Float32Array) =>
    isInRange(measureRanges(network, segments), config.scoreLimit * 0.75);
  return tame(hostileSegments(corpus, p)) && tame(known) && tame(known.map((x) => -x));
}

interface Judgement {
  score: number;
  crossEntropy: number;
  largest: number;
}

function judgeNetwork(network: Network, options: LoopOptions): Judgement {
  const { corpus, parts, config } = options;
  const { samples, classes } = config.architecture;
  const scores = computeScores(network, rowsOf(corpus.segments, parts.validation, samples));
  const labels = parts.validation.map((i) => classes.indexOf(corpus.records[i].label));
  return {
    score: computeMetrics(labels, argmaxRows(scores, classes.length), classes).cincScore,
    crossEntropy: meanCrossEntropy(scores, labels, classes.length, config.scoreLimit),
    largest: scores.reduce((most, s) => Math.max(most, Math.abs(s)), 0),
  };
}

/** The exact network: itself, or with batch norm folded with statistics of some training records. */
function exactOf(network: Network, seed: number, { corpus, parts, config }: LoopOptions): Network {
  if (network.phase === 'exact') return network;
  const { samples } = config.architecture;
  const chosen = new Random(seed).shuffle(parts.train.slice()).slice(0, config.statisticsRecords);
  const segments = rowsOf(corpus.segments, chosen, samples);
  return foldBatchNorm(network, batchStatistics(network, segments, config.phases.normalised.control));
}

function average(target: Network, source: Network, decay: number): void {
  target.parameters.forEach((p, k) => {
    const values = source.parameters[k].values;
    for (let i = 0; i < values.length; i++) p.values[i] = decay * p.values[i] + (1 - decay) * values[i];
  });
}
