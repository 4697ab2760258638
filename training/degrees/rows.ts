import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keySwitches, multiplications, rotations } from '../../src/ckks/evaluator/operations.ts';
import { type Plan, plan } from '../../src/ckks/planner/plan.ts';
import type { DatasetRecord } from '../../src/dataset/cinc2017.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { inTheClear, underEncryption } from '../../src/evaluation/encrypted.ts';
import {
  type Agreement,
  compareModels,
  type Evaluation,
  type Outcome,
  summarise,
} from '../../src/evaluation/evaluate.ts';
import { type Interval, UNNAMED } from '../../src/evaluation/metrics.ts';
import { writeOutput } from '../../src/files/output.ts';
import type { StartTask } from '../../src/measure/progress.ts';
import { loadModel } from '../../src/model/files.ts';
import type { Model } from '../../src/model/model.ts';
import type { Cell, CellResult, FailedCell } from './study.ts';

/** One cell of the report. What it lacks has its reason in `problem`. */
export interface DegreeRow extends Cell {
  /** Lowest and highest end of the blocks' ranges. */
  range?: Interval;
  clear?: Clear;
  plan?: PlanFigures;
  encrypted?: EncryptedFigures;
  /** Why there is no network, or no plan. */
  problem?: string;
}

interface Clear extends Pick<Evaluation, 'cincScore' | 'ci95' | 'accuracy' | 'f1'> {
  records: number;
  /** CinC score minus the ReLU network's, paired. */
  difference: { cincScore: number; ci95: Interval };
  /** Records without a class: a score is beyond the model's limit. */
  refused: number;
  /** Records with a pre-activation outside of its polynomial's range. */
  leftRange: number;
  /** Largest difference of a score from `forward`, over three records. */
  forwardDifference: number;
  epochs: number;
  seconds: number;
}

interface PlanFigures {
  /** Rescalings from the input to the scores. */
  levels: number;
  n: number;
  logQP: number;
  security: number;
  rotations: number;
  products: number;
  relinearisations: number;
  keySwitches: number;
  evaluationKeyBytes: number;
  estimateMs: number;
}

interface EncryptedFigures
  extends Pick<Agreement, 'compared' | 'sameClass' | 'maxError' | 'rmsError' | 'precisionBits'> {
  records: string[];
  medianMs: number;
  minMs: number;
  threads: number;
  planHash: string;
}

/** The accuracy of a cell beside the baseline's on the same records. */
export function clearRow(
  cell: CellResult | FailedCell,
  baseline: Outcome[],
  classes: string[],
  seed: number,
): DegreeRow {
  const { mode, method, degree } = cell;
  if ('failed' in cell) return { mode, method, degree, problem: cell.failed };
  const { series, outcomes, left, forwardDifference, epochs, seconds } = cell;
  const { cincScore, ci95, accuracy, f1 } = summarise(outcomes, classes, seed);
  return {
    mode,
    method,
    degree,
    range: [Math.min(...series.map((s) => s.range[0])), Math.max(...series.map((s) => s.range[1]))],
    clear: {
      records: outcomes.length,
      cincScore,
      ci95,
      accuracy,
      f1,
      difference: compareModels(outcomes, baseline, classes, seed),
      refused: outcomes.filter((o) => o.named === UNNAMED).length,
      leftRange: left.length,
      forwardDifference,
      epochs,
      seconds,
    },
  };
}

/** The plan of a cell's network, or why there is none. */
export function planFigures(model: Model): Pick<DegreeRow, 'plan' | 'problem'> & { planned?: Plan } {
  try {
    const planned = plan(model);
    const { manifest, operations, stages, bytes, estimate } = planned;
    const { n, logQP, security } = manifest.parameters;
    return {
      planned,
      plan: {
        levels: stages[0].limbs[0] - stages[stages.length - 1].limbs[1],
        n,
        logQP,
        security,
        rotations: rotations(operations),
        products: multiplications(operations),
        relinearisations: operations.relinearise,
        keySwitches: keySwitches(operations),
        evaluationKeyBytes: bytes.evaluationKeys,
        estimateMs: estimate.serverMs,
      },
    };
  } catch (error) {
    if (!(error instanceof BlindbeatError) || error.code !== 'PLAN') throw error;
    return { problem: error.message };
  }
}

interface EncryptionSetting {
  /** Folder of the cells. */
  work: string;
  records: DatasetRecord[];
  seed: number;
  threads?: number;
  start: StartTask;
  signal: AbortSignal;
}

/**
 * Records under encryption by the path of `evaluate --encrypted`, or what an earlier run measured of the same plan and
 * records.
 */
export async function encryptedFigures(
  cell: CellResult,
  planHash: string,
  { work, records, seed, threads, start, signal }: EncryptionSetting,
): Promise<EncryptedFigures> {
  const ids = records.map((r) => r.id);
  const settings = JSON.stringify([cell.key, planHash, ids, threads]);
  const hash = createHash('sha256').update(settings).digest('hex').slice(0, 12);
  const file = join(work, 'encrypted', `${cell.key}-${hash}.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as EncryptedFigures;
  const folder = join(work, cell.model);
  const model = await loadModel(folder);
  const outcomes = await inTheClear(model, records, { start, signal });
  const { json } = await underEncryption(model, records, outcomes, {
    model: folder,
    backend: 'fast',
    threads,
    seed,
    start,
    signal,
  });
  const { compared, sameClass, maxError, rmsError, precisionBits, medianMs, minMs } = json;
  const figures: EncryptedFigures = {
    records: ids,
    compared,
    sameClass,
    maxError,
    rmsError,
    precisionBits,
    medianMs,
    minMs,
    threads: json.threads,
    planHash,
  };
  await mkdir(join(work, 'encrypted'), { recursive: true });
  await writeOutput(file, JSON.stringify(figures));
  return figures;
}
