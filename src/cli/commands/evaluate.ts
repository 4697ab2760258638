import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { confusionChart } from '../../charts/confusion.ts';
import { drawSvg } from '../../charts/svg.ts';
import type { BackendName } from '../../ckks/evaluator/backend.ts';
import type { Plan } from '../../ckks/planner/plan.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { startServer } from '../../client/local-server.ts';
import { openDataset } from '../../dataset/open.ts';
import { type Comparison, compareWith, requireSameClasses } from '../../evaluation/compare.ts';
import { type EncryptedEvaluation, evaluateEncrypted } from '../../evaluation/encrypted.ts';
import { UNNAMED } from '../../evaluation/metrics.ts';
import { evaluateRecords, type Outcome } from '../../evaluation/outcome.ts';
import { worstRanges } from '../../evaluation/ranges.ts';
import { chooseRecords, drawRecords, PARTS, type RecordChoice } from '../../evaluation/records.ts';
import { summarise } from '../../evaluation/summary.ts';
import { formatCount, round } from '../../measure/format.ts';
import { machine } from '../../measure/machine.ts';
import { byClass, NOT_A_DEVICE } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import type { Model } from '../../model/model.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import { type BackendChoice, backendOptions, examples, modelOption, wholeNumber } from '../options.ts';
import {
  comparisonLines,
  encryptedLines,
  metricsLines,
  rangeLines,
  unnamedLines,
} from '../terminal/evaluation.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, jsonText, printable, printJson, printLines, warn } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { heading } from '../terminal/table.ts';

interface EvaluateOptions extends RecordChoice, BackendChoice {
  model: string;
  encrypted?: number;
  against?: string;
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
      'Measure how good a model is on recordings whose class is known: confusion matrix, F1, CinC score ' +
        'and accuracy with 95 % bootstrap intervals, and how far the values went. Each record takes the ' +
        'path that ships: one segment, one class or none, and none counts as a miss.',
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
    );
  backendOptions(command)
    .option('--against <name|dir>', 'compare with a second model on the same records')
    .option('--seed <n>', 'seed of the draws and of the bootstrap', wholeNumber(0), 1)
    .option('--json [file]', 'write one JSON object, with every record; without a file on standard output')
    .option('--svg <file>', 'draw the confusion matrix')
    .action((options: EvaluateOptions) => interruptible((signal) => evaluate(options, io, signal)));
  examples(command, [
    'blindbeat evaluate --data training2017.zip',
    'blindbeat evaluate --data training2017.zip --limit 20 --encrypted 5',
    'blindbeat evaluate --model models/mine --against deepcardio-deg2 \\\n' +
      '      --data training2017.zip --json mine.json --svg mine.svg',
    'blindbeat evaluate --data my-records/ --split all',
  ]);
}

async function evaluate(options: EvaluateOptions, io: Io, signal: AbortSignal): Promise<void> {
  const { seed, json, svg, backend, threads } = options;
  const jsonFile = typeof json === 'string' ? json : undefined;
  await requireOutputs([jsonFile, svg]);
  const model = await loadModel(options.model);
  const rival = options.against === undefined ? undefined : await loadModel(options.against);
  if (rival) requireSameClasses(model, rival);
  const dataset = openDataset(options.data);
  const { records, warnings } = await chooseRecords(dataset.records, options);
  warn(io, [
    ...(dataset.missing.length > 0
      ? [`${dataset.missing.length} records are labelled but not in ${options.data}: left out`]
      : []),
    ...warnings,
  ]);
  const watch = { start: progressOn(io, json === true), signal };
  // Before long work in the clear: the server refuses what cannot be encrypted.
  const opened = { model: options.model, name: model.name, outputs: 'scores', backend, threads } as const;
  using server = options.encrypted === undefined ? undefined : await startServer(opened, watch);

  const outcomes = await evaluateRecords(model, records, watch);
  const evaluation = summarise(outcomes, model.classes, seed);
  const comparison = rival && (await compareWith(rival, records, outcomes, { seed, ...watch }));
  const drawn = drawRecords(records, options.encrypted ?? 0, seed);
  const encrypted = server && (await evaluateEncrypted(model, drawn, outcomes, { server, seed, ...watch }));

  const ranges = worstRanges(model, outcomes);
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
    ...(rival && comparison && { against: againstJson(rival, comparison) }),
    ...(server && encrypted && { encrypted: encryptedJson(encrypted, model, server.plan, backend) }),
    command: commandOf(options),
    machine: machine(),
    results: outcomes.map((o) => resultOf(o, model, 6)),
  };
  const part = options.split === 'all' ? 'records' : `records of the ${options.split} part`;
  const what = `${formatCount(records.length)} ${part}`;
  const title = { model: model.name, records: what };
  await writeOutputs(
    [
      [jsonFile, () => jsonText(document)],
      [svg, () => drawSvg(confusionChart(evaluation, model.classes, title))],
    ],
    signal,
  );
  if (json === true) {
    printJson(io, document);
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    heading(model.name, `${what}, in the clear; seed ${seed}`, colours),
    '',
    ...metricsLines(evaluation, model.classes, colours),
    '',
    ...unnamedLines(outcomes, colours),
    ...rangeLines(ranges, model.scoreLimit, colours),
    '',
    ...(rival && comparison ? [...comparisonLines(comparison, rival, model, colours), ''] : []),
    ...(server && encrypted ? [...encryptedLines(encrypted, server.plan, backend, colours), ''] : []),
    `  ${colours.dim(NOT_A_DEVICE)}`,
    ...[jsonFile, svg].flatMap((file) => (file === undefined ? [] : [`  written: ${printable(file)}`])),
  ]);
}

function againstJson(rival: Model, { evaluation, difference }: Comparison): object {
  return { model: rival.name, ...evaluation, difference };
}

function encryptedJson(found: EncryptedEvaluation, model: Model, plan: Plan, backend: BackendName): object {
  const { parameters, planHash } = plan.manifest;
  return {
    ...found.evaluation,
    ...found.agreement,
    ...found.times,
    levels: parameters.primes.length - 1,
    operations: plan.operations,
    bytes: plan.bytes,
    setupMs: found.setupMs,
    peakMemory: found.peakMemory,
    backend,
    planHash,
    params: parametersJson(parameters),
    results: found.outcomes.map((outcome) => ({ ...resultOf(outcome, model, 3), ms: outcome.ms })),
  };
}

/** One record; of decrypted scores few digits are told, as everywhere. */
function resultOf({ id, label, named, scores }: Outcome, model: Model, digits: number): object {
  const rounded = scores && Array.from(scores, (s) => round(s, digits));
  return { id, label, class: model.classes[named] ?? null, scores: rounded && byClass(rounded, model) };
}

/** The command that measures the same again, with a stand-in for the data's place. */
function commandOf(options: EvaluateOptions): string {
  const { model, split, limit, encrypted, backend, threads, against, seed } = options;
  const parts = [`blindbeat evaluate --model ${model} --data PATH --split ${split} --seed ${seed}`];
  if (limit !== undefined) parts.push(`--limit ${limit}`);
  if (against !== undefined) parts.push(`--against ${against}`);
  if (encrypted !== undefined) parts.push(`--encrypted ${encrypted} --backend ${backend}`);
  if (encrypted !== undefined && threads !== undefined) parts.push(`--threads ${threads}`);
  return parts.join(' ');
}
