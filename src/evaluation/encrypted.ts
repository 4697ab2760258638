import type { BackendName } from '../ckks/evaluator/backend.ts';
import { parametersJson } from '../ckks/ring/parameters.ts';
import { agreementLines, differenceLines, metricsLines } from '../cli/terminal/evaluation.ts';
import { type Colours, printable } from '../cli/terminal/io.ts';
import { describeMemory, describeParameters } from '../cli/terminal/plan.ts';
import { Session } from '../client/session.ts';
import type { DatasetRecord } from '../dataset/cinc2017.ts';
import { BlindbeatError } from '../errors.ts';
import { formatBytes, formatMs, round } from '../measure/format.ts';
import { median } from '../measure/machine.ts';
import type { StartTask } from '../measure/progress.ts';
import { peakMemory, roundMs } from '../measure/stages.ts';
import { byClass } from '../model/classes.ts';
import type { Model } from '../model/model.ts';
import {
  compareModels,
  compareOutcomes,
  drawRecords,
  evaluateRecord,
  nameClass,
  type Outcome,
  prepareRecord,
  refusal,
  summarise,
} from './evaluate.ts';

/** The parts of the split, and all records. */
export const PARTS = ['test', 'validation', 'train', 'all'] as const;

export interface RecordOptions {
  data: string;
  split: (typeof PARTS)[number];
  limit?: number;
  seed: number;
}

export interface EncryptionOptions {
  /** Name or folder of the model. */
  model: string;
  backend: BackendName;
  threads?: number;
  seed: number;
}

/** Who watches long work, and who can end it. */
interface Watch {
  start: StartTask;
  signal: AbortSignal;
}

/** The records of the asked part by id, no more than asked. */
export async function chooseRecords(
  all: DatasetRecord[],
  { data, split: part, limit, seed }: RecordOptions,
): Promise<{ records: DatasetRecord[]; warnings: string[] }> {
  // Loaded here: a list that other commands need not read.
  const [{ partFinder }, { default: split }] = await Promise.all([
    import('../dataset/split.ts'),
    import('../dataset/splits/cinc2017.json', { with: { type: 'json' } }),
  ]);
  const partOf = partFinder(split);
  // A name that the split does not know is in its train part only if the data set is the split's.
  const isSplit = all.some(({ id }) => partOf(id) !== 'train');
  const found = part === 'all' ? all : all.filter(({ id }) => isSplit && partOf(id) === part);
  if (found.length === 0) {
    throw new BlindbeatError(
      'USAGE',
      `${data} holds none of the records that src/dataset/splits/cinc2017.json counts as its ${part} part: it is no part of the CinC 2017 training set that the split is of. To evaluate all of its ${all.length} records: --split all`,
    );
  }
  const records = drawRecords(found, limit ?? found.length, seed);
  const trained = isSplit ? records.filter(({ id }) => partOf(id) === 'train').length : 0;
  const warnings =
    trained > 0
      ? [
          `${trained} of the records are in the split's train part: what a model was trained on says little of new records`,
        ]
      : [];
  return { records, warnings };
}

/** What the model makes of each record. */
export async function inTheClear(
  model: Model,
  records: DatasetRecord[],
  { start, signal }: Watch,
): Promise<Outcome[]> {
  using task = start(`${model.name} in the clear`, { total: records.length });
  const outcomes: Outcome[] = [];
  for (const record of records) {
    outcomes.push(evaluateRecord(model, record));
    task.update(outcomes.length);
    await new Promise((next) => setImmediate(next)); // lets Ctrl-C in
    signal.throwIfAborted();
  }
  return outcomes;
}

