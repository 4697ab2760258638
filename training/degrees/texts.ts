import type { Interval } from '../../src/evaluation/metrics.ts';
import { machine } from '../../src/measure/machine.ts';
import type { Model } from '../../src/model/model.ts';
import { type Grid, type Mode, trainedMethod } from './cells.ts';
import type { ReportTexts } from './report.ts';
import type { DegreeRow } from './rows.ts';
import type { Study, StudyOptions } from './study.ts';

/** What `evaluate-degrees` is asked for. */
export interface DegreesOptions
  extends Grid,
    Pick<StudyOptions, 'data' | 'epochs' | 'seed' | 'config' | 'work'> {
  /** Name or folder of the ReLU network. */
  model: string;
  /** Records of the test part that go through encryption, for the cells of some modes. */
  encrypted?: number;
  encryptedModes: Mode[];
  trainingBackend?: StudyOptions['backend'];
  threads?: number;
}

/** How a report's figures were measured, and by what. */
export function textsOf(
  options: DegreesOptions,
  study: Study,
  rows: DegreeRow[],
  baseline: { model: Model; cincScore: number; ci95: Interval },
): ReportTexts {
  const { train, validation, test } = study.records;
  const { cpu, cores, node, date } = machine();
  const interval = baseline.ci95.map((x) => x.toFixed(3)).join(' to ');
  const score = `${baseline.cincScore.toFixed(3)} (95 %: ${interval})`;
  const difference = Math.max(...rows.map((r) => r.clear?.forwardDifference ?? 0));
  return {
    title: 'Accuracy against the degree of the polynomials',
    method: [
      `Data: PhysioNet/CinC 2017, ${train} records to train on, ${validation} to choose by, ${test} to ` +
        `report; every figure of accuracy is of all ${test} of the test part, computed by TensorFlow.js in ` +
        'float32. Three records of every cell went through `src/model/forward.ts` in float64 as well: ' +
        `their scores differ by ${difference.toExponential(1)} at most.`,
      `Baseline: \`${baseline.model.name}\`, ReLU and average pooling, CinC score ${score}.`,
      "`replace`: each block's ReLU becomes one polynomial for all channels, and nothing is trained. " +
        "Block after block the channels are scaled (and the next block's weights inversely, which a ReLU " +
        `network does not notice) until the pre-activations that ${study.replaced} training records cause ` +
        "just fit the same range; the polynomial's range is that and 5 % more at each end. Least squares " +
        'are weighted by the histogram of these pre-activations.',
      `\`finetune\`: from \`replace\` on, ${options.epochs} epochs. \`retrain\`: from random weights, ` +
        `${options.epochs} epochs in all, the last quarter (at least one) after batch norm is folded away; ` +
        'its polynomials are those for normal pre-activations of deviation 1. Both by the polynomials of ' +
        `${trainedMethod(options.methods)}, whose coefficients stay; the labels alone; pre-activations ` +
        'clipped to the range in training, not in what is measured, and a penalty from 80 % of the range ' +
        'on. The epoch is chosen by validation cross-entropy. The effort is the same for every cell.',
      `Refused: a score beyond the model's limit of ±${baseline.model.scoreLimit}, as the client refuses ` +
        'it; it counts as a miss and an error, as in `blindbeat evaluate`. Left range: a pre-activation ' +
        "was outside of its polynomial's range; the record counts all the same.",
      '95 %: percentile bootstrap over records, 2000 draws; differences paired. They answer for the ' +
        'choice of records, not for the luck of one training.',
      ...(options.encrypted === undefined
        ? []
        : [
            `Encrypted: ${options.encrypted} records of the test part drawn by the seed, by the path of ` +
              '`blindbeat evaluate --encrypted`, backend fast; compared with the same polynomial network ' +
              'in the clear. Bits: -log2 of the rms difference of the scores.',
          ]),
    ],
    made: [commandOf(options), `${cores} cores of ${cpu}, Node ${node}, ${date}`],
  };
}

/** The command that makes the report again, with a stand-in for the data's place. */
export function commandOf(options: DegreesOptions): string {
  const { degrees, trainedDegrees, methods, modes, encrypted, encryptedModes, threads } = options;
  return [
    'blindbeat evaluate-degrees --data PATH',
    `--model ${options.model} --degrees ${degrees.join()}`,
    ...(trainedDegrees === undefined ? [] : [`--trained-degrees ${trainedDegrees.join()}`]),
    `--methods ${methods.join()} --modes ${modes.join()} --epochs ${options.epochs}`,
    ...(options.config === 'deepcardio-relu-average' ? [] : [`--config ${options.config}`]),
    ...(encrypted === undefined
      ? []
      : [`--encrypted ${encrypted} --encrypted-modes ${encryptedModes.join()}`]),
    ...(threads === undefined ? [] : [`--threads ${threads}`]),
    `--seed ${options.seed}`,
  ].join(' ');
}
