/**
 * The operations that are counted, each by the limbs that it works on. Rotations of one value by several
 * steps are one `decompose` and as many `hoistedRotate`; `rotate` is a rotation alone, decomposition
 * included. `multiplyPlain` is a product and its addition to a sum, `sum` what a sum of products takes
 * beside. Dropping limbs is a copy and not counted.
 */
export const OPERATIONS = [
  'rotate',
  'decompose',
  'hoistedRotate',
  'relinearise',
  'multiplyPlain',
  'sum',
  'add',
  'addPlain',
  'square',
  'multiply',
  'rescale',
] as const;

/**
 * What hybrid keys do beside: a rotation that is added to others before the division by the special primes,
 * and this division. Their time is derived from that of the others.
 */
const HYBRID_OPERATIONS = ['summedRotate', 'divide'] as const;

/** All operations that the dry run counts. */
export const COUNTED = [...OPERATIONS, ...HYBRID_OPERATIONS] as const;

/** One of `COUNTED`. */
export type Operation = (typeof COUNTED)[number];

/** `counts.rotate[l]` is the number of single rotations at l limbs. */
export type OperationCounts = Record<Operation, Record<number, number>>;

/** Counts of nothing. */
export function emptyCounts(): OperationCounts {
  return Object.fromEntries(COUNTED.map((name) => [name, {}])) as OperationCounts;
}

/** Total number of each operation over all levels. */
export function totals(counts: OperationCounts): Operations {
  return Object.fromEntries(
    COUNTED.map((name) => [name, Object.values(counts[name]).reduce((a, b) => a + b, 0)]),
  ) as Operations;
}

/** How many of each operation, at all limbs together. */
export type Operations = Record<Operation, number>;

/** Rotations, those that share a decomposition included. */
export function rotations({ rotate, hoistedRotate, summedRotate }: Operations): number {
  return rotate + hoistedRotate + summedRotate;
}

/** Key-switching operations: rotations and relinearisations. */
export function keySwitches(operations: Operations): number {
  return rotations(operations) + operations.relinearise;
}

/** All that is multiplied: ciphertexts by weights, by themselves and by each other. */
export function multiplications({ multiplyPlain, square, multiply }: Operations): number {
  return multiplyPlain + square + multiply;
}
