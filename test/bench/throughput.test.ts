import { describe, expect, test, vi } from 'vitest';
import { closedLoop } from '../../bench/throughput/load.ts';
import { parseSplit, splitName, splitsOf } from '../../bench/throughput/split.ts';

/** A worker that takes so many milliseconds of the test's clock for each request. */
function workerOf(ms: number) {
  return vi.fn(() => new Promise<void>((resolve) => setTimeout(resolve, ms)));
}

/** Runs a load with a clock that jumps from one timer to the next. */
async function loaded(
  workers: ReturnType<typeof workerOf>[],
  ...load: [number, Parameters<typeof closedLoop>[2]]
) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
  try {
    const running = closedLoop(workers, ...load);
    await vi.runAllTimersAsync();
    return await running;
  } finally {
    vi.useRealTimers();
  }
}

describe('closedLoop', () => {
  test.each([
    ['one worker, one client', 1, 1, 10, [100]],
    ['one worker, four clients that wait for each other', 1, 4, 10, [100, 200, 300, 400]],
    ['two workers, one client', 2, 1, 10, [100]],
    ['two workers, four clients', 2, 4, 20, [100, 200]],
  ])('when there are %s then the rate is that of the workers', async (_, count, clients, rate, latencies) => {
    const workers = Array.from({ length: count }, () => workerOf(100));
    for (const stop of [{ seconds: 0.95 }, { seconds: 3 }, { requests: 7 }]) {
      const load = await loaded(workers, clients, stop);
      expect(load.rate).toBeCloseTo(rate, 6);
      expect(new Set(load.latencies.map(Math.round))).toEqual(new Set(latencies));
    }
  });

  test('when workers differ then each has its own rate', async () => {
    const load = await loaded([workerOf(100), workerOf(200)], 4, { seconds: 5 });
    expect(load.rate).toBeCloseTo(15, 6);
  });

  test('when a number of requests is asked for then so many are sent', async () => {
    const worker = workerOf(100);
    const { latencies } = await loaded([worker], 4, { requests: 6 });
    expect(latencies).toHaveLength(6);
    expect(worker).toHaveBeenCalledTimes(6);
  });

  test('when a worker fails then so does the load', async () => {
    const failing = async () => {
      throw new Error('worker 1 ended before it answered');
    };
    await expect(closedLoop([failing], 2, { requests: 4 })).rejects.toThrow('worker 1 ended');
  });
});

describe('splits', () => {
  test.each([
    [1, '1x1'],
    [2, '1x1 1x2 2x1'],
    [4, '1x1 1x4 2x2 4x1'],
    [6, '1x1 1x6 1x4 3x2 6x1'],
    [16, '1x1 1x16 2x8 4x4 8x2 16x1'],
  ])('when there are %i cores then they are shared out as %s', (cores, names) => {
    expect(splitsOf(cores).map(splitName).join(' ')).toBe(names);
  });

  test('when a split is named then it is that one, and what is none is none', () => {
    expect(parseSplit('2x16')).toEqual({ workers: 2, threads: 16 });
    for (const text of ['', '2', '0x2', '2x0', '2x', '2 x 1', '100x1', '1x2x3'])
      expect(parseSplit(text)).toBeUndefined();
  });
});
