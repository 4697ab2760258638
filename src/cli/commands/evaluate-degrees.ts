import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { CellMethod, Mode } from '../../../training/degrees/cells.ts';
import type { DegreesReport, DegreesSetting } from '../../../training/degrees/degrees.ts';
import type { DegreesOptions } from '../../../training/degrees/texts.ts';
import { readTextFile } from '../../files/input.ts';
import { makeFolder } from '../../files/output.ts';
import { NOT_A_DEVICE } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import { writeOutputs } from '../files/outputs.ts';
import { examples, jsonOption, listOption, oneOf, threadsOption, wholeNumber } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, jsonText, printable, printJson, printLines } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { heading, titledTable } from '../terminal/table.ts';
import { onDemand } from '../training.ts';

interface DegreesCommandOptions extends DegreesOptions {
  out: string;
  /** A file with Markdown. */
  remarks?: string;
  json?: boolean;
}

/** What is needed of training/. */
interface Training {
  measureDegrees(options: DegreesOptions, setting: DegreesSetting): Promise<DegreesReport>;
  streamReporter(stream: NodeJS.WriteStream): DegreesSetting['reporter'];
}

const MODES = ['replace', 'finetune', 'retrain'] as const satisfies Mode[];
const METHODS = ['chebyshev', 'least-squares', 'minimax'] as const satisfies CellMethod[];
const DEGREES = [2, 3, 4, 5, 7, 8, 11, 15, 16];
/** The largest degree of `approximate`. */
const MOST_DEGREE = 63;
const MOST_REMARK_BYTES = 1e6;
const FILES = {
  markdown: 'README.md',
  html: 'report.html',
  csv: 'cells.csv',
  json: 'cells.json',
  svg: 'accuracy-vs-degree.svg',
};

/**
 * `blindbeat evaluate-degrees`: what the degree of the polynomials costs, in accuracy and under encryption.
 */
export function addEvaluateDegrees(
  program: Command,
  io: Io,
  load: () => Promise<Training> = loadTraining,
): void {
  const command = program
    .command('evaluate-degrees')
    .summary('measure accuracy and cost against the degree of the polynomials')
    .description(
      'Put polynomials in place of the ReLUs of a trained network and measure the CinC score on the test ' +
        'part for every degree, method and mode, and what each costs under encryption. Modes: replace, no ' +
        'training; finetune, trained on from there; retrain, trained with the polynomials from random ' +
        'weights on. Finished cells are kept in the work folder, so that an interrupted run goes on. Needs ' +
        'TensorFlow.js.',
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
        oneOf(METHODS),
        METHODS,
      ),
    )
    .addOption(listOption('--modes <list>', 'what is done with the network', oneOf(MODES), MODES))
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
    .addOption(listOption('--encrypted-modes <list>', 'of these modes', oneOf(MODES), ['replace']))
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
    .action((options: DegreesCommandOptions) =>
      interruptible((signal) => evaluateDegrees(options, io, load, signal)),
    );
  examples(command, [
    'blindbeat evaluate-degrees --data training2017.zip --out degrees',
    'blindbeat evaluate-degrees --data training2017.zip --modes replace \\\n' +
      '      --degrees 4,8,16 --encrypted 5 --out degrees',
  ]);
}

async function evaluateDegrees(
  options: DegreesCommandOptions,
  io: Io,
  load: () => Promise<Training>,
  signal: AbortSignal,
): Promise<void> {
  const { out, seed } = options;
  await makeFolder(out);
  const remarks =
    options.remarks === undefined
      ? undefined
      : await readTextFile(options.remarks, 'remarks', MOST_REMARK_BYTES);
  const baseline = await loadModel(options.model);
  const { measureDegrees, streamReporter } = await load();
  const report = await measureDegrees(options, {
    baseline,
    remarks,
    picture: FILES.svg,
    reporter: streamReporter(io.stderr as NodeJS.WriteStream),
    start: progressOn(io, options.json),
    signal,
  });
  const { document, relu, records } = report;
  const texts = { ...report, json: jsonText(document) };
  const names = Object.keys(FILES) as (keyof typeof FILES)[];
  await writeOutputs(
    names.map((name) => [join(out, FILES[name]), () => texts[name]]),
    signal,
  );
  if (options.json) {
    printJson(io, document);
    return;
  }
  const colours = coloursOf(io.stdout);
  const what = `CinC score ${relu.cincScore.toFixed(3)}, ${records} records of the test part; seed ${seed}`;
  printLines(io.stdout, [
    '',
    heading(baseline.name, what, colours),
    '',
    ...report.tables.flatMap((t) => titledTable(t, colours)),
    '',
    `  ${colours.dim(NOT_A_DEVICE)}`,
    ...Object.values(FILES).map((name) => `  written: ${printable(join(out, name))}`),
  ]);
}

async function loadTraining(): Promise<Training> {
  const [{ measureDegrees }, { streamReporter }] = await onDemand(() =>
    Promise.all([import('../../../training/degrees/degrees.ts'), import('../../../training/reporter.ts')]),
  );
  return { measureDegrees, streamReporter };
}
