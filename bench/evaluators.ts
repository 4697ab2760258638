/**
 * What the evaluators of a service (src/service/evaluators) cost over bare worker processes, and which split of the
 * cores is best: latency and throughput for so many clients, each of which sends the next request when the reply to its
 * last one came.
 *
 *   node bench/evaluators.ts [--model NAME|DIR] [--splits 1x2,2x1] [--clients 1,8] [--keys 1]
 *     [--seconds 10 | --requests N] [--rounds 1] [--json] [--out FILE]
 *
 * 2x1 is two workers of one thread. `--keys` is the number of key pairs of the clients, in turn; bare workers have one.
 * What is compared is measured in turns. Every reply of the evaluators is decrypted and checked, after the time was
 * taken.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatMs } from '../src/measure/format.ts';
import { median } from '../src/measure/machine.ts';
import { openEvaluators } from '../src/service/evaluators/open.ts';
import { type CheckedJob, prepareJobs } from './evaluators/clients.ts';
import { describeData } from './probe/probe.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';
import { pairedRatio, percentile, turns } from './shared/statistics.ts';
import { closedLoop, type Load, type Stop, stopFrom } from './throughput/load.ts';
import { type Split, splitName, splitsFrom } from './throughput/split.ts';
import { prepareFiles, Workers } from './throughput/workers.ts';

/** Requests at a time until the code is warm, for each worker. */
const WARM_UP = 2;

type Side = 'bare' | 'evaluators';

interface Measured extends Load {
  split: Split;
  clients: number;
  side: Side;
}

interface Row extends Split {
  clients: number;
  side: Side;
  requestsPerSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  requests: number;
  /** Of the evaluators to the bare workers: medians of the rounds. */
  ratio?: { rate: number; p50: number };
}

interface Result extends Head {
  keys: number;
  stop: Stop;
  rounds: number;
  rows: Row[];
}

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      splits: { type: 'string' },
      clients: { type: 'string', default: '1,8' },
      keys: { type: 'string', default: '1' },
      seconds: { type: 'string', default: '10' },
      requests: { type: 'string' },
      rounds: { type: 'string', default: '1' },
      ...OUTPUT_OPTIONS,
    },
  });
  const { model } = values;
  const splits = splitsFrom(values.splits);
  const clients = values.clients.split(',').map((count) => whole('clients', count));
  const keys = whole('keys', values.keys);
  const rounds = whole('rounds', values.rounds);
  const stop = stopFrom(values);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    note('making keys');
    await mkdir(join(folder, 'bare'));
    using judge = await prepareFiles(model, join(folder, 'bare'));
    const most = Math.max(...clients, ...splits.map(({ workers }) => workers));
    using prepared = await prepareJobs(model, folder, most, keys);
    const measured: Measured[] = [];
    const sides: Side[] = ['bare', 'evaluators'];
    for (const { round, thing: split } of turns(splits, rounds)) {
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
        note(`round ${round + 1} of ${rounds}: ${side} ${splitName(split)}`);
        const loads =
          side === 'bare'
            ? await loadBare(model, split, clients, stop, { folder: join(folder, 'bare'), judge })
            : await loadEvaluators(model, split, clients, stop, prepared.jobs);
        for (const [k, load] of loads.entries()) measured.push({ split, clients: clients[k], side, ...load });
      }
    }
    const rows = splits.flatMap((split) =>
      clients.flatMap((count) => sides.map((side) => rowOf(split, count, side, measured))),
    );
    const result: Result = { ...head(describeData(model)), keys, stop, rounds, rows };
    await publish(result, values, () => show(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

async function loadBare(
  model: string,
  split: Split,
  clients: number[],
  stop: Stop,
  { folder, judge }: { folder: string; judge: { check(reply: Uint8Array): void } },
): Promise<Load[]> {
  using workers = await Workers.start(model, split, folder);
  for (const reply of workers.replies) judge.check(reply);
  const loads: Load[] = [];
  for (const count of clients) loads.push(await closedLoop(workers.all, count, stop));
  return loads;
}

async function loadEvaluators(
  model: string,
  split: Split,
  clients: number[],
  stop: Stop,
  jobs: CheckedJob[],
): Promise<Load[]> {
  await using evaluators = await openEvaluators({ models: [model], ...split });
  const replies: [CheckedJob, Uint8Array][] = [];
  const sender = (checked: CheckedJob) => async () => {
    replies.push([checked, (await evaluators.evaluate(checked.job)).reply]);
  };
  for (let k = 0; k < WARM_UP; k++) await Promise.all(jobs.map((checked) => sender(checked)()));
  const loads: Load[] = [];
  for (const count of clients) loads.push(await closedLoop(jobs.slice(0, count).map(sender), count, stop));
  for (const [{ check }, reply] of replies) check(reply);
  return loads;
}

function rowOf(split: Split, clients: number, side: Side, measured: Measured[]): Row {
  const of = (which: Side) =>
    measured.filter((m) => m.split === split && m.clients === clients && m.side === which);
  const loads = of(side);
  const latencies = loads.flatMap((load) => load.latencies);
  const rates = (list: Measured[]) => list.map(({ rate }) => rate);
  const medians = (list: Measured[]) => list.map((load) => median(load.latencies));
  const row: Row = {
    ...split,
    clients,
    side,
    requestsPerSecond: median(rates(loads)),
    p50Ms: median(latencies),
    p95Ms: percentile(latencies, 0.95),
    p99Ms: percentile(latencies, 0.99),
    requests: latencies.length,
  };
  if (side === 'bare') return row;
  const bare = of('bare');
  return {
    ...row,
    ratio: { rate: pairedRatio(rates(loads), rates(bare)), p50: pairedRatio(medians(loads), medians(bare)) },
  };
}

function show({ keys, rounds, rows }: Result): void {
  console.log(`rounds: ${rounds}; key pairs: ${keys}; workers x threads`);
  console.table(
    rows.map(({ ratio, ...row }) => ({
      split: splitName(row),
      clients: row.clients,
      side: row.side,
      'requests/s': Number(row.requestsPerSecond.toFixed(3)),
      '50 %': formatMs(row.p50Ms),
      '95 %': formatMs(row.p95Ms),
      '99 %': formatMs(row.p99Ms),
      requests: row.requests,
      'rate ratio': ratio && Number(ratio.rate.toFixed(3)),
      '50 % ratio': ratio && Number(ratio.p50.toFixed(3)),
    })),
  );
}
