import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { BackendName } from '../../ckks/host.ts';
import { plan } from '../../ckks/plan.ts';
import type { DatasetRecord } from '../../ecg/cinc2017.ts';
import { openDataset } from '../../ecg/dataset.ts';
import { BlindbeatError } from '../../errors.ts';
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
  worstRanges,
} from '../../model/evaluate.ts';
import { loadModel } from '../../model/files.ts';
import { UNNAMED } from '../../model/metrics.ts';
import type { Model } from '../../model/model.ts';
import { confusionChart } from '../confusion-picture.ts';
import { describeParameters, paramsJson } from '../describe-plan.ts';
import {
  agreementLines,
  figure,
  intervalText,
  metricsLines,
  rangeLines,
  unnamedLines,
} from '../evaluation-tables.ts';
import { formatCount, round } from '../format.ts';
import { interruptible } from '../interrupt.ts';
import { type Colours, coloursOf, type Io, jsonText, printable, printJson, printLines, warn } from '../io.ts';
import { machine, median } from '../machine.ts';
import { backendOption, examples, modelOption, wholeNumber } from '../options.ts';
import { OutputFiles, requireWritable } from '../output-file.ts';
import { drawSvg } from '../picture.ts';
import { progressOn, type StartTask } from '../progress.ts';
import { byClass, NOT_A_DEVICE } from '../result.ts';
import { Session } from '../session.ts';
import { roundMs } from '../stages.ts';
import { table } from '../table.ts';

const PARTS = ['test', 'validation', 'train', 'all'] as const;

interface EvaluateOptions {
  model: string;
  data: string;
  split: (typeof PARTS)[number];
  limit?: number;
  encrypted?: number;
  backend: BackendName;
  against?: string;
  seed: number;
  /** A file; true for standard output. */
  json?: string | true;
  svg?: string;
}

/** `blindbeat evaluate`: how good a model is on labelled recordings, in the clear and encrypted. */
export function addEvaluate(program: Command, io: Io): void {
  const command = program
    .command('evaluate')
    .summary('measure a model on labelled recordings')
    .description(
      'Measure how good a model is on recordings whose class is known: confusion matrix, F1, CinC score and accuracy ' +
        'with 95 % bootstrap intervals, and how far the values went. Each record takes the path that ships: one segment, ' +
        'one class or none, and none counts as a miss.',
    )
    .addOption(modelOption())
    .requiredOption(
      '--data <path>',
      'training2017.zip, or a zip or folder laid out as it is, with its REFERENCE-v3.csv',
    )
    .addOption(
      new Option('--split <part>', 'part of the CinC 2017 split to take; all: every record, of any data set')
        .choices([...PARTS])
        .default('test'),
    )
    .option('--limit <k>', 'take k records only, drawn by the seed', wholeNumber(1))
    .option(
      '--encrypted <k>',
      'the same for k of the records under encryption, drawn by the seed',
      wholeNumber(1),
    )
    .addOption(backendOption())
    .option('--against <name|dir>', 'compare with a second model on the same records')
    .option('--seed <n>', 'seed of the draws and of the bootstrap', wholeNumber(0), 1)
    .option('--json [file]', 'write one JSON object, with every record; without a file on standard output')
    .option('--svg <file>', 'draw the confusion matrix')
    .action(async (options: EvaluateOptions) => {
      await interruptible((signal) => evaluate(options, io, signal));
    });
  examples(command, [
    'blindbeat evaluate --data training2017.zip',
    'blindbeat evaluate --data training2017.zip --limit 20 --encrypted 5',
    'blindbeat evaluate --model models/mine --against deepcardio-deg2 \\\n      --data training2017.zip --json mine.json --svg mine.svg',
    'blindbeat evaluate --data my-records/ --split all',
  ]);
}

async function evaluate(options: EvaluateOptions, io: Io, signal: AbortSignal): Promise<void> {
  const { seed, json, svg } = options;
  const jsonFile = typeof json === 'string' ? json : undefined;
  for (const file of [jsonFile, svg]) if (file !== undefined) await requireWritable(file);
  const model = await loadModel(options.model);
  const rival = options.against === undefined ? undefined : await loadRival(options.against, model);
  if (options.encrypted !== undefined) plan(model); // refuses what cannot be encrypted before long work
  const dataset = openDataset(options.data);
  const { records, warnings } = await chooseRecords(dataset.records, options);
  warn(io, [
    ...(dataset.missing.length > 0
      ? [`${dataset.missing.length} records are labelled but not in ${options.data}: left out`]
      : []),
    ...warnings,
  ]);
  const start = progressOn(io, json === true);

  const outcomes = await inTheClear(model, records, start, signal);
  const evaluation = summarise(outcomes, model.classes, seed);
  const against = rival && (await compare(rival, model, records, outcomes, seed, start, signal));
  const encrypted =
    options.encrypted && (await underEncryption(model, records, outcomes, options, start, signal));

  const ranges = worstRanges(model, outcomes);
  const what = `${formatCount(records.length)} ${options.split === 'all' ? 'records' : `records of the ${options.split} part`}`;
  const document = {
    model: model.name,
    data: basename(resolve(options.data)),
    split: options.split,
    seed,
    ...evaluation,
    notClassified: outcomes
      .filter((o) => o.named === UNNAMED)
      .map(({ id, label, reason }) => ({ id, label, reason })),
    ranges: { ...ranges, scoreLimit: model.scoreLimit },
    ...(against && { against: { ...against.json, difference: against.difference } }),
    ...(encrypted && { encrypted: encrypted.json }),
    command: commandOf(options),
    machine: machine(),
    results: outcomes.map((o) => resultOf(o, model, 6)),
  };
  await using files = new OutputFiles();
  if (jsonFile !== undefined) await files.write(jsonFile, jsonText(document), { signal });
  if (svg !== undefined) {
    const chart = confusionChart(evaluation, model.classes, { model: model.name, records: what });
    await files.write(svg, await drawSvg(chart), { signal });
  }
  await files.commit();
  if (json === true) {
    printJson(io, document);
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    `  ${colours.bold(printable(model.name))}  ${colours.dim(`${what}, in the clear; seed ${seed}`)}`,
    '',
    ...metricsLines(evaluation, model.classes, colours),
    '',
    ...unnamedLines(outcomes, colours),
    ...rangeLines(ranges, model.scoreLimit, colours),
    '',
    ...(against ? [...against.lines(colours), ''] : []),
    ...(encrypted ? [...encrypted.lines(colours), ''] : []),
    `  ${colours.dim(NOT_A_DEVICE)}`,
    ...[jsonFile, svg].flatMap((file) => (file === undefined ? [] : [`  written: ${printable(file)}`])),
  ]);
}

