import { OPERATIONS, type OperationCounts } from './backends/trace.ts';
import type { BackendName } from './host.ts';

type Costs = Record<keyof OperationCounts, { squared: number; linear: number }>;

/**
 * Milliseconds of one operation by node-seal 7 at N = 16384 as a x limbs^2 + b x limbs, fitted to medians measured on
 * one core of a 2-core x86-64 server at 2, 4, 6, 10 and 14 limbs (bench/operations.ts measures them again).
 */
const SEAL_COST: Costs = {
  rotate: { squared: 0.441, linear: 1.861 },
  decompose: { squared: 0, linear: 0 }, // node-seal does not hoist
  hoistedRotate: { squared: 0.441, linear: 1.861 },
  relinearise: { squared: 0.441, linear: 1.861 },
  multiplyPlain: { squared: 0, linear: 0.33 },
  add: { squared: 0, linear: 0.022 },
  addPlain: { squared: 0, linear: 0.03 },
  square: { squared: 0, linear: 0.47 },
  rescale: { squared: 0, linear: 0.8 },
};

/** The same for our own kernels, by the medians of bench/backends.ts. */
const FAST_COST: Costs = {
  rotate: { squared: 0.046, linear: 0.233 },
  decompose: { squared: 0, linear: 0 }, // not hoisted yet
  hoistedRotate: { squared: 0.046, linear: 0.233 },
  relinearise: { squared: 0.046, linear: 0.22 },
  multiplyPlain: { squared: 0, linear: 0.0068 },
  add: { squared: 0, linear: 0.006 },
  addPlain: { squared: 0, linear: 0.005 },
  square: { squared: 0, linear: 0.035 },
  rescale: { squared: 0, linear: 0.097 },
};

/** Estimated milliseconds of the counted operations on a backend, one core. */
export function estimateMs(counts: OperationCounts, n: number, backend: BackendName): number {
  const costs = backend === 'seal' ? SEAL_COST : FAST_COST;
  const size = (n * Math.log2(n)) / (16384 * 14);
  let total = 0;
  for (const operation of OPERATIONS) {
    const { squared, linear } = costs[operation];
    for (const [limbs, count] of Object.entries(counts[operation])) {
      total += count * (squared * Number(limbs) ** 2 + linear * Number(limbs));
    }
  }
  return total * size;
}

/** Total number of each operation over all levels. */
export function totals(counts: OperationCounts): Record<keyof OperationCounts, number> {
  return Object.fromEntries(
    OPERATIONS.map((name) => [name, Object.values(counts[name]).reduce((a, b) => a + b, 0)]),
  ) as Record<keyof OperationCounts, number>;
}
