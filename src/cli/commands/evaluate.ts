import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { confusionChart } from '../../charts/confusion.ts';
import { drawSvg } from '../../charts/svg.ts';
import { plan } from '../../ckks/planner/plan.ts';
import { openDataset } from '../../dataset/open.ts';
import { BlindbeatError } from '../../errors.ts';
import {
  chooseRecords,
  compare,
  type EncryptionOptions,
  inTheClear,
  PARTS,
  type RecordOptions,
  resultOf,
  underEncryption,
} from '../../evaluation/encrypted.ts';
import { drawRecords, summarise, worstRanges } from '../../evaluation/evaluate.ts';
import { UNNAMED } from '../../evaluation/metrics.ts';
import { OutputFiles, requireWritable } from '../../files/output.ts';
import { formatCount } from '../../measure/format.ts';
import { machine } from '../../measure/machine.ts';
import { NOT_A_DEVICE } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import type { Model } from '../../model/model.ts';
import { backendOption, examples, modelOption, threadsOption, wholeNumber } from '../options.ts';
import { metricsLines, rangeLines, unnamedLines } from '../terminal/evaluation.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, jsonText, printable, printJson, printLines, warn } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';

interface EvaluateOptions extends RecordOptions, EncryptionOptions {
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
    .addOption(threadsOption())
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

  const outcomes = await inTheClear(model, records, { start, signal });
  const evaluation = summarise(outcomes, model.classes, seed);
  const against = rival && (await compare(rival, model, records, outcomes, { seed, start, signal }));
  const encrypted =
    options.encrypted !== undefined &&
    (await underEncryption(model, drawRecords(records, options.encrypted, seed), outcomes, {
      ...options,
      start,
      signal,
    }));

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
