import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CellMethod } from '../../../training/degrees/replace.ts';
import { degreesCsv, degreesHtml, degreesLines, degreesMarkdown } from '../../../training/degrees/report.ts';
import { clearRow, type DegreeRow, encryptedFigures, planFigures } from '../../../training/degrees/rows.ts';
import type { Cell, CellResult, Mode, Study, StudyOptions } from '../../../training/degrees/study.ts';
import { commandOf, type DegreesOptions, textsOf, trainedMethod } from '../../../training/degrees/texts.ts';
import { degreesChart } from '../../charts/degrees.ts';
import { drawSvg } from '../../charts/svg.ts';
import type { DatasetRecord } from '../../dataset/cinc2017.ts';
import { openDataset } from '../../dataset/open.ts';
import { BlindbeatError } from '../../errors.ts';
import { chooseRecords } from '../../evaluation/encrypted.ts';
import { drawRecords, summarise } from '../../evaluation/evaluate.ts';
import { makeFolder, OutputFiles } from '../../files/output.ts';
import { machine } from '../../measure/machine.ts';
import type { StartTask } from '../../measure/progress.ts';
import { NOT_A_DEVICE } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import type { Model } from '../../model/model.ts';
import { examples, jsonOption, threadsOption, wholeNumber } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, jsonText, printable, printJson, printLines } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { explainMissing } from './train.ts';

/** What is needed of training/, which imports TensorFlow.js and is therefore loaded only here, when it is used. */
interface Training {
  studyDegrees(options: StudyOptions): Promise<Study>;
  streamReporter(stream: NodeJS.WriteStream): StudyOptions['reporter'];
}

const MODES = ['replace', 'finetune', 'retrain'] as const satisfies Mode[];
const METHODS = ['chebyshev', 'least-squares', 'minimax'] as const satisfies CellMethod[];
const DEGREES = [2, 3, 4, 5, 7, 8, 11, 15, 16];
/** The largest degree of `approximate`. */
const MOST_DEGREE = 63;
const FILES = {
  markdown: 'README.md',
  html: 'report.html',
  csv: 'cells.csv',
  json: 'cells.json',
  svg: 'accuracy-vs-degree.svg',
};

/** `blindbeat evaluate-degrees`: what the degree of the polynomials costs, in accuracy and under encryption. */
export function addEvaluateDegrees(
  program: Command,
  io: Io,
  load: () => Promise<Training> = loadTraining,
): void {
  const command = program
    .command('evaluate-degrees')
    .summary('measure accuracy and cost against the degree of the polynomials')
    .description(
      'Put polynomials in place of the ReLUs of a trained network and measure the CinC score on the test part for every ' +
        'degree, method and mode, and what each costs under encryption. Modes: replace, no training; finetune, trained on ' +
        'from there; retrain, trained with the polynomials from random weights on. Finished cells are kept in the work ' +
        'folder, so that an interrupted run goes on. Needs TensorFlow.js.',
    )
    .requiredOption('--data <path>', 'training2017.zip, or a folder with the same records')
    .requiredOption('-o, --out <dir>', `folder of the report: ${Object.values(FILES).join(', ')}`)
    .option('-m, --model <name|dir>', 'the ReLU network, with average pooling', 'deepcardio-relu-average')
    .addOption(
      listOption('--degrees <list>', 'degrees of the polynomials', wholeNumber(2, MOST_DEGREE), DEGREES),
    )
    .addOption(
      listOption(
        '--trained-degrees <list>',
        'those of finetune and retrain (default: the same)',
        wholeNumber(2, MOST_DEGREE),
      ),
    )
    .addOption(
      listOption(
        '--methods <list>',
        'of replace; the others take least-squares, or the first',
        choice(METHODS),
        [...METHODS],
      ),
    )
    .addOption(listOption('--modes <list>', 'what is done with the network', choice(MODES), [...MODES]))
    .option('--epochs <n>', 'of every finetune and retrain', wholeNumber(1, 1000), 3)
    .option(
      '--config <name|file>',
      'training config with batch, loss and variation',
      'deepcardio-relu-average',
    )
    .option(
      '--encrypted <k>',
      'k records under encryption for every degree, drawn by the seed; by the method that is trained',
      wholeNumber(1),
    )
    .addOption(listOption('--encrypted-modes <list>', 'of these modes', choice(MODES), ['replace']))
    .addOption(threadsOption())
    .option('--remarks <file>', 'Markdown to include in the report as it is')
    .option('--seed <n>', 'seed of weights, order, draws and bootstrap', wholeNumber(0), 1)
    .option('--work <dir>', 'folder for finished cells, checkpoints and prepared records (250 MB)', 'runs')
    .addOption(
      new Option('--training-backend <name>', 'instead of the fastest that loads').choices([
        'tfjs-node',
        'wasm',
      ]),
    )
    .addOption(jsonOption())
    .action(async (options: DegreesOptions) => {
      await interruptible((signal) => evaluateDegrees(options, io, load, signal));
    });
  examples(command, [
    'blindbeat evaluate-degrees --data training2017.zip --out degrees',
    'blindbeat evaluate-degrees --data training2017.zip --modes replace --degrees 4,8,16 \\\n      --encrypted 5 --out degrees',
  ]);
}