/** A second model's figures and the difference to the first's. */
export async function compare(
  rival: Model,
  model: Model,
  records: DatasetRecord[],
  outcomes: Outcome[],
  { seed, start, signal }: Watch & { seed: number },
) {
  const others = await inTheClear(rival, records, { start, signal });
  const evaluation = summarise(others, rival.classes, seed);
  const difference = compareModels(outcomes, others, model.classes, seed);
  return {
    difference,
    json: { model: rival.name, ...evaluation },
    lines: (colours: Colours) => [
      `  ${colours.bold(printable(rival.name))}  ${colours.dim('the same records')}`,
      '',
      ...metricsLines(evaluation, rival.classes, colours),
      '',
      ...differenceLines(difference, [model.name, rival.name], colours),
    ],
  };
}

/**
 * Some of the records whose clear outcomes are known once more: each encrypted, evaluated by the server's process and
 * decrypted.
 */
export async function underEncryption(
  model: Model,
  chosen: DatasetRecord[],
  outcomes: Outcome[],
  options: EncryptionOptions & Watch,
) {
  const { seed, backend, threads, start, signal } = options;
  const server = { outputs: 'scores', backend, threads } as const;
  using session = await Session.open({ model: options.model, name: model.name, server }, start, signal);
  const { manifest, stages, estimate } = session.plan;
  const total = estimate.serverMs * chosen.length;
  const units = chosen.flatMap(() => stages.map((stage) => stage.estimateMs));
  using task = start('encrypted', { total, estimateMs: total, units });
  const results: (Outcome & { ms?: number; threads?: number; peakMemory?: number })[] = [];
  for (const [i, record] of chosen.entries()) {
    const done = i * estimate.serverMs;
    try {
      const segment = prepareRecord(model, record);
      const { decrypted, steps, threads, peakMemory } = await session.classify(segment, (ms) =>
        task.update(done + ms),
      );
      results.push({ ...nameClass(model, record, decrypted.scores), ms: steps.server, threads, peakMemory });
    } catch (error) {
      results.push(refusal(record, error));
    }
    task.update(done + estimate.serverMs);
    signal.throwIfAborted();
  }
  const drawn = new Set(chosen.map(({ id }) => id));
  const clear = outcomes.filter(({ id }) => drawn.has(id));
  const evaluation = summarise(results, model.classes, seed);
  const agreement = compareOutcomes(clear, results, model.classes);
  const ms = results.flatMap((r) => r.ms ?? []);
  const times = {
    medianMs: roundMs(median(ms)),
    minMs: roundMs(Math.min(...ms)),
    threads: Math.max(...results.map((r) => r.threads ?? 0)),
  };
  const { primes } = manifest.parameters;
  const { start: _, ...setup } = session.steps;
  const cost = {
    levels: primes.length - 1,
    operations: session.plan.operations,
    bytes: session.plan.bytes,
    setupMs: Object.fromEntries(Object.entries(setup).map(([step, ms]) => [step, roundMs(ms)])),
    peakMemory: {
      client: peakMemory(),
      server: Math.max(...results.map((r) => r.peakMemory ?? 0)),
    },
  };
  return {
    json: {
      ...evaluation,
      ...agreement,
      ...times,
      ...cost,
      backend,
      planHash: manifest.planHash,
      params: parametersJson(manifest.parameters),
      results: results.map((r) => ({ ...resultOf(r, model, 3), ms: r.ms })),
    },
    lines: (colours: Colours) => [
      `  ${colours.bold('encrypted')}  ${colours.dim(`${chosen.length} of the records, backend ${backend}`)}`,
      `  ${colours.dim(describeParameters(manifest))}`,
      '',
      ...metricsLines(evaluation, model.classes, colours),
      '',
      ...agreementLines(agreement, times, colours),
      `  keys        ${formatBytes(cost.bytes.evaluationKeys)}, made in ${formatMs(session.steps.keygen)}; memory ${describeMemory(cost.peakMemory)}, at most`,
    ],
  };
}

/** One record for --json; of decrypted scores few digits are told, as everywhere. */
export function resultOf({ id, label, named, scores }: Outcome, model: Model, digits: number) {
  return {
    id,
    label,
    class: model.classes[named] ?? null,
    scores:
      scores &&
      byClass(
        Array.from(scores, (s) => round(s, digits)),
        model,
      ),
  };
}
