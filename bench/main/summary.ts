import { formatBytes, formatMs, short } from '../../src/measure/format.ts';
import type { BackendsResult } from '../backends.ts';
import type { Row } from '../baseline/compare.ts';
import type { BaselineResult } from '../baseline.ts';
import type { FrontierResult } from '../frontier.ts';
import type { ServerResult } from '../server.ts';
import type { ServiceResult } from '../service.ts';
import { splitName } from '../throughput/split.ts';
import type { ThroughputResult } from '../throughput.ts';

/** What the benchmarks found, of those that ran. */
export interface Results {
  baseline?: BaselineResult;
  throughput?: ThroughputResult;
  service?: ServiceResult;
  'server-one-thread'?: ServerResult;
  backends?: BackendsResult;
  frontier?: FrontierResult;
}

/** A figure of this release beside what it is to be compared with, from one run of one benchmark. */
export interface SummaryRow {
  figure: string;
  now: string;
  against: string;
  /** now / against */
  ratio: string;
}

/** All that has something to be compared with, and the time of one thread. */
export function summaryRows(results: Results): SummaryRow[] {
  const { baseline, throughput, service, backends, frontier } = results;
  return [
    ...(baseline ? baseline.figures.map((row) => comparedRow(row, baseline.before.commit.slice(0, 7))) : []),
    ...oneThread(results['server-one-thread']),
    ...nodeSeal(backends),
    ...(throughput ? bestSplits(throughput) : []),
    ...(service ? overHttp(service) : []),
    ...(frontier ? fewestKeys(frontier) : []),
  ];
}

function comparedRow({ what, unit, before, now, ratio }: Row, commit: string): SummaryRow {
  const format = unit === 'ms' ? formatMs : formatBytes;
  return row(what, format(now), `${format(before)} (${commit})`, ratio);
}

function oneThread(server: ServerResult | undefined): SummaryRow[] {
  return server
    ? [{ figure: 'evaluate, one thread', now: formatMs(server.ms.median), against: '', ratio: '' }]
    : [];
}

function nodeSeal(backends: BackendsResult | undefined): SummaryRow[] {
  const whole = backends?.network?.stages.at(-1);
  if (!whole) return [];
  const { fastMs, sealMs } = whole;
  const figure = `${whole.what}, per-prime keys, one thread`;
  return [row(figure, formatMs(fastMs), `${formatMs(sealMs)} (node-seal)`, fastMs / sealMs)];
}

/** The split of most requests per second for each number of waiting ones, against one worker of one thread. */
function bestSplits({ rows }: ThroughputResult): SummaryRow[] {
  return [...new Set(rows.map(({ waiting }) => waiting))].flatMap((waiting) => {
    const same = rows.filter((of) => of.waiting === waiting);
    const best = same.reduce((a, b) => (b.requestsPerSecond > a.requestsPerSecond ? b : a));
    const one = same.find(({ workers, threads }) => workers === 1 && threads === 1);
    const told = (of: typeof best) => `${short(of.requestsPerSecond)} (${splitName(of)})`;
    const figure = `requests/s, ${waiting} waiting, best split`;
    return one ? [row(figure, told(best), told(one), best.requestsPerSecond / one.requestsPerSecond)] : [];
  });
}

/** The service against the bare evaluators behind it. */
function overHttp({ rows, ratios }: ServiceResult): SummaryRow[] {
  return ratios.flatMap(({ clients, requestsPerSecond, p50Ms }) => {
    const [bare, service] = rows.filter((of) => of.clients === clients);
    const told = (figure: string) => `service, ${figure}, ${clients} ${clients === 1 ? 'client' : 'clients'}`;
    const rates = [service, bare].map((of) => short(of.requestsPerSecond));
    const times = [service, bare].map((of) => formatMs(of.p50Ms));
    return [
      row(told('requests/s'), rates[0], `${rates[1]} (bare)`, requestsPerSecond),
      row(told('median latency'), times[0], `${times[1]} (bare)`, p50Ms),
    ];
  });
}

/** The plan of the fewest keys against that of the most. */
function fewestKeys({ rows }: FrontierResult): SummaryRow[] {
  const [few, most] = [rows[0], rows[rows.length - 1]];
  const told = ({ evaluateMs, keyBytes }: typeof few) => `${formatMs(evaluateMs)} (${formatBytes(keyBytes)})`;
  return [row('evaluate, fewest keys', told(few), told(most), few.ratio)];
}

function row(figure: string, now: string, against: string, ratio: number): SummaryRow {
  return { figure, now, against, ratio: ratio.toFixed(2) };
}