async function evaluateDegrees(
  options: DegreesOptions,
  io: Io,
  load: () => Promise<Training>,
  signal: AbortSignal,
): Promise<void> {
  const { seed, out } = options;
  await makeFolder(out);
  const remarks = options.remarks === undefined ? undefined : await readRemarks(options.remarks);
  const baseline = await loadModel(options.model);
  const work = join(options.work, 'degrees');
  const { studyDegrees, streamReporter } = await load();
  const study = await studyDegrees({
    ...options,
    baseline,
    cells: cellsOf(options),
    work,
    cache: join(options.work, 'cache'),
    backend: options.trainingBackend,
    reporter: streamReporter(io.stderr as NodeJS.WriteStream),
    signal,
  });
  const start = progressOn(io, options.json);
  const rows = await rowsOf(study, baseline, { ...options, work, start, signal });

  const relu = summarise(study.baseline, baseline.classes, seed);
  const svg = await drawSvg(degreesChart(rows, { name: baseline.name, ...relu }, study.baseline.length));
  const texts = { ...textsOf(options, study, rows, { model: baseline, ...relu }), remarks };
  const document = {
    command: commandOf(options),
    machine: machine(),
    seed,
    records: study.records,
    epochs: options.epochs,
    baseline: { model: baseline.name, ...relu },
    cells: rows,
  };
  await using files = new OutputFiles();
  for (const [name, text] of [
    [FILES.markdown, degreesMarkdown(rows, texts, FILES.svg)],
    [FILES.html, degreesHtml(rows, texts, svg)],
    [FILES.csv, degreesCsv(rows)],
    [FILES.json, jsonText(document)],
    [FILES.svg, svg],
  ]) {
    await files.write(join(out, name), text, { signal });
  }
  await files.commit();
  if (options.json) {
    printJson(io, document);
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    `  ${colours.bold(printable(baseline.name))}  ${colours.dim(`CinC score ${relu.cincScore.toFixed(3)}, ${study.baseline.length} records of the test part; seed ${seed}`)}`,
    '',
    ...degreesLines(rows, colours),
    '',
    `  ${colours.dim(NOT_A_DEVICE)}`,
    ...Object.values(FILES).map((name) => `  written: ${printable(join(out, name))}`),
  ]);
}

/** Every cell with its figures, its plan and, if asked for, what encryption gave. */
async function rowsOf(
  study: Study,
  baseline: Model,
  options: DegreesOptions & { start: StartTask; signal: AbortSignal },
): Promise<DegreeRow[]> {
  const { work, seed, signal, start, threads, methods } = options;
  const records = options.encrypted === undefined ? [] : await drawn(options, options.encrypted);
  const rows: DegreeRow[] = [];
  using task = start('plans', { total: study.cells.length });
  for (const cell of study.cells) {
    const row = clearRow(cell, study.baseline, baseline.classes, seed);
    if (!('failed' in cell)) {
      const { planned, ...figures } = planFigures(await loadModel(join(work, cell.model)));
      Object.assign(row, figures);
      if (planned && records.length > 0 && isEncrypted(cell, options)) {
        row.encrypted = await encryptedFigures(cell, planned.manifest.planHash, {
          work,
          records,
          seed,
          threads,
          start,
          signal,
        });
      }
    }
    rows.push(row);
    task.update(rows.length);
    await new Promise((next) => setImmediate(next)); // lets Ctrl-C in
    signal.throwIfAborted();
  }
  return rows;

  function isEncrypted({ mode, method }: CellResult, { encryptedModes }: DegreesOptions): boolean {
    return encryptedModes.includes(mode) && method === trainedMethod(methods);
  }
}

async function drawn(options: DegreesOptions, count: number): Promise<DatasetRecord[]> {
  const { data, seed } = options;
  const { records } = await chooseRecords(openDataset(data).records, { data, split: 'test', seed });
  return drawRecords(records, count, seed);
}

/** Every method for `replace`; one for what is trained. */
function cellsOf({ degrees, trainedDegrees = degrees, methods, modes }: DegreesOptions): Cell[] {
  return modes.flatMap((mode) =>
    (mode === 'replace' ? methods : [trainedMethod(methods)]).flatMap((method) =>
      (mode === 'replace' ? degrees : trainedDegrees).map((degree) => ({ mode, method, degree })),
    ),
  );
}

async function readRemarks(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause) => {
    throw new BlindbeatError('FILE', `${path} cannot be read (${cause.code}).`, { cause });
  });
}

function listOption<T>(flags: string, what: string, parse: (text: string) => T, preset?: T[]): Option {
  const option = new Option(flags, what).argParser((text: string) => [
    ...new Set(text.split(',').map((part) => parse(part.trim()))),
  ]);
  return preset === undefined ? option : option.default(preset, preset.join());
}

function choice<T extends string>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((c) => c === text);
    if (found === undefined) throw new InvalidArgumentError(`Expected some of ${choices.join(', ')}.`);
    return found;
  };
}

async function loadTraining(): Promise<Training> {
  try {
    const [{ studyDegrees }, { streamReporter }] = await Promise.all([
      import('../../../training/degrees/study.ts'),
      import('../../../training/reporter.ts'),
    ]);
    return { studyDegrees, streamReporter };
  } catch (error) {
    throw explainMissing(error);
  }
}
