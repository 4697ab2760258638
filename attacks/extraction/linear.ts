/**
 * The coefficients [features][outputs] that minimise |x b - y|^2 + penalty |b|^2, by Cholesky's factorisation
 * of x' x + penalty; x [rows][features], y [rows][outputs].
 */
export function solveRidge(x: number[][], y: number[][], penalty: number): number[][] {
  const width = x[0].length;
  const outputs = y[0].length;
  const a = Array.from({ length: width }, () => new Float64Array(width));
  const b = Array.from({ length: width }, () => new Float64Array(outputs));
  x.forEach((row, r) => {
    for (let i = 0; i < width; i++) {
      for (let j = 0; j <= i; j++) a[i][j] += row[i] * row[j];
      for (let c = 0; c < outputs; c++) b[i][c] += row[i] * y[r][c];
    }
  });
  for (let i = 0; i < width; i++) a[i][i] += penalty;
  for (let i = 0; i < width; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i][j];
      for (let k = 0; k < j; k++) sum -= a[i][k] * a[j][k];
      a[i][j] = i === j ? Math.sqrt(sum) : sum / a[j][j];
    }
  }
  for (let c = 0; c < outputs; c++) {
    for (let i = 0; i < width; i++) {
      for (let k = 0; k < i; k++) b[i][c] -= a[i][k] * b[k][c];
      b[i][c] /= a[i][i];
    }
    for (let i = width - 1; i >= 0; i--) {
      for (let k = i + 1; k < width; k++) b[i][c] -= a[k][i] * b[k][c];
      b[i][c] /= a[i][i];
    }
  }
  return b.map((row) => Array.from(row));
}
