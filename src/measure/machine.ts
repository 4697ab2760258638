import { availableParallelism, cpus, totalmem } from 'node:os';
import { packageVersion } from './version.ts';

/** What a figure was measured on; printed with every benchmark and stored with every metric. */
export function machine() {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    nodeSeal: packageVersion(import.meta.resolve('node-seal/allows')),
    blindbeat: packageVersion(),
    date: new Date().toISOString().slice(0, 10),
  };
}

/** The most memory that this process ever held, in bytes. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** The middle of the sorted values; of an even number of them, the mean of the middle two. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
