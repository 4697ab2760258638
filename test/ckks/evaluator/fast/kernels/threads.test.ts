import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, expect, test, vi } from 'vitest';
import type { KernelKind } from '../../../../../src/ckks/evaluator/executor.ts';
import { availableKernels } from '../../../../../src/ckks/evaluator/fast/kernels/kernels.ts';
import { WasmMemory } from '../../../../../src/ckks/evaluator/fast/kernels/memory.ts';
import { Ring } from '../../../../../src/ckks/evaluator/fast/kernels/ring.ts';
import { allCores, MOST_THREADS, Threads } from '../../../../../src/ckks/evaluator/fast/kernels/threads.ts';
import { choosePrimes } from '../../../../../src/ckks/ring/primes.ts';

const N = 1024;
const [Q] = choosePrimes(N, [30]);
const CELLS = 12;
/** Where Linux lists a process's threads. */
const TASKS = '/proc/self/task';

const opened: Threads[] = [];
afterEach(() => {
  for (const threads of opened.splice(0)) threads[Symbol.dispose]();
  vi.unstubAllGlobals();
});

async function open(
  count: number,
  kind: KernelKind = availableKernels(N)[0],
): Promise<{ memory: WasmMemory; threads: Threads }> {
  const memory = new WasmMemory();
  const threads = await Threads.open(memory, count, 4 * N, kind);
  opened.push(threads);
  return { memory, threads };
}

/** Many programs of dependent phases on a few cells; gives the first word of each cell. */
function compute({ memory, threads }: { memory: WasmMemory; threads: Threads }, programs: number): number[] {
  const ring = new Ring(threads.kernels, threads.set.lanes, memory, N, Q);
  const cells = Array.from({ length: CELLS }, (_, i) => {
    const address = memory.allocate(4 * N);
    memory.words.fill(i + 1, address / 4, address / 4 + N);
    return address;
  });
  const scratch = threads.local(0);
  for (let program = 0; program < programs; program++) {
    for (let phase = 0; phase < 5; phase++) {
      for (let i = phase % 2; i < CELLS; i += 2) {
        // There and back in the thread's memory, then the sum with a cell that no task of this phase changes.
        threads.task();
        ring.forward(cells[i], scratch, ring.lazy(Q));
        ring.inverse(scratch, cells[i]);
        threads.kernels.add(cells[i], cells[source(i, program + phase)], cells[i], N, Q);
      }
      threads.phase();
    }
    threads.run();
  }
  return cells.map((address) => memory.words[address / 4 + 17]);
}

function source(i: number, turn: number): number {
  return (i + 1 + 2 * (turn % 5)) % CELLS;
}

function expectedCells(programs: number): number[] {
  const cells = Array.from({ length: CELLS }, (_, i) => i + 1);
  for (let program = 0; program < programs; program++)
    for (let phase = 0; phase < 5; phase++)
      for (let i = phase % 2; i < CELLS; i += 2)
        cells[i] = (cells[i] + cells[source(i, program + phase)]) % Q;
  return cells;
}

test.each(availableKernels(N).flatMap((kind) => [1, 2, 3, 5].map((count) => [count, kind] as const)))(
  'when %i threads run programs of dependent phases on %s kernels, then nothing is done early, twice or not at all',
  async (count, kind) => {
    const started = await open(count, kind);
    expect(started.threads.count).toBe(count);
    expect(compute(started, 200)).toEqual(expectedCells(200));
  },
);

test.each(availableKernels(N))(
  'when threads have slept for a while, then they wake up for the next program of %s kernels',
  async (kind) => {
    const started = await open(3, kind);
    for (let k = 0; k < 3; k++) {
      expect(compute(started, 2)).toEqual(expectedCells(2));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
);

test.skipIf(!existsSync(TASKS))(
  'when threads are opened and disposed many times, then none is left',
  async () => {
    const [widest] = availableKernels(N);
    const running = () => readdirSync(TASKS).length;
    const before = running();
    for (let k = 0; k < 8; k++) {
      const started = await open(3, k % 2 === 0 ? widest : 'wasm');
      expect(compute(started, 1)).toEqual(expectedCells(1));
      started.threads[Symbol.dispose]();
    }
    await vi.waitFor(() => expect(running()).toBeLessThanOrEqual(before + 2), 10_000);
  },
);

test.each(availableKernels(N))(
  'when threads of %s kernels are never disposed, then the process ends all the same',
  async (kind) => {
    const module = (name: string) =>
      new URL(`../../../../../src/ckks/evaluator/fast/kernels/${name}.ts`, import.meta.url).href;
    const script = `
    const { WasmMemory } = await import('${module('memory')}');
    const { Threads } = await import('${module('threads')}');
    const threads = await Threads.open(new WasmMemory(), 3, 64, '${kind}');
    console.log(threads.count);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 20_000,
    });
    expect(stdout).toBe('3\n');
  },
);

test('when a thread fails, then that is an error of ours, and so is every program after it', async () => {
  const { memory, threads } = await open(3, 'wasm'); // an address outside ends the process of native ones
  const fail = () => {
    for (let k = 0; k < 8; k++) {
      threads.task();
      threads.kernels.copy(2 ** 32 - 64, memory.allocate(64), 1024);
    }
    threads.run();
  };
  expect(fail).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  expect(fail).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
});

test('when a page may not share memory, then there is one thread', async () => {
  vi.stubGlobal('crossOriginIsolated', false);
  const started = await open(4);
  expect(started.threads.count).toBe(1);
  expect(compute(started, 3)).toEqual(expectedCells(3));
});

test.each([0, -1, 1.5, Number.NaN, MOST_THREADS + 1])(
  'when %d threads are asked for, then that is a USAGE error which names the range',
  async (count) => {
    await expect(open(count)).rejects.toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(`1 to ${MOST_THREADS}`) }),
    );
  },
);

test('when all cores are counted, then there is at least one', () => {
  expect(allCores()).toBeGreaterThanOrEqual(1);
  expect(allCores()).toBeLessThanOrEqual(MOST_THREADS);
});
