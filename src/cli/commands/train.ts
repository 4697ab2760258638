import { type Command, Option } from 'commander';
import type { TrainOptions, TrainResult } from '../../../training/train.ts';
import { examples, jsonOption, wholeNumber } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { type Io, printJson, printLines } from '../terminal/io.ts';
import { onDemand } from '../training.ts';

type TrainCommandOptions = Omit<TrainOptions, 'reporter' | 'signal'> & { json?: boolean };

/** What is needed of training/. */
interface Training {
  train(options: TrainOptions): Promise<TrainResult>;
  streamReporter(stream: NodeJS.WriteStream): TrainOptions['reporter'];
}

/** `blindbeat train`: a model from recordings. */
export function addTrain(program: Command, io: Io, load: () => Promise<Training> = loadTraining): void {
  const command = program
    .command('train')
    .summary('train a model on the CinC 2017 recordings')
    .description(
      'Train a network on the PhysioNet/CinC 2017 recordings and export it as a model. A checkpoint is ' +
        'written after every epoch, so that an interrupted training can go on. Needs TensorFlow.js.',
    )
    .requiredOption('--data <path>', 'training2017.zip, or a folder with the same records')
    .requiredOption('-o, --out <dir>', "folder of the model to write; its last part is the model's name")
    .option('--config <name|file>', 'a config of training/configs, or a .ts or .json file', 'deepcardio-deg2')
    .option('--resume', 'go on from the last checkpoint of the same config, seed and output')
    .option('--init <name|dir>', 'start from the weights of a model')
    .option('--teachers <models...>', "models to learn from, instead of training the config's teachers first")
    .option('--no-teachers', 'learn from the labels alone')
    .option('--epochs <n>', "instead of the config's number", wholeNumber(1, 100_000))
    .option('--seed <n>', 'seed of weights, order and augmentation', wholeNumber(0), 1)
    .option('--work <dir>', 'folder for checkpoints and prepared records (250 MB)', 'runs')
    .addOption(
      new Option('--backend <name>', 'instead of the fastest that loads').choices(['tfjs-node', 'wasm']),
    )
    .addOption(jsonOption())
    .action(async ({ json, ...options }: TrainCommandOptions) => {
      const { train, streamReporter } = await load();
      const reporter = streamReporter(io.stderr as NodeJS.WriteStream);
      const { model, metrics } = await interruptible((signal) => train({ ...options, reporter, signal }));
      if (json) printJson(io, { model: model.name, path: options.out, metrics });
      else printLines(io.stdout, [`${options.out}: trained. Try: blindbeat classify --model ${options.out}`]);
    });
  examples(command, [
    'blindbeat train --data training2017.zip --out models/mine',
    'blindbeat train --data training2017.zip --out models/mine --resume',
    'blindbeat train --data records/ --epochs 5 --seed 2 --out models/short',
  ]);
}

async function loadTraining(): Promise<Training> {
  const [{ train }, { streamReporter }] = await onDemand(() =>
    Promise.all([import('../../../training/train.ts'), import('../../../training/reporter.ts')]),
  );
  return { train, streamReporter };
}
