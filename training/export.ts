import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { cropSegment, type Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import { saveModel } from '../src/model/files.ts';
import type { Model } from '../src/model/model.ts';
import { calibrate } from './calibrate.ts';
import { modelCard } from './card.ts';
import type { EpochRecord, TrainingState } from './checkpoint.ts';
import { toModel } from './convert.ts';
import { type Corpus, type Parts, rowsOf, writeWhole } from './data.ts';
import { type Evaluation, evaluateModel } from './evaluate.ts';
import { hostileInputs } from './hostile.ts';
import { computeScores, type Network } from './network.ts';
import { checkRanges, measureRanges, type Ranges, unionOf } from './ranges.ts';

/** The content of metrics.json. */
export interface ModelMetrics {
  validation: Evaluation;
  test: Evaluation;
  ranges: {
    /** Over every record and its negative. */
    records: Ranges;
    hostile: Ranges;
  };
  /** What `calibrate` added to the dense layer's bias. */
  offsets: number[];
  scoreLimit: number;
  /** The epoch whose weights these are, of how many, and the hours that they took. */
  chosenEpoch: number;
  epochs: number;
  hours: number;
  backend: string;
  node: string;
  machine: string;
  /** What else a reader of the figures must know, in sentences; added by hand. */
  remarks?: string[];
}

export interface ExportOptions {
  state: TrainingState;
  corpus: Corpus;
  parts: Parts;
  preprocessing: Preprocessing;
  scoreLimit: number;
  /** Another limit of the range gate than its own. */
  preActivationLimit?: number;
  /** Folder of the model; its last part is the model's name. */
  out: string;
  name: string;
  command: string;
  backend: string;
  machine: string;
  onProgress?: (what: string, done: number, total: number) => void;
}

/**
 * Writes the best network of a training as a model folder: model.json, weights.bin, metrics.json, README.md and
 * training-log.csv. Nothing is written if the network leaves its range.
 *
 * @throws BlindbeatError MODEL if no epoch stayed in range, or the gate of `checkRanges` holds
 */
export async function exportModel(options: ExportOptions): Promise<{ model: Model; metrics: ModelMetrics }> {
  const { state, corpus, parts, preprocessing: p, scoreLimit, onProgress } = options;
  if (!state.best) {
    throw new BlindbeatError(
      'MODEL',
      'No epoch of the exact phase stayed in range, so there is nothing to export. Train longer, or raise the range penalty.',
    );
  }
  const { network, offsets } = calibrated(state.best.network, corpus, parts);
  onProgress?.('ranges', 0, 1);
  const ranges = rangesOf(network, corpus, p);
  const all = unionOf(ranges.records, ranges.hostile);
  checkRanges(all, scoreLimit, options.preActivationLimit);
  const draft = toModel(network, {
    name: options.name,
    preprocessing: p,
    scoreLimit,
    ranges: all.preActivations.map(([low, high]) => [outwards(low), outwards(high)]),
    provenance: {
      data: `PhysioNet/CinC Challenge 2017 training set (ODC-BY 1.0): ${parts.train.length} records to train on, ${parts.validation.length} to choose by, ${parts.test.length} to report`,
      seed: state.seed,
      command: options.command,
      createdAt: new Date().toISOString(),
      metrics: {},
    },
  });
  const evaluate = (part: 'validation' | 'test') =>
    evaluateModel(draft, corpus, parts[part], (done, total) => onProgress?.(part, done, total));
  const metrics: ModelMetrics = {
    validation: await evaluate('validation'),
    test: await evaluate('test'),
    ranges,
    offsets,
    scoreLimit,
    chosenEpoch: state.best.epoch,
    epochs: state.epoch,
    hours: state.history.reduce((sum, e) => sum + e.seconds, 0) / 3600,
    backend: options.backend,
    node: process.version,
    machine: options.machine,
  };
  const model: Model = {
    ...draft,
    provenance: {
      ...draft.provenance,
      metrics: {
        cincScore: metrics.test.cincScore,
        cincScoreLow: metrics.test.ci95[0],
        cincScoreHigh: metrics.test.ci95[1],
        accuracy: metrics.test.accuracy,
        validationCincScore: metrics.validation.cincScore,
        testRecords: metrics.test.records,
        largestScore: all.largestScore,
      },
    },
  };
  mkdirSync(options.out, { recursive: true });
  writeWhole(join(options.out, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
  writeWhole(join(options.out, 'README.md'), modelCard(model, metrics));
  writeWhole(join(options.out, 'training-log.csv'), logOf(state.history));
  await saveModel(model, options.out);
  return { model, metrics };
}

/** The network with its dense bias calibrated on the training and validation records. */
function calibrated(network: Network, corpus: Corpus, parts: Parts): { network: Network; offsets: number[] } {
  const { samples, classes } = network.architecture;
  const seen = [...parts.train, ...parts.validation];
  const labels = seen.map((i) => classes.indexOf(corpus.records[i].label));
  const offsets = calibrate(computeScores(network, rowsOf(corpus.segments, seen, samples)), labels, classes);
  const parameters = network.parameters.map((p) =>
    p.name === 'dense/bias' ? { ...p, values: p.values.map((b, c) => b + offsets[c]) } : p,
  );
  return { network: { ...network, parameters }, offsets };
}

/** Ranges over all records, both signs, and over hostile inputs made with the first record. */
function rangesOf(network: Network, corpus: Corpus, p: Preprocessing): ModelMetrics['ranges'] {
  const first = corpus.records[0];
  const record = Float64Array.from(corpus.signals.subarray(first.offset, first.offset + first.length));
  const hostile = hostileInputs(p, cropSegment(record, p).samples, 1);
  const segments = new Float32Array(hostile.length * p.samples);
  hostile.forEach((input, i) => {
    segments.set(input.segment, i * p.samples);
  });
  return {
    records: unionOf(
      measureRanges(network, corpus.segments),
      measureRanges(
        network,
        corpus.segments.map((x) => -x),
      ),
    ),
    hostile: measureRanges(network, segments),
  };
}

/** Away from 0 to two significant digits: the range is stated, not measured to the last bit. */
function outwards(x: number): number {
  if (x === 0) return 0;
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(x))) - 1);
  return Number((Math.sign(x) * Math.ceil(Math.abs(x) / unit) * unit).toPrecision(2));
}

function logOf(history: EpochRecord[]): string {
  const columns = [
    'epoch',
    'phase',
    'seconds',
    'learningRate',
    'loss',
    'penalty',
    'trainScore',
    'trainLargest',
    'validationScore',
    'validationCrossEntropy',
    'validationLargest',
    'averageScore',
    'averageCrossEntropy',
    'averageLargest',
  ] as const;
  const text = (value: number | string | undefined) =>
    typeof value === 'number' ? String(Number(value.toPrecision(5))) : (value ?? '');
  const rows = history.map((record) => columns.map((c) => text(record[c])).join(','));
  return `${[columns.join(','), ...rows].join('\n')}\n`;
}
