import { expect, test } from 'vitest';
import { solveModulo } from '../../attacks/recovery/solve.ts';
import { Random } from '../../src/ecg/random.ts';

const Q = 1_073_692_673;

/** Equations with these solutions; seed 1. */
function system(size: number, solutions: number[][]): Float64Array[] {
  const random = new Random(1);
  return Array.from({ length: size }, () => {
    const row = Array.from({ length: size }, () => random.below(Q));
    const side = (x: number[]) =>
      Number(row.reduce((sum, a, i) => sum + BigInt(a) * BigInt(x[i]), 0n) % BigInt(Q));
    return Float64Array.from([...row, ...solutions.map(side)]);
  });
}

test.each([1, 63, 64, 65, 150])(
  'when %d equations are independent, then every right side is solved',
  (size) => {
    const random = new Random(2);
    const solutions = [0, 1].map(() => Array.from({ length: size }, () => random.below(Q)));
    expect(solveModulo(system(size, solutions), Q)?.map((x) => Array.from(x))).toEqual(solutions);
  },
);

test('when a pivot is 0, then rows change places', () => {
  const rows = [Float64Array.of(0, 2, 6), Float64Array.of(5, 0, 10)];
  expect(solveModulo(rows, Q)).toEqual([Float64Array.of(2, 3)]);
});

test('when an equation says nothing new, then there is no solution', () => {
  const rows = system(3, [[1, 2, 3]]);
  rows[2] = rows[0].slice();
  expect(solveModulo(rows, Q)).toBeNull();
});
