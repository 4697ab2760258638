import { join } from 'node:path';
import { csvFormatRows } from 'd3-dsv';
import { drawSvg } from '../src/charts/svg.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import { headroom } from '../src/ckks/planner/headroom.ts';
import type { Preprocessing } from '../src/ecg/preprocess.ts';
import { BlindbeatError } from '../src/errors.ts';
import { makeFolder, OutputFiles } from '../src/files/output.ts';
import { saveModel } from '../src/model/files.ts';
import type { Model } from '../src/model/model.ts';
import { type Ascent, ascend } from './ascent.ts';
import { modelCard } from './card.ts';
import type { EpochRecord, TrainingState } from './checkpoint.ts';
import { toModel } from './convert.ts';
import { trainingCurves } from './curves.ts';
import { type Corpus, type Parts, rowsOf } from './data.ts';
import { evaluateModel } from './evaluate.ts';
import { hostileSegments } from './hostile.ts';
import type { Margins, ModelMetrics } from './model-metrics.ts';
import type { Network } from './network.ts';
import { checkRanges, measureRanges, unionOf } from './ranges.ts';

/** The gate: no factor may be smaller. */
const LEAST_MARGIN = 16;

/** What an export is made of. */
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
 * Writes the best network of a training as a model folder: model.json, weights.bin, metrics.json, README.md,
 * training-log.csv and training.svg. Nothing is written if a polynomial network leaves its range.
 *
 * @throws BlindbeatError MODEL if no epoch stayed in range, or the gates of `checkRanges` and `marginsOf`
 * hold; FILE if the folder cannot be written
 */
export async function exportModel(options: ExportOptions): Promise<{ model: Model; metrics: ModelMetrics }> {
  const { state, corpus, parts, preprocessing: p, scoreLimit, onProgress } = options;
  if (!state.best) {
    throw new BlindbeatError(
      'MODEL',
      'No epoch of the exact phase stayed in range, so there is nothing to export. Train longer, or ' +
        'raise the range penalty.',
    );
  }
  const { network } = state.best;
  onProgress?.('ranges', 0, 1);
  const ranges = rangesOf(network, corpus, p);
  const all = unionOf(ranges.records, ranges.hostile);
  const polynomial = network.architecture.activation !== 'relu';
  if (polynomial) checkRanges(all, scoreLimit, options.preActivationLimit);
  const draft = toModel(network, {
    name: options.name,
    preprocessing: p,
    scoreLimit,
    ranges: all.preActivations.map(([low, high]) => [outwards(low), outwards(high)]),
    provenance: {
      data:
        'PhysioNet/CinC Challenge 2017 training set (ODC-BY 1.0): ' +
        `${parts.train.length} records to train on, ` +
        `${parts.validation.length} to choose by, ${parts.test.length} to report`,
      seed: state.seed,
      command: options.command,
      createdAt: new Date().toISOString(),
      metrics: {},
    },
  });
  if (polynomial) {
    ranges.margins = marginsOf(draft, all.largestScore);
    ranges.ascent = ascentOf(network, corpus, p);
  }
  const evaluate = (part: 'validation' | 'test') =>
    evaluateModel(draft, corpus, parts[part], (done, total) => onProgress?.(part, done, total));
  const metrics: ModelMetrics = {
    validation: await evaluate('validation'),
    test: await evaluate('test'),
    ranges,
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
  const curves = await drawSvg(trainingCurves(state.history, options.name, state.best.epoch));
  await makeFolder(options.out);
  await using files = new OutputFiles();
  await files.write(join(options.out, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
  await files.write(join(options.out, 'README.md'), modelCard(model, metrics));
  await files.write(join(options.out, 'training-log.csv'), logOf(state.history));
  await files.write(join(options.out, 'training.svg'), curves);
  await files.commit();
  await saveModel(model, options.out);
  return { model, metrics };
}

/** Gradient ascent from the first records and from hostile inputs of all kinds. */
function ascentOf(network: Network, corpus: Corpus, p: Preprocessing): Ascent {
  const { starts, steps } = ASCENT;
  const hostile = hostileSegments(corpus, p);
  const kinds = hostile.length / p.samples;
  const chosen = Array.from({ length: starts }, (_, k) => Math.floor((k * kinds) / starts));
  const segments = new Float32Array(2 * starts * p.samples);
  segments.set(corpus.segments.subarray(0, starts * p.samples));
  segments.set(rowsOf(hostile, chosen, p.samples), starts * p.samples);
  return ascend(network, segments, p, steps);
}

/** Gradient ascent starts from so many records and as many hostile inputs. */
const ASCENT = { starts: 16, steps: 40 };

/**
 * The plan's room for the model's values.
 *
 * @throws BlindbeatError MODEL if a margin is below LEAST_MARGIN
 */
function marginsOf(model: Model, largestScore: number): Margins {
  const { circuit } = compile(model);
  const margins: Margins = {
    scores: circuit.scoreBound / largestScore,
    squares: headroom(circuit)
      .filter(({ stage }) => stage.kind === 'square')
      .map(({ bits, room }) => 2 ** (room - bits)),
  };
  const least = Math.min(margins.scores, ...margins.squares);
  if (least < LEAST_MARGIN) {
    throw new BlindbeatError(
      'MODEL',
      `The largest values come to 1/${least.toPrecision(3)} of what wraps around under encryption, at ` +
        `most 1/${LEAST_MARGIN} is allowed, so the network is not exported. Train longer in the exact ` +
        'phase, or raise the range penalty.',
    );
  }
  return margins;
}

/** Ranges over all records, both signs, and over hostile inputs. */
function rangesOf(network: Network, corpus: Corpus, p: Preprocessing): ModelMetrics['ranges'] {
  return {
    records: unionOf(
      measureRanges(network, corpus.segments),
      measureRanges(
        network,
        corpus.segments.map((x) => -x),
      ),
    ),
    hostile: measureRanges(network, hostileSegments(corpus, p)),
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
  const rows = history.map((record) => columns.map((c) => text(record[c])));
  return `${csvFormatRows([[...columns], ...rows])}\n`;
}
