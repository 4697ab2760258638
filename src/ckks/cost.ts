import { OPERATIONS, type Operation, type OperationCounts } from './backends/trace.ts';
import type { BackendName } from './host.ts';

/** Milliseconds of each operation at N = 16384, one thread, as squared x limbs^2 + linear x limbs. */
export type Costs = Record<Operation, { squared: number; linear: number }>;

/**
 * Milliseconds of one operation by node-seal 7 at N = 16384 as a x limbs^2 + b x limbs, fitted to medians measured on
 * one core of a 2-core x86-64 server at 2, 4, 6, 10 and 14 limbs (bench/operations.ts measures them again).
 */
const SEAL_COST: Costs = {
  rotate: { squared: 0.441, linear: 1.861 },
  decompose: { squared: 0, linear: 0 }, // node-seal does not hoist
  hoistedRotate: { squared: 0.441, linear: 1.861 },
  relinearise: { squared: 0.441, linear: 1.861 },
  multiplyPlain: { squared: 0, linear: 0.352 },
  add: { squared: 0, linear: 0.022 },
  addPlain: { squared: 0, linear: 0.03 },
  square: { squared: 0, linear: 0.47 },
  multiply: { squared: 0, linear: 0.7 },
  rescale: { squared: 0, linear: 0.8 },
};

/** The same for our own kernels, by the medians of bench/backends.ts. */
export const FAST_COST: Costs = {
  rotate: { squared: 0.047, linear: 0.26 },
  decompose: { squared: 0.042, linear: 0.042 },
  hoistedRotate: { squared: 0.005, linear: 0.218 },
  relinearise: { squared: 0.047, linear: 0.26 },
  multiplyPlain: { squared: 0, linear: 0.0128 },
  add: { squared: 0, linear: 0.006 },
  addPlain: { squared: 0, linear: 0.005 },
  square: { squared: 0, linear: 0.035 },
  multiply: { squared: 0, linear: 0.045 },
  rescale: { squared: 0, linear: 0.097 },
};

/** Milliseconds of one operation; transforms dominate, so time grows with n log n. */
export function operationMs(costs: Costs, operation: Operation, limbs: number, n: number): number {
  const { squared, linear } = costs[operation];
  return ((squared * limbs + linear) * limbs * n * Math.log2(n)) / (16384 * 14);
}

/** What operations cost on a backend. */
export function costsOf(backend: BackendName): Costs {
  return backend === 'seal' ? SEAL_COST : FAST_COST;
}

/** Estimated milliseconds of the counted operations, one core. */
export function estimateMs(counts: OperationCounts, n: number, costs: Costs): number {
  let total = 0;
  for (const operation of OPERATIONS)
    for (const [limbs, count] of Object.entries(counts[operation]))
      total += count * operationMs(costs, operation, Number(limbs), n);
  return total;
}

/** Total number of each operation over all levels. */
export function totals(counts: OperationCounts): Record<keyof OperationCounts, number> {
  return Object.fromEntries(
    OPERATIONS.map((name) => [name, Object.values(counts[name]).reduce((a, b) => a + b, 0)]),
  ) as Record<keyof OperationCounts, number>;
}
