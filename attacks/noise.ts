/**
 * What noise on disclosed scores costs and gives: how many classes of the test records it changes, and how
 * much easier it leaves finding the key.
 *
 *   node attacks/noise.ts --data PATH [--model NAME|DIR] [--seed 1] [--work runs]
 */
import { join } from 'node:path';
import evaluation from '../bench/results/evaluate-deepcardio-deg2.json' with { type: 'json' };
import { compile } from '../src/ckks/planner/compile.ts';
import { Random } from '../src/ecg/random.ts';
import { writeOutput } from '../src/files/output.ts';
import { machine } from '../src/measure/machine.ts';
import { DISCLOSURE } from '../src/model/disclose.ts';
import { loadBackend } from '../training/backend.ts';
import { fromModel } from '../training/convert.ts';
import { argmaxRows } from '../training/metrics.ts';
import { computeScores } from '../training/network.ts';
import { dataOptions, openTestPart } from './extraction/test-part.ts';
import { answersWithin, bitsLost, bitsPerAnswer, spareCoefficients } from './recovery/budget.ts';
import { primalBits } from './recovery/hardness.ts';

/** Error of a decrypted score over 200 encrypted records. */
const ERROR = { largest: evaluation.encrypted.maxError, rms: evaluation.encrypted.rmsError };
const NOISES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
/** Draws of the noise for every record. */
const DRAWS = 100;

const options = dataOptions();
const { seed } = options;
await loadBackend();
const { model, tested } = await openTestPart(options, options.model);
const scores = computeScores(fromModel(model), tested.segments);
const { parameters } = compile(model).plan.manifest;
const classes = model.classes.length;
const plain = argmaxRows(scores, classes);
const { answers } = DISCLOSURE;

const noises = NOISES.map((noise) => {
  const random = new Random(seed);
  let changed = 0;
  for (let d = 0; d < DRAWS; d++) {
    const named = argmaxRows(
      scores.map((s) => s + noise * random.normal()),
      classes,
    );
    named.forEach((c, i) => {
      if (c !== plain[i]) changed++;
    });
  }
  const lost = (error: number) => bitsLost(answers, { classes, error, noise });
  return {
    noise,
    classesChanged: changed / DRAWS / plain.length,
    bitsLost: { largestError: lost(ERROR.largest), rmsError: lost(ERROR.rms) },
  };
});
const outcomes = [0.05, 0.1, 0.25, 1].map((step) => {
  const bits = step === 1 ? Math.log2(classes + 1) : bitsPerAnswer(classes, step);
  return { step, bits, answers: answersWithin(parameters, bits) };
});
const content = {
  command: `node attacks/noise.ts --data PATH --model ${model.name} --seed ${seed}`,
  model: model.name,
  seed,
  machine: machine(),
  records: tested.count,
  answers,
  error: ERROR,
  noises,
  spareCoefficients: spareCoefficients(parameters),
  outcomes,
  // Of the key itself, of scores rounded to two decimals, and of what honest exact replies leave to be found.
  coreSvpBits: {
    key: primalBits({ n: parameters.n, log2q: parameters.logQP, error: 3.2 }),
    rounded: primalBits({ n: parameters.n, log2q: 30, error: 1500 }),
    left: [2048, 1024, 768, 512, 256].map((n) => ({
      unknown: n,
      replies: (parameters.n - n) / classes,
      bits: primalBits({ n, log2q: 30, error: 3.2 }),
    })),
  },
};
await writeOutput(
  join(import.meta.dirname, 'results', 'noise.json'),
  `${JSON.stringify(content, null, 2)}\n`,
);
console.log(JSON.stringify(content, null, 2));
