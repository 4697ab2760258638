import { COUNTED, type OPERATIONS, type Operation, type OperationCounts } from './backends/trace.ts';
import { type Gadget, type LevelGadgets, restrict, serving } from './gadget.ts';
import type { BackendName } from './host.ts';

/** Milliseconds of each operation at N = 16384, one thread, as squared x limbs^2 + linear x limbs. */
export type Costs = Record<(typeof OPERATIONS)[number], { squared: number; linear: number }>;

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

/** The same for our own kernels, on one of two virtual cores of an Intel Xeon (Emerald Rapids), by `blindbeat bench --calibrate`. */
export const FAST_COST: Costs = {
  rotate: { squared: 0.063, linear: 0.36 },
  decompose: { squared: 0.058, linear: 0.024 },
  hoistedRotate: { squared: 0.005, linear: 0.336 },
  relinearise: { squared: 0.063, linear: 0.36 },
  multiplyPlain: { squared: 0, linear: 0.0101 },
  add: { squared: 0, linear: 0.013 },
  addPlain: { squared: 0, linear: 0.0085 },
  square: { squared: 0, linear: 0.053 },
  multiply: { squared: 0, linear: 0.066 },
  rescale: { squared: 0, linear: 0.142 },
};

/** What converting one prime's residues to another prime takes, in transforms. */
const CONVERSION = 0.06;
/** Turning one prime's residues and adding them up, in transforms. */
const TURN = 0.12;

/**
 * Milliseconds of one operation; transforms dominate, so time grows with n log n.
 *
 * @param gadget of the keys where they are grouped; what switching takes is derived from that of SEAL's kind
 */
export function operationMs(
  costs: Costs,
  operation: Operation,
  limbs: number,
  n: number,
  gadget?: Gadget,
): number {
  const scale = (n * Math.log2(n)) / (16384 * 14);
  if (operation === 'summedRotate' || operation === 'divide') {
    if (!gadget) throw new RangeError(`${operation} is not counted for keys of SEAL's kind`);
    const of = (other: Operation) => operationMs(costs, other, limbs, n, gadget);
    const residues = gadget.digits.length * (limbs + gadget.special.length) - limbs;
    const products = scale * costs.hoistedRotate.squared * residues;
    if (operation === 'divide') return of('hoistedRotate') - products;
    const turns = 3 * limbs + 2 * gadget.special.length;
    return of('decompose') + products + scale * costs.decompose.squared * TURN * turns;
  }
  const { squared, linear } = costs[operation];
  if (!gadget) return scale * (squared * limbs + linear) * limbs;
  const { digits, special } = gadget;
  // SEAL's kind decomposes into (limbs + 1) limbs residues, of which limbs are there already.
  const residues = digits.length * (limbs + special.length) - limbs;
  const transform = costs.decompose.squared;
  const base = scale * (squared * residues + linear * limbs);
  const extensions = digits.reduce(
    (sum, { length }) => sum + (length > 1 ? length * (limbs + special.length - length) : 0),
    0,
  );
  const up = scale * transform * CONVERSION * extensions;
  const more = special.length - 1;
  const down = scale * transform * 2 * (more + (more > 0 ? CONVERSION * limbs * special.length : 0));
  switch (operation) {
    case 'decompose':
      return base + up;
    case 'hoistedRotate':
      return base + down;
    case 'rotate':
    case 'relinearise':
      return base + up + down;
    default:
      return scale * (squared * limbs + linear) * limbs;
  }
}

/** What operations cost on a backend. */
export function costsOf(backend: BackendName): Costs {
  return backend === 'seal' ? SEAL_COST : FAST_COST;
}

/** Estimated milliseconds of the counted operations, one core. */
export function estimateMs(
  counts: OperationCounts,
  n: number,
  costs: Costs,
  { rotation, relinearisation }: LevelGadgets,
): number {
  let total = 0;
  for (const operation of COUNTED)
    for (const [level, count] of Object.entries(counts[operation])) {
      const limbs = Number(level);
      const listed = operation === 'relinearise' ? relinearisation : rotation;
      const gadget = serving(listed, limbs, (of) => of.limbs);
      total += count * operationMs(costs, operation, limbs, n, gadget && restrict(gadget, limbs));
    }
  return total;
}

/** Total number of each operation over all levels. */
export function totals(counts: OperationCounts): Record<keyof OperationCounts, number> {
  return Object.fromEntries(
    COUNTED.map((name) => [name, Object.values(counts[name]).reduce((a, b) => a + b, 0)]),
  ) as Record<keyof OperationCounts, number>;
}
