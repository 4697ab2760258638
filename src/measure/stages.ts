import type { OnStage } from '../ckks/circuit/circuit.ts';
import { round } from './format.ts';

/** How long one stage took. */
export interface StageTime {
  name: string;
  ms: number;
}

/** Takes the time of every stage of an evaluation. */
export function stageClock(onStage?: OnStage): {
  onStage: OnStage;
  stop(): { ms: number; layers: StageTime[] };
} {
  const started = performance.now();
  let last = started;
  const layers: StageTime[] = [];
  return {
    onStage(stage, index, count) {
      const now = performance.now();
      layers.push({ name: stage.name, ms: roundMs(now - last) });
      last = now;
      onStage?.(stage, index, count);
    },
    stop: () => ({ ms: roundMs(performance.now() - started), layers }),
  };
}

/** The most memory that this process ever held, in bytes. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Runs `f`, adding the milliseconds that it takes to `times[name]`. */
export async function timed<K extends string, T>(
  times: Partial<Record<K, number>>,
  name: K,
  f: () => T | Promise<T>,
): Promise<T> {
  const started = performance.now();
  try {
    return await f();
  } finally {
    times[name] = roundMs((times[name] ?? 0) + performance.now() - started);
  }
}

/** Microseconds are enough. */
export function roundMs(ms: number): number {
  return round(ms, 3);
}
