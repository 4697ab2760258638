import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keySwitches, multiplications, rotations } from '../../src/ckks/evaluator/operations.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { Plan } from '../../src/ckks/planner/plan.ts';
import { startServer } from '../../src/client/local-server.ts';
import type { DatasetRecord } from '../../src/dataset/cinc2017.ts';
import { BlindbeatError } from '../../src/errors.ts';
import type { Agreement } from '../../src/evaluation/agreement.ts';
import { compareModels, type Difference } from '../../src/evaluation/compare.ts';
import { byLocalServer, evaluateEncrypted } from '../../src/evaluation/encrypted.ts';
import { type Interval, UNNAMED } from '../../src/evaluation/metrics.ts';
import { evaluateRecords, type Outcome } from '../../src/evaluation/outcome.ts';
import { type Evaluation, summarise } from '../../src/evaluation/summary.ts';
import { writeOutput } from '../../src/files/output.ts';
import type { Watch } from '../../src/measure/progress.ts';
import { loadModel } from '../../src/model/files.ts';
import type { Model } from '../../src/model/model.ts';
import type { Cell } from './cells.ts';
import type { CellResult, FailedCell, Study } from './study.ts';

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
  difference: Difference;
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
  threads?: number;
  planHash: string;
}

/** The accuracy of a cell beside the baseline's on the same records. */
function clearRow(
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
    const planned = compile(model).plan;
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

interface RowsOptions extends Watch {
  /** Folder of the cells. */
  work: string;
  seed: number;
  threads?: number;
  /** The records that go through encryption, and the cells of which they do. */
  records: DatasetRecord[];
  isEncrypted(cell: Cell): boolean;
}

/**
 * Every cell with its figures, its plan and, if asked for, what encryption gave.
 *
 * @param baseline the ReLU network
 * @throws BlindbeatError FILE for a cell whose files are gone; the signal's reason
 */
export async function rowsOf(study: Study, baseline: Model, options: RowsOptions): Promise<DegreeRow[]> {
  const { work, seed, records, isEncrypted, start, signal } = options;
  const rows: DegreeRow[] = [];
  using task = start('plans', { total: study.cells.length });
  for (const cell of study.cells) {
    const row = clearRow(cell, study.baseline, baseline.classes, seed);
    if (!('failed' in cell)) {
      const { planned, ...figures } = planFigures(await loadModel(join(work, cell.model)));
      Object.assign(row, figures);
      if (planned && records.length > 0 && isEncrypted(cell))
        row.encrypted = await encryptedFigures(cell, planned.manifest.planHash, options);
    }
    rows.push(row);
    task.update(rows.length);
    await new Promise((next) => setImmediate(next)); // lets Ctrl-C in
    signal.throwIfAborted();
  }
  return rows;
}

/** Records under encryption, or what an earlier run measured of the same plan and records. */
async function encryptedFigures(
  cell: CellResult,
  planHash: string,
  { work, records, seed, threads, start, signal }: RowsOptions,
): Promise<EncryptedFigures> {
  const ids = records.map((r) => r.id);
  const settings = JSON.stringify([cell.key, planHash, ids, threads]);
  const hash = createHash('sha256').update(settings).digest('hex').slice(0, 12);
  const file = join(work, 'encrypted', `${cell.key}-${hash}.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as EncryptedFigures;
  const folder = join(work, cell.model);
  const watch = { start, signal };
  const model = await loadModel(folder);
  const outcomes = await evaluateRecords(model, records, watch);
  const opened = { model: folder, name: model.name, outputs: 'scores', backend: 'fast', threads } as const;
  using server = await startServer(opened, watch);
  const by = byLocalServer(server, watch);
  const { agreement, times } = await evaluateEncrypted(model, records, outcomes, { ...by, seed, ...watch });
  const { compared, sameClass, maxError, rmsError, precisionBits } = agreement;
  const figures: EncryptedFigures = {
    records: ids,
    compared,
    sameClass,
    maxError,
    rmsError,
    precisionBits,
    ...times,
    planHash,
  };
  await mkdir(join(work, 'encrypted'), { recursive: true });
  await writeOutput(file, JSON.stringify(figures));
  return figures;
}