async function loadRival(name: string, model: Model): Promise<Model> {
  const rival = await loadModel(name);
  if (rival.classes.join() === model.classes.join()) return rival;
  throw new BlindbeatError(
    'MISMATCH',
    `${model.name} names ${model.classes.join(', ')}, but ${rival.name} names ${rival.classes.join(', ')}: choose models of the same classes`,
  );
}

/** The records of the asked part by id, no more than asked. */
async function chooseRecords(
  all: DatasetRecord[],
  { data, split: part, limit, seed }: EvaluateOptions,
): Promise<{ records: DatasetRecord[]; warnings: string[] }> {
  // Loaded here: a list that other commands need not read.
  const [{ partFinder }, { default: split }] = await Promise.all([
    import('../../../training/split.ts'),
    import('../../../training/splits/cinc2017.json', { with: { type: 'json' } }),
  ]);
  const partOf = partFinder(split);
  // A name that the split does not know is in its train part only if the data set is the split's.
  const isSplit = all.some(({ id }) => partOf(id) !== 'train');
  const found = part === 'all' ? all : all.filter(({ id }) => isSplit && partOf(id) === part);
  if (found.length === 0) {
    throw new BlindbeatError(
      'USAGE',
      `${data} holds none of the records that training/splits/cinc2017.json counts as its ${part} part: it is no part of the CinC 2017 training set that the split is of. To evaluate all of its ${all.length} records: --split all`,
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

async function inTheClear(
  model: Model,
  records: DatasetRecord[],
  start: StartTask,
  signal: AbortSignal,
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
async function compare(
  rival: Model,
  model: Model,
  records: DatasetRecord[],
  outcomes: Outcome[],
  seed: number,
  start: StartTask,
  signal: AbortSignal,
) {
  const others = await inTheClear(rival, records, start, signal);
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
      ...table(
        ['', '', '95 %', ''].map((title) => ({ title })),
        [
          [
            'difference',
            colours.bold(figure(difference.cincScore)),
            intervalText(difference.ci95),
            `CinC score, ${printable(model.name)} minus ${printable(rival.name)}, paired`,
          ],
        ],
        colours,
      ),
    ],
  };
}

/** Some of the records once more, each encrypted, evaluated by the server's process and decrypted. */
async function underEncryption(
  model: Model,
  records: DatasetRecord[],
  outcomes: Outcome[],
  options: EvaluateOptions,
  start: StartTask,
  signal: AbortSignal,
) {
  const { seed, backend } = options;
  const chosen = drawRecords(records, options.encrypted!, seed);
  using session = await Session.open(
    { model: options.model, name: model.name, outputs: 'scores', backend },
    start,
    signal,
  );
  const { manifest, stages, estimate } = session.plan;
  const total = estimate.serverMs * chosen.length;
  const units = chosen.flatMap(() => stages.map((stage) => stage.estimateMs));
  using task = start('encrypted', { total, estimateMs: total, units });
  const results: (Outcome & { ms?: number })[] = [];
  for (const [i, record] of chosen.entries()) {
    const done = i * estimate.serverMs;
    try {
      const segment = prepareRecord(model, record);
      const { decrypted, steps } = await session.classify(segment, (ms) => task.update(done + ms));
      results.push({ ...nameClass(model, record, decrypted.scores), ms: steps.server });
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
  const server = { medianMs: roundMs(median(ms)), minMs: roundMs(Math.min(...ms)) };
  return {
    json: {
      ...evaluation,
      ...agreement,
      ...server,
      backend,
      planHash: manifest.planHash,
      params: paramsJson(manifest),
      results: results.map((r) => ({ ...resultOf(r, model, 3), ms: r.ms })),
    },
    lines: (colours: Colours) => [
      `  ${colours.bold('encrypted')}  ${colours.dim(`${chosen.length} of the records, backend ${backend}`)}`,
      `  ${colours.dim(describeParameters(manifest))}`,
      '',
      ...metricsLines(evaluation, model.classes, colours),
      '',
      ...agreementLines(agreement, server, colours),
    ],
  };
}

/** One record for --json; of decrypted scores few digits are told, as everywhere. */
function resultOf({ id, label, named, scores }: Outcome, model: Model, digits: number) {
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

/** The command that measures the same again, with a stand-in for the data's place. */
function commandOf({ model, split, limit, encrypted, backend, against, seed }: EvaluateOptions): string {
  const parts = [`blindbeat evaluate --model ${model} --data PATH --split ${split} --seed ${seed}`];
  if (limit !== undefined) parts.push(`--limit ${limit}`);
  if (against !== undefined) parts.push(`--against ${against}`);
  if (encrypted !== undefined) parts.push(`--encrypted ${encrypted} --backend ${backend}`);
  return parts.join(' ');
}
