import type { BackendName } from '../evaluator/backend.ts';
import { COUNTED, type OPERATIONS, type Operation, type OperationCounts } from '../evaluator/operations.ts';
import { type Gadget, type LevelGadgets, restrict, serving } from '../keyswitch/gadget.ts';

/** Milliseconds of each operation at N = 16384, one thread, as squared x limbs^2 + linear x limbs. */
export type Costs = Record<(typeof OPERATIONS)[number], { squared: number; linear: number }>;

/**
 * Milliseconds of one operation by node-seal 7 at N = 16384 as a x limbs^2 + b x limbs, fitted to medians
 * measured on one core of a 2-core x86-64 server at 2, 4, 6, 10 and 14 limbs (bench/operations.ts measures
 * them again).
 */
const SEAL_COST: Costs = {
  rotate: { squared: 0.441, linear: 1.861 },
  decompose: { squared: 0, linear: 0 }, // node-seal does not hoist
  hoistedRotate: { squared: 0.441, linear: 1.861 },
  relinearise: { squared: 0.441, linear: 1.861 },
  multiplyPlain: { squared: 0, linear: 0.352 },
  sum: { squared: 0, linear: 0 },
  add: { squared: 0, linear: 0.022 },
  addPlain: { squared: 0, linear: 0.03 },
  square: { squared: 0, linear: 0.47 },
  multiply: { squared: 0, linear: 0.7 },
  rescale: { squared: 0, linear: 0.8 },
};

/**
 * The same for our own kernels, on one of two virtual cores of an Intel Xeon (Emerald Rapids), by `blindbeat
 * bench --calibrate`.
 */
export const FAST_COST: Costs = {
  rotate: { squared: 0.063, linear: 0.36 },
  decompose: { squared: 0.058, linear: 0.024 },
  hoistedRotate: { squared: 0.005, linear: 0.336 },
  relinearise: { squared: 0.063, linear: 0.36 },
  multiplyPlain: { squared: 0, linear: 0.0077 },
  sum: { squared: 0, linear: 0.031 },
  add: { squared: 0, linear: 0.013 },
  addPlain: { squared: 0, linear: 0.0085 },
  square: { squared: 0, linear: 0.053 },
  multiply: { squared: 0, linear: 0.066 },
  rescale: { squared: 0, linear: 0.142 },
};

/**
 * What hybrid keys take for one residue polynomial, in transforms: converting one prime's to another prime on
 * the way to digits and on the way from special primes, a product with both polynomials of a digit of a key,
 * turning it and adding it up, and the last pass of a division. Measured at 2 to 12 limbs on the machine of
 * `FAST_COST`.
 */
const UP = 0.125;
const DOWN = 0.2;
const KEY_PRODUCT = 0.26;
const TURN = 0.21;
const DIVIDED = 0.16;

/**
 * Milliseconds of one operation; transforms dominate, so time grows with n log n.
 *
 * @param gadget of hybrid keys; what switching takes is then derived from what a transform does
 */
export function operationMs(
  costs: Costs,
  operation: Operation,
  limbs: number,
  n: number,
  gadget?: Gadget,
): number {
  const scale = (n * Math.log2(n)) / (16384 * 14);
  const transforms = gadget && hybridTransforms(operation, limbs, gadget);
  if (transforms !== undefined) return scale * transformMs(costs) * transforms;
  if (operation === 'summedRotate' || operation === 'divide')
    throw new RangeError(`${operation} is not counted for per-prime keys`);
  const { squared, linear } = costs[operation];
  return scale * (squared * limbs + linear) * limbs;
}

/**
 * One transform at N = 16384: per-prime keys decompose by limbs (limbs + 1) of them; at a number of limbs
 * that was measured.
 */
function transformMs({ decompose: { squared, linear } }: Costs): number {
  const limbs = 10;
  return (squared * limbs + linear) / (limbs + 1);
}

/** What an operation with a hybrid key takes, in transforms; undefined for one that takes no key. */
function hybridTransforms(
  operation: Operation,
  limbs: number,
  { digits, special }: Gadget,
): number | undefined {
  const moduli = limbs + special.length;
  const up = digits.reduce((sum, { length }) => sum + (length > 1 ? length * (moduli - length) : 0), 0);
  const down = special.length > 1 ? special.length * limbs : 0;
  // Residues of a digit's own primes are there already.
  const decompose = digits.length * moduli + UP * up;
  const products = KEY_PRODUCT * digits.length * moduli;
  const divide = 2 * (moduli + DOWN * down + DIVIDED * limbs);
  switch (operation) {
    case 'decompose':
      return decompose;
    case 'hoistedRotate':
      return products + divide;
    case 'rotate':
    case 'relinearise':
      return decompose + products + divide;
    case 'summedRotate':
      return decompose + products + TURN * (2 * moduli + limbs);
    case 'divide':
      return divide;
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
      const gadget = serving(listed, limbs, (g) => g.limbs);
      total += count * operationMs(costs, operation, limbs, n, gadget && restrict(gadget, limbs));
    }
  return total;
}
