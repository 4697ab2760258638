import { availableParallelism } from 'node:os';
import { BlindbeatError } from '../../src/errors.ts';

/** How a machine is shared out: worker processes, and threads of each. */
export interface Split {
  workers: number;
  threads: number;
}

/**
 * The ways to share out so many cores that are worth measuring: one thread alone, all threads for one worker,
 * a worker for each core, and between them by powers of two.
 */
export function splitsOf(cores: number): Split[] {
  const threads = new Set([cores]);
  for (let t = 1; t < cores; t *= 2) threads.add(t);
  const full = [...threads]
    .sort((a, b) => b - a)
    .map((t) => ({ workers: Math.floor(cores / t), threads: t }));
  return cores === 1 ? full : [{ workers: 1, threads: 1 }, ...full];
}

/** "2x4": two workers of four threads. */
export function splitName({ workers, threads }: Split): string {
  return `${workers}x${threads}`;
}

/** The split of a name; nothing for what is none. */
export function parseSplit(text: string): Split | undefined {
  const [, workers, threads] = /^([1-9]\d?)x([1-9]\d?)$/.exec(text) ?? [];
  return threads === undefined ? undefined : { workers: Number(workers), threads: Number(threads) };
}

/**
 * The splits that a list such as "1x2,2x1" names; without one, those that are worth measuring here.
 *
 * @throws BlindbeatError USAGE
 */
export function splitsFrom(text: string | undefined): Split[] {
  if (text === undefined) return splitsOf(availableParallelism());
  return text.split(',').map((name) => {
    const split = parseSplit(name);
    if (split) return split;
    throw new BlindbeatError('USAGE', `--splits: expected workers x threads such as 2x1, got "${name}"`);
  });
}
