import { round } from './format.ts';

/** How long one stage took. */
export interface StageTime {
  name: string;
  ms: number;
}

/** Called after each stage of an evaluation, of which there are `count`. */
type OnStage = (stage: { name: string }, index: number, count: number) => void;

/** Takes the time of every stage of an evaluation, from now until `stop`; milliseconds. */
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

/** Runs `f` and adds the milliseconds that it takes to `times[name]`, whether it fails or not. */
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

/** Milliseconds to three decimals: microseconds are enough. */
export function roundMs(ms: number): number {
  return round(ms, 3);
}
