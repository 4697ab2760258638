import { describe, expect, test } from 'vitest';
import { frontierRows } from '../../bench/frontier/rows.ts';
import { summaryRows } from '../../bench/main/summary.ts';
import { commandLine, oneOf, whole } from '../../bench/shared/run.ts';
import { percentile, summarise, turns } from '../../bench/shared/statistics.ts';
import { fakeProbe } from './probes.ts';

describe('statistics', () => {
  test('when values are summarised then as median, least and most', () => {
    expect(summarise([3, 1, 2, 10])).toEqual({ median: 2.5, min: 1, max: 10 });
  });

  test.each([
    [[5], 0.95, 5],
    [[4, 1, 3, 2], 0.5, 2],
    [[4, 1, 3, 2], 0.51, 3],
    [Array.from({ length: 100 }, (_, i) => 100 - i), 0.95, 95],
    [[2, 1], 0, 1],
    [[2, 1], 1, 2],
  ])('when a percentile of %j at %d is asked for then it is the nearest rank', (values, share, expected) => {
    expect(percentile(values, share)).toBe(expected);
  });

  test('when things are measured in turns then every second round goes back', () => {
    const order = turns(['a', 'b', 'c'], 3);
    expect(order.map(({ thing }) => thing).join('')).toBe('abccbaabc');
    expect(order.map(({ round }) => round)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2]);
  });
});

describe('options', () => {
  test('when a command is noted down then without where its output goes', () => {
    const root = new URL('../..', import.meta.url).pathname;
    const argv = [
      'node',
      `${root}bench/x.ts`,
      '--out',
      'a.json',
      '--runs',
      '3',
      '--json',
      '--svg',
      'b.svg',
      '--quick',
    ];
    expect(commandLine(argv)).toBe('node bench/x.ts --runs 3 --quick');
  });

  test.each(['0', '-1', '1.5', '', 'two', '1e3', '99999999999999999'])(
    'when %j is given as a number of runs then it is refused by name',
    (value) => {
      expect(() => whole('runs', value)).toThrow(/--runs: expected a whole number of at least 1/);
    },
  );

  test('when a choice is none of those then all are told', () => {
    expect(oneOf('backend', 'seal', ['fast', 'seal'])).toBe('seal');
    expect(() => oneOf('backend', 'gpu', ['fast', 'seal'])).toThrow(
      '--backend: expected fast, seal, got "gpu"',
    );
  });
});

test('when plans are compared then with that of the most keys, round by round', () => {
  const plans = [
    { budgets: [40e6], keyBytes: 39e6, planHash: 'a' },
    { budgets: [56e6, 64e6], keyBytes: 55e6, planHash: 'b' },
  ];
  const rows = frontierRows(plans, [
    [fakeProbe([300]), fakeProbe([200])],
    [fakeProbe([900]), fakeProbe([600])],
    [fakeProbe([150]), fakeProbe([200])],
  ]);
  const same = { loadKeysMs: 400, makeKeysMs: 1800, loadedKeys: 150e6 };
  expect(rows).toEqual([
    { ...plans[0], evaluateMs: 300, ratio: 1.5, evaluateCpuMs: 600, cpuRatio: 1.5, ...same },
    { ...plans[1], evaluateMs: 200, ratio: 1, evaluateCpuMs: 400, cpuRatio: 1, ...same },
  ]);
});

test('when the best split is looked for then for each number of waiting requests by itself', () => {
  const row = (workers: number, threads: number, waiting: number, requestsPerSecond: number) => ({
    ...{ workers, threads, waiting, requestsPerSecond },
    ...{ medianMs: 1, p95Ms: 1, requests: 1 },
  });
  const rows = [
    row(1, 1, 1, 0.8),
    row(1, 2, 1, 1.6),
    row(2, 1, 1, 0.8),
    row(1, 1, 2, 0.8),
    row(2, 1, 2, 1.7),
  ];
  const machine = {} as never;
  const head = { machine, command: '', seed: 1, data: '' };
  const throughput = { ...head, kernels: 'wasm', stop: { seconds: 1 }, rounds: 1, rows, splits: [] };
  expect(summaryRows({ throughput })).toEqual([
    { figure: 'requests/s, 1 waiting, best split', now: '1.6 (1x2)', against: '0.8 (1x1)', ratio: '2.00' },
    { figure: 'requests/s, 2 waiting, best split', now: '1.7 (2x1)', against: '0.8 (1x1)', ratio: '2.13' },
  ]);
  expect(summaryRows({})).toEqual([]);
});

test('when the service was measured then it stands beside the bare evaluators', () => {
  const row = (kind: 'bare' | 'service', requestsPerSecond: number, p50Ms: number) => ({
    ...{ kind, clients: 8, requestsPerSecond, p50Ms },
    ...{ p95Ms: 1, p99Ms: 1, requests: 1 },
  });
  const head = { machine: {} as never, command: '', seed: 1, data: '' };
  const service = {
    ...{ ...head, split: { workers: 1, threads: 2 }, seconds: 1, rounds: 1 },
    rows: [row('bare', 1.5, 5000), row('service', 1.4, 5500)],
    ratios: [{ clients: 8, requestsPerSecond: 0.94, p50Ms: 1.1 }],
  };
  expect(summaryRows({ service })).toEqual([
    { figure: 'service, requests/s, 8 clients', now: '1.4', against: '1.5 (bare)', ratio: '0.94' },
    { figure: 'service, median latency, 8 clients', now: '5.5 s', against: '5.0 s (bare)', ratio: '1.10' },
  ]);
});
