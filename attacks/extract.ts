/**
 * How well a client who asks often copies the network from its answers.
 *
 *   node attacks/extract.ts --data PATH [--model NAME|DIR] [--seed 1] [--work runs]
 *
 * The network that is asked computes in the clear: the same scores as encrypted, to 2e-4. Two students: a
 * network of the same architecture from random weights, and ridge regression on 70 numbers per ECG. Results
 * go to attacks/results/extraction.json after every student, and a run goes on from there; so delete that
 * file to begin anew.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawSvg } from '../src/charts/svg.ts';
import { BlindbeatError } from '../src/errors.ts';
import { writeOutput } from '../src/files/output.ts';
import { machine } from '../src/measure/machine.ts';
import { forward } from '../src/model/forward.ts';
import { loadBackend } from '../training/backend.ts';
import { loadConfig } from '../training/config.ts';
import { fromModel } from '../training/convert.ts';
import { argmaxRows } from '../training/metrics.ts';
import { computeScores } from '../training/network.ts';
import { type AnswerKind, targetsOf } from './extraction/answers.ts';
import { type Judgement, judge, type Result } from './extraction/judge.ts';
import { extractionChart } from './extraction/picture.ts';
import { drawQueries, firstOf } from './extraction/queries.ts';
import { allFeatures, ridgeScores } from './extraction/ridge.ts';
import { scoresOf, stepsFor, trainStudent } from './extraction/student.ts';
import { dataOptions, openTestPart } from './extraction/test-part.ts';

const RESULTS = join(import.meta.dirname, 'results', 'extraction.json');
const PICTURE = join(import.meta.dirname, '..', 'docs', 'extraction.svg');
const RIVAL = 'deepcardio-relu';
const COUNTS = [100, 1000, 10_000];
/** In the order in which they are trained; rounding to 2 decimals instead of 3 is tried at one size. */
const NETWORKS: [AnswerKind, number][] = [
  ...COUNTS.flatMap((n) =>
    (['scores-3', 'class', 'labels', 'probabilities'] as const).map((k): [AnswerKind, number] => [k, n]),
  ),
  ['scores-2', 1000],
];
const RIDGES = COUNTS.flatMap((n) =>
  (['scores-3', 'scores-2', 'probabilities', 'class', 'labels'] as const).map((k): [AnswerKind, number] => [
    k,
    n,
  ]),
);

const options = dataOptions();
const { seed } = options;
const started = performance.now();
const say = (line: string) => console.log(`${((performance.now() - started) / 1000).toFixed(0)} s  ${line}`);

const config = await loadConfig('deepcardio-deg2');
say((await loadBackend()).description);
const {
  model,
  corpus,
  parts,
  tested: judged,
} = await openTestPart(options, options.model, (done, total) => {
  if (done % 1000 === 0) say(`records read: ${done} of ${total}`);
});
const { classes, preprocessing } = model;
const queries = drawQueries(corpus, parts.train, model, config.augmentation, COUNTS.at(-1)!, seed);
const teacher = fromModel(model);
const answers = computeScores(teacher, queries.segments);
const wanted = computeScores(teacher, judged.segments);
const first = forward(model, judged.segments.subarray(0, model.samples)).scores;
say(
  `answers: ${queries.count}, judged on ${judged.count} records; float32 differs from float64 by ` +
    Math.max(...first.map((s, c) => Math.abs(s - wanted[c]))).toExponential(1),
);

const own = judge(wanted, wanted, judged.labels, classes);
const named = argmaxRows(wanted, classes.length);
const always = Math.max(...classes.map((_, c) => named.filter((k) => k === c).length)) / named.length;
const earlier = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {};
if ('results' in earlier && (earlier.model !== model.name || earlier.seed !== seed))
  throw new BlindbeatError('USAGE', `${RESULTS} is of another model or seed: remove it to begin anew`);
const done: Result[] = earlier.results ?? [];
let rival: ({ model: string } & Judgement) | undefined = earlier.rival;
const missing = (student: Result['student'], [kind, n]: [AnswerKind, number]) =>
  !done.some((r) => r.student === student && r.answers === kind && r.queries === n);

const ridges = RIDGES.filter((run) => missing('ridge', run));
const features = ridges.length > 0 && {
  queries: allFeatures(queries, preprocessing.seconds),
  judged: allFeatures(judged, preprocessing.seconds),
};
if (features) say('features');
for (const [kind, n] of ridges) {
  const began = performance.now();
  const targets = targetsOf(kind, answers.subarray(0, n * classes.length), queries.labels, classes.length);
  const known = features as { queries: number[][]; judged: number[][] };
  const scores = ridgeScores({ ...known, queries: known.queries.slice(0, n) }, targets, classes.length);
  await keep({ student: 'ridge', answers: kind, queries: n, ...judgement(scores), seconds: since(began) });
}
for (const [kind, n] of NETWORKS.filter((run) => missing('network', run))) {
  const began = performance.now();
  const steps = stepsFor(n);
  const asked = firstOf(queries, n);
  const targets = targetsOf(kind, answers.subarray(0, n * classes.length), asked.labels, classes.length);
  const onStep = (step: number, loss: number) => {
    if (step % 50 === 0) say(`${kind}, ${n} queries: step ${step} of ${steps}, loss ${loss.toFixed(3)}`);
  };
  const student = await trainStudent(asked, targets, { config, seed, steps, onStep });
  const scores = scoresOf(student, judged, config);
  const seconds = since(began);
  await keep({ student: 'network', answers: kind, queries: n, ...judgement(scores), steps, seconds });
}

rival ??= await judgeRival();
await save();

/** For comparison, a network that was trained to the end on the labels of all records, and taught none. */
async function judgeRival() {
  const { model: other, tested } = await openTestPart(options, RIVAL);
  const result = { model: RIVAL, ...judgement(computeScores(fromModel(other), tested.segments)) };
  say(`${RIVAL}: agreement ${result.agreement.toFixed(3)}`);
  return result;
}

function judgement(scores: Float32Array) {
  return judge(scores, wanted, judged.labels, classes);
}

function since(began: number): number {
  return Math.round((performance.now() - began) / 1000);
}

async function keep(result: Result): Promise<void> {
  done.push(result);
  const { student, answers: kind, queries: n, agreement, cincScore, scoreDifference } = result;
  say(
    `${student}, ${kind}, ${n} queries: agreement ${agreement.toFixed(3)}, CinC ${cincScore.toFixed(3)}, ` +
      `scores differ by ${scoreDifference.toFixed(2)}`,
  );
  await save();
}

async function save(): Promise<void> {
  const content = {
    command: `node attacks/extract.ts --data PATH --model ${model.name} --seed ${seed}`,
    model: model.name,
    seed,
    machine: machine(),
    records: judged.count,
    teacher: { cincScore: own.cincScore },
    always,
    rival,
    results: done,
  };
  await writeOutput(RESULTS, `${JSON.stringify(content, null, 2)}\n`);
  const references = [
    { name: 'always the most frequent class', agreement: always },
    ...(rival ? [{ name: `${RIVAL}: all labels, trained to the end`, agreement: rival.agreement }] : []),
  ];
  await writeOutput(PICTURE, await drawSvg(extractionChart(done, references, judged.count, model.name)));
}
