/**
 * What the service costs over the evaluators behind it: latency and requests per second over HTTP against those of bare
 * worker processes, in turns, each under the load of 1 and 8 clients that send the next request when the reply to
 * their last came.
 *
 *   node bench/service.ts [--model NAME|DIR] [--split 1x2] [--clients 1,8] [--seconds 10] [--rounds 3] [--json]
 *     [--out FILE]
 *
 * Both have the same number of processes and threads, the one request and the one client's keys, loaded. The clients
 * are in this process, and take time of the same machine. Ratios are medians of those of neighbouring rounds; latencies
 * are of all requests.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BlindbeatError } from '../src/errors.ts';
import { formatMs } from '../src/measure/format.ts';
import { median } from '../src/measure/machine.ts';
import { describeData } from './probe/probe.ts';
import { Served } from './service/served.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';
import { pairedRatio, percentile, turns } from './shared/statistics.ts';
import { closedLoop, type Load, type Worker } from './throughput/load.ts';
import { parseSplit, type Split, splitName } from './throughput/split.ts';
import { prepareFiles, Workers } from './throughput/workers.ts';

const KINDS = ['bare', 'service'] as const;
type Kind = (typeof KINDS)[number];

export interface ServiceRow {
  kind: Kind;
  clients: number;
  requestsPerSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  requests: number;
}

export interface ServiceResult extends Head {
  split: Split;
  seconds: number;
  rounds: number;
  rows: ServiceRow[];
  /** Of the service by those of the bare evaluators. */
  ratios: { clients: number; requestsPerSecond: number; p50Ms: number }[];
}

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      split: { type: 'string', default: `1x${availableParallelism()}` },
      clients: { type: 'string', default: '1,8' },
      seconds: { type: 'string', default: '10' },
      rounds: { type: 'string', default: '3' },
      ...OUTPUT_OPTIONS,
    },
  });
  const split = parseSplit(values.split);
  if (!split)
    throw new BlindbeatError(
      'USAGE',
      `--split: expected workers x threads such as 1x2, got "${values.split}"`,
    );
  const clients = values.clients.split(',').map((count) => whole('clients', count));
  const seconds = whole('seconds', values.seconds);
  const rounds = whole('rounds', values.rounds);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    note('making keys');
    using judge = await prepareFiles(values.model, folder);
    const loads: Record<Kind, Load[][]> = { bare: [], service: [] };
    for (const { round, thing: kind } of turns(KINDS, rounds)) {
      note(`round ${round + 1} of ${rounds}: ${kind}, ${splitName(split)}`);
      const measure = kind === 'bare' ? measureBare : measureService;
      loads[kind].push(await measure(values.model, split, folder, judge, clients, seconds));
    }
    const of = (kind: Kind, k: number) => loads[kind].map((round) => round[k]);
    const result: ServiceResult = {
      ...head(describeData(values.model)),
      ...{ split, seconds, rounds },
      rows: clients.flatMap((count, k) => KINDS.map((kind) => rowOf(kind, count, of(kind, k)))),
      ratios: clients.map((count, k) => {
        const ratio = (figure: (load: Load) => number) =>
          pairedRatio(of('service', k).map(figure), of('bare', k).map(figure));
        return {
          clients: count,
          requestsPerSecond: ratio(({ rate }) => rate),
          p50Ms: ratio(({ latencies }) => median(latencies)),
        };
      }),
    };
    await publish(result, values, () => show(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

type Measure = (
  model: string,
  split: Split,
  folder: string,
  judge: { check(reply: Uint8Array): void },
  clients: number[],
  seconds: number,
) => Promise<Load[]>;

async function measureBare(
  ...[model, split, folder, judge, clients, seconds]: Parameters<Measure>
): Promise<Load[]> {
  using workers = await Workers.start(model, split, folder);
  for (const reply of workers.replies) judge.check(reply);
  const loads: Load[] = [];
  for (const count of clients) loads.push(await loaded(workers.all, count, seconds));
  return loads;
}

async function measureService(
  ...[model, split, folder, judge, clients, seconds]: Parameters<Measure>
): Promise<Load[]> {
  await using served = await Served.start(model, split, folder);
  judge.check(served.reply);
  const loads: Load[] = [];
  for (const count of clients) loads.push(await loaded(served.workers(count), count, seconds));
  return loads;
}

/** Both kinds by one rule, since who evaluates is not seen through HTTP: all replies over the time until the last. */
async function loaded(workers: readonly Worker[], clients: number, seconds: number): Promise<Load> {
  const start = performance.now();
  const { latencies } = await closedLoop(workers, clients, { seconds });
  return { rate: (1000 * latencies.length) / (performance.now() - start), latencies };
}

function rowOf(kind: Kind, clients: number, loads: Load[]): ServiceRow {
  const latencies = loads.flatMap((load) => load.latencies);
  return {
    ...{ kind, clients, requestsPerSecond: median(loads.map(({ rate }) => rate)) },
    ...{ p50Ms: median(latencies), p95Ms: percentile(latencies, 0.95), p99Ms: percentile(latencies, 0.99) },
    requests: latencies.length,
  };
}

function show({ split, rounds, rows, ratios }: ServiceResult): void {
  console.log(`${splitName(split)} workers x threads; rounds: ${rounds}`);
  console.table(
    rows.map(({ kind, clients, requestsPerSecond, p50Ms, p95Ms, p99Ms, requests }) => ({
      ...{ kind, clients, 'requests/s': Number(requestsPerSecond.toFixed(2)) },
      ...{ p50: formatMs(p50Ms), p95: formatMs(p95Ms), p99: formatMs(p99Ms), requests },
    })),
  );
  for (const { clients, requestsPerSecond, p50Ms } of ratios) {
    console.log(
      `${clients} clients: the service has ${(100 * requestsPerSecond).toFixed(1)} % of the requests per second, and ` +
        `${(100 * (p50Ms - 1)).toFixed(1)} % on the latency`,
    );
  }
}
