/**
 * Bytes of evaluation keys against time: the plans of several key budgets, measured in turns.
 *
 *   node bench/frontier.ts [--model NAME|DIR] [--budgets 24,32,40,48,56,64] [--threads all] [--rounds 3]
 *     [--runs 3] [--svg FILE] [--json] [--out FILE]
 *
 * Budgets are megabytes. Each round measures every plan, in processes of their own (probe.ts): one after the
 * other each part of the work, in turns the evaluations. All servers are open at once. A budget that no plan fits says so. The ratio is to the plan with the most keys.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { drawSvg } from '../src/charts/svg.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import { BlindbeatError } from '../src/errors.ts';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { loadModel } from '../src/model/files.ts';
import type { Model } from '../src/model/model.ts';
import { frontierChart } from './frontier/chart.ts';
import { type BudgetedPlan, type FrontierRow, frontierRows } from './frontier/rows.ts';
import { describeData, type Probe, probe } from './probe/probe.ts';
import { ROOT } from './shared/environment.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';

export interface FrontierResult extends Head {
  threads: number;
  kernels: string;
  rounds: number;
  runs: number;
  rows: FrontierRow[];
  /** Bytes that no plan was found for, and what the planner says. */
  unplanned: { budget: number; why: string }[];
}

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      budgets: { type: 'string', default: '24,32,40,48,56,64' },
      threads: { type: 'string' },
      rounds: { type: 'string', default: '3' },
      runs: { type: 'string', default: '3' },
      svg: { type: 'string' },
      ...OUTPUT_OPTIONS,
    },
  });
  const budgets = values.budgets.split(',').map((budget) => 1e6 * whole('budgets', budget));
  const threads = values.threads === undefined ? undefined : whole('threads', values.threads);
  const rounds = whole('rounds', values.rounds);
  const runs = whole('runs', values.runs);
  const { plans, unplanned } = planAll(await loadModel(values.model), budgets);
  if (plans.length === 0) throw new BlindbeatError('PLAN', `no budget has a plan\n${unplanned[0].why}`);
  const options = plans.map(({ budgets: [keyBudget] }) => ({
    root: ROOT,
    model: values.model,
    threads,
    compileOptions: { keyBudget },
  }));
  const measured: Probe[][] = [];
  for (let round = 0; round < rounds; round++) {
    note(`round ${round + 1} of ${rounds}`);
    measured.push(await probe(options, runs));
  }
  const { server } = measured[0][0];
  const result: FrontierResult = {
    ...head(describeData(values.model)),
    threads: server.threads,
    kernels: server.kernels,
    rounds,
    runs,
    rows: frontierRows(plans, measured),
    unplanned,
  };
  if (values.svg !== undefined)
    await writeFile(values.svg, await drawSvg(frontierChart(result.rows, title(result))));
  await publish(result, values, () => show(result));
});

/** The plan of every budget, each once. */
function planAll(model: Model, budgets: number[]) {
  const plans = new Map<string, BudgetedPlan>();
  const unplanned: FrontierResult['unplanned'] = [];
  for (const budget of budgets) {
    note(`planning within ${formatBytes(budget)}`);
    try {
      const { manifest, bytes } = compile(model, { keyBudget: budget }).plan;
      const { planHash } = manifest;
      const plan = plans.get(planHash) ?? { budgets: [], keyBytes: bytes.evaluationKeys, planHash };
      plan.budgets.push(budget);
      plans.set(planHash, plan);
    } catch (error) {
      if (!(error instanceof BlindbeatError && error.code === 'PLAN')) throw error;
      unplanned.push({ budget, why: error.message });
    }
  }
  return { plans: [...plans.values()], unplanned };
}

function title({ machine, threads, kernels, rounds, unplanned }: FrontierResult) {
  const none = unplanned.map(({ budget }) => formatBytes(budget)).join(', ');
  return {
    text: 'What a server and a client take, by bytes of evaluation keys',
    subtitle:
      `${machine.cpu}, threads: ${threads}, kernels ${kernels}, medians, rounds: ${rounds}, ${machine.date}` +
      (none === '' ? '' : `; no plan within ${none}`),
  };
}

function show({ threads, kernels, rounds, runs, rows, unplanned }: FrontierResult): void {
  console.log(
    `threads: ${threads}, kernels ${kernels}; medians; rounds: ${rounds}, evaluations in each: ${runs}`,
  );
  console.table(
    Object.fromEntries([
      ...unplanned.map(({ budget }) => [formatBytes(budget), { keys: 'no plan' }]),
      ...rows.map((row) => [
        row.budgets.map(formatBytes).join(', '),
        {
          keys: formatBytes(row.keyBytes),
          'evaluate, warm': formatMs(row.evaluateMs),
          ratio: row.ratio.toFixed(2),
          'of processor': formatMs(row.evaluateCpuMs),
          'ratio ': row.cpuRatio.toFixed(2),
          'load keys': formatMs(row.loadKeysMs),
          'make keys': formatMs(row.makeKeysMs),
          'loaded keys': formatBytes(row.loadedKeys),
        },
      ]),
    ]),
  );
  for (const { budget, why } of unplanned.slice(-1)) console.log(`${formatBytes(budget)}: ${why}`);
}
