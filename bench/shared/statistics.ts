import { median } from '../../src/measure/machine.ts';

/** What is told of a figure that was measured several times. */
export interface Summary {
  median: number;
  min: number;
  max: number;
}

export function summarise(values: number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** The smallest of the values that at least `share` (0 to 1) of them do not exceed: the nearest rank. */
export function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** The median of the ratios of values that were measured at about the same time, pair by pair. */
export function pairedRatio(values: number[], others: number[]): number {
  return median(values.map((value, k) => value / others[k]));
}

/**
 * The order in which things are measured in turns, and back in every second round (A B, B A, A B, ...), so
 * that a machine that grows slower or faster favours none of them.
 */
export function turns<T>(things: readonly T[], rounds: number): { round: number; thing: T }[] {
  return Array.from({ length: rounds }, (_, round) =>
    (round % 2 === 0 ? things : things.toReversed()).map((thing) => ({ round, thing })),
  ).flat();
}
