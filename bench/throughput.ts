/**
 * Requests per second of one machine by number of worker processes and threads of each, for 1, 2 and 4
 * waiting requests: so many clients, each of which sends the next request when the reply to its last came.
 *
 *   node bench/throughput.ts [--model NAME|DIR] [--splits 1x1,1x2,2x1] [--waiting 1,2,4]
 *     [--seconds 10 | --requests N] [--rounds 1] [--json] [--out FILE]
 *
 * 2x1 is two workers of one thread. Every worker is a process with a server and the client's keys of its own;
 * a request that finds none free waits. Latency is from sending to reply. With more rounds the splits are
 * measured in turns; rates are the rounds' medians, latencies those of all requests.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { median } from '../src/measure/machine.ts';
import { describeData } from './probe/probe.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';
import { percentile, turns } from './shared/statistics.ts';
import { closedLoop, type Stop, stopFrom } from './throughput/load.ts';
import { type Split, splitName, splitsFrom } from './throughput/split.ts';
import { prepareFiles, Workers } from './throughput/workers.ts';

export interface ThroughputRow extends Split {
  /** Requests that are on their way or waiting at every time. */
  waiting: number;
  requestsPerSecond: number;
  medianMs: number;
  p95Ms: number;
  requests: number;
}

export interface ThroughputResult extends Head {
  kernels: string;
  stop: Stop;
  rounds: number;
  rows: ThroughputRow[];
  /** The peaks of all workers of a split together, in bytes, and until all were ready to answer, in ms. */
  splits: (Split & { memory: number; startMs: number })[];
}

/** What was measured of one split in one round. */
interface Measured {
  split: Split;
  memory: number;
  startMs: number;
  loads: { waiting: number; rate: number; latencies: number[] }[];
}

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      splits: { type: 'string' },
      waiting: { type: 'string', default: '1,2,4' },
      seconds: { type: 'string', default: '10' },
      requests: { type: 'string' },
      rounds: { type: 'string', default: '1' },
      ...OUTPUT_OPTIONS,
    },
  });
  const splits = splitsFrom(values.splits);
  const waiting = values.waiting.split(',').map((count) => whole('waiting', count));
  const rounds = whole('rounds', values.rounds);
  const stop = stopFrom(values);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    note('making keys');
    using judge = await prepareFiles(values.model, folder);
    const measured: Measured[] = [];
    let kernels = '';
    for (const { round, thing: split } of turns(splits, rounds)) {
      note(`round ${round + 1} of ${rounds}: ${splitName(split)}`);
      using workers = await Workers.start(values.model, split, folder);
      for (const reply of workers.replies) judge.check(reply);
      const loads: Measured['loads'] = [];
      for (const count of waiting)
        loads.push({ waiting: count, ...(await closedLoop(workers.all, count, stop)) });
      measured.push({ split, memory: workers.memory, startMs: workers.startMs, loads });
      kernels = workers.kernels;
    }
    const result: ThroughputResult = {
      ...head(describeData(values.model)),
      kernels,
      stop,
      rounds,
      rows: splits.flatMap((split) => waiting.map((count) => rowOf(split, count, measured))),
      splits: splits.map((split) => {
        const rounds = measured.filter((of) => of.split === split);
        const memory = Math.max(...rounds.map((of) => of.memory));
        return { ...split, memory, startMs: median(rounds.map((of) => of.startMs)) };
      }),
    };
    await publish(result, values, () => show(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function rowOf(split: Split, waiting: number, measured: Measured[]): ThroughputRow {
  const loads = measured
    .filter((of) => of.split === split)
    .flatMap((of) => of.loads.filter((load) => load.waiting === waiting));
  const latencies = loads.flatMap((load) => load.latencies);
  return {
    ...split,
    waiting,
    requestsPerSecond: median(loads.map(({ rate }) => rate)),
    medianMs: median(latencies),
    p95Ms: percentile(latencies, 0.95),
    requests: latencies.length,
  };
}

function show({ kernels, rounds, rows, splits }: ThroughputResult): void {
  console.log(`kernels ${kernels}; rounds: ${rounds}; workers x threads`);
  console.table(
    rows.map((row) => ({
      split: splitName(row),
      waiting: row.waiting,
      'requests/s': Number(row.requestsPerSecond.toFixed(2)),
      'median latency': formatMs(row.medianMs),
      '95 %': formatMs(row.p95Ms),
      requests: row.requests,
    })),
  );
  console.table(
    Object.fromEntries(
      splits.map((split) => [
        splitName(split),
        { 'peak memory of all': formatBytes(split.memory), 'until ready': formatMs(split.startMs) },
      ]),
    ),
  );
}
