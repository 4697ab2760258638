import { inverseMod, multiplyMod } from '../../src/ckks/ring/modular.ts';

/** Pivots that are eliminated together: 2 * 64 products of 45 bits stay exact in a float. */
const BLOCK = 64;
const HALF = 2 ** 15;

/**
 * Solves square systems of the same coefficients modulo a prime q < 2^30 by Gauss's elimination, in place.
 *
 * @param rows [unknowns][unknowns + sides]: coefficients and right sides of each equation, in [0, q)
 * @param onProgress receives the unknowns eliminated so far
 * @returns [sides][unknowns]; null if the equations depend on each other
 */
export function solveModulo(
  rows: Float64Array[],
  q: number,
  onProgress: (done: number) => void = () => {},
): Float64Array[] | null {
  const size = rows.length;
  const width = rows[0].length;
  const low = new Float64Array(width);
  const high = new Float64Array(width);
  for (let start = 0; start < size; start += BLOCK) {
    onProgress(start);
    const end = Math.min(start + BLOCK, size);
    for (let k = start; k < end; k++) if (!makePivot(rows, k, start, end, q)) return null;
    for (let i = end; i < size; i++) reduceRow(rows, i, start, end, low, high, q);
  }
  return Array.from({ length: width - size }, (_, side) => {
    const x = new Float64Array(size);
    for (let i = size - 1; i >= 0; i--) {
      let sum = rows[i][size + side];
      for (let j = i + 1; j < size; j++) sum = difference(sum, multiplyMod(rows[i][j], x[j], q), q);
      x[i] = sum;
    }
    return x;
  });
}

/**
 * Makes row k one whose pivot is 1 and that has nothing before it; rows of the block before k are so already.
 * Rows after the block have not been told of this block's pivots, so the first that still has a pivot is
 * looked for.
 */
function makePivot(rows: Float64Array[], k: number, start: number, end: number, q: number): boolean {
  for (let i = k; i < rows.length; i++) {
    for (let j = start; j < k; j++) {
      const factor = rows[i][j];
      if (factor !== 0) subtract(rows[i], rows[j], factor, j, q);
    }
    if (rows[i][k] === 0) {
      if (i >= end) return false; // as good as impossible for random equations
      continue;
    }
    [rows[k], rows[i]] = [rows[i], rows[k]];
    const inverse = inverseMod(rows[k][k], q);
    for (let j = k; j < rows[k].length; j++) rows[k][j] = multiplyMod(rows[k][j], inverse, q);
    return true;
  }
  return false;
}

/** Subtracts from row i what makes its places start..end 0: first the factors, then all the rest at once. */
function reduceRow(
  rows: Float64Array[],
  i: number,
  start: number,
  end: number,
  low: Float64Array,
  high: Float64Array,
  q: number,
): void {
  const row = rows[i];
  const width = row.length;
  for (let j = start; j < end; j++) {
    const factor = row[j];
    if (factor === 0) continue;
    for (let c = j + 1; c < end; c++) row[c] = difference(row[c], multiplyMod(factor, rows[j][c], q), q);
  }
  low.fill(0, end);
  high.fill(0, end);
  let j = start;
  for (; j + 1 < end; j += 2) {
    const a = rows[j];
    const b = rows[j + 1];
    const aHigh = Math.floor(row[j] / HALF);
    const bHigh = Math.floor(row[j + 1] / HALF);
    const aLow = row[j] - HALF * aHigh;
    const bLow = row[j + 1] - HALF * bHigh;
    for (let c = end; c < width; c++) {
      const x = a[c];
      const y = b[c];
      low[c] += aLow * x + bLow * y;
      high[c] += aHigh * x + bHigh * y;
    }
  }
  for (; j < end; j++) {
    const a = rows[j];
    const aHigh = Math.floor(row[j] / HALF);
    const aLow = row[j] - HALF * aHigh;
    for (let c = end; c < width; c++) {
      low[c] += aLow * a[c];
      high[c] += aHigh * a[c];
    }
  }
  for (let c = end; c < width; c++) {
    const sum = ((high[c] % q) * HALF + (low[c] % q)) % q;
    row[c] = difference(row[c], sum, q);
  }
  row.fill(0, start, end);
}

function subtract(row: Float64Array, other: Float64Array, factor: number, from: number, q: number): void {
  for (let c = from; c < row.length; c++) row[c] = difference(row[c], multiplyMod(factor, other[c], q), q);
}

function difference(a: number, b: number, q: number): number {
  return a >= b ? a - b : a - b + q;
}
