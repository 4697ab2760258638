/**
 * This release against one before it, in turns in one run: what the server and the client take, the bytes,
 * the classes.
 *
 *   node bench/baseline.ts [--rounds 3] [--runs 5] [--threads all] [--model NAME] [--commit COMMIT]
 *     [--json] [--out FILE]
 *
 * The commit is that of bench/baseline/release.json; its files go to runs/baseline, which git ignores. Each
 * round classifies another synthetic recording by the code of both, in processes of their own (probe.ts), which
 * do each part of the work one after the other, in every second round the other way round, and evaluate in
 * turns. A ratio is the median of the ratios of what was measured in turn: take ratios.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { RHYTHMS } from '../src/ecg/rhythm.ts';
import { checkOut } from './baseline/checkout.ts';
import { type Comparison, compare, type Pair } from './baseline/compare.ts';
import { describeData, probe } from './probe/probe.ts';
import { ROOT } from './shared/environment.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';
import { comparisonTable } from './shared/tables.ts';

export interface BaselineResult extends Head, Comparison {
  before: { name: string; commit: string };
  rounds: number;
  runs: number;
  threads: number;
  /** Which kernels computed. */
  kernels: { before: string; now: string };
}

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      rounds: { type: 'string', default: '3' },
      runs: { type: 'string', default: '5' },
      threads: { type: 'string' },
      commit: { type: 'string' },
      ...OUTPUT_OPTIONS,
    },
  });
  const rounds = whole('rounds', values.rounds);
  const runs = whole('runs', values.runs);
  const threads = values.threads === undefined ? undefined : whole('threads', values.threads);
  const before = await release(values.commit);
  note(`making ${before.name} ready, commit ${before.commit.slice(0, 7)}`);
  const roots = { before: await checkOut(before.commit), now: ROOT };
  const pairs: Pair[] = [];
  for (let round = 0; round < rounds; round++) {
    note(`round ${round + 1} of ${rounds}`);
    const options = { model: values.model, threads, rhythm: rhythmOf(round) };
    const order = round % 2 === 0 ? (['before', 'now'] as const) : (['now', 'before'] as const);
    const [first, second] = await probe(
      order.map((release) => ({ ...options, root: roots[release] })),
      runs,
    );
    pairs.push(round % 2 === 0 ? { before: first, now: second } : { before: second, now: first });
  }
  const { server } = pairs[0].now;
  const rhythms = RHYTHMS.slice(0, rounds);
  const result: BaselineResult = {
    ...head(describeData(values.model, rhythms)),
    before,
    rounds,
    runs,
    threads: server.threads,
    kernels: { before: pairs[0].before.server.kernels, now: server.kernels },
    ...compare(pairs),
  };
  await publish(result, values, () => show(result));
});

/** Another one in each round, so that classes are compared too. */
function rhythmOf(round: number) {
  return RHYTHMS[round % RHYTHMS.length];
}

async function release(commit: string | undefined): Promise<BaselineResult['before']> {
  if (commit !== undefined) return { name: commit, commit };
  return JSON.parse(await readFile(new URL('baseline/release.json', import.meta.url), 'utf8'));
}

function show(result: BaselineResult): void {
  const { before, kernels, rounds, runs, threads, sameClass, largestDifference } = result;
  console.log(
    `before: ${before.name}, commit ${before.commit.slice(0, 7)}, kernels ${kernels.before}; now: kernels ` +
      `${kernels.now}; threads: ${threads}; medians; rounds: ${rounds}, warm evaluations in each: ${runs}`,
  );
  console.table(comparisonTable(result.figures));
  console.table(comparisonTable(result.stages));
  console.log(
    `same class in ${sameClass} of ${rounds} rounds; largest difference of a score ${largestDifference.toExponential(1)}`,
  );
}
