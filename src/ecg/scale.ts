/** sqrt(mean(x^2)); 0 for no samples. */
export function rootMeanSquare(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return x.length === 0 ? 0 : Math.sqrt(sum / x.length);
}

/** The rms of `x` clipped to its [percentile, 100 - percentile] %: a scale that spikes do not move. */
export function robustScale(x: Float64Array, percentile: number): number {
  const sorted = x.slice().sort();
  const low = quantile(sorted, percentile / 100);
  const high = quantile(sorted, 1 - percentile / 100);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += Math.min(Math.max(x[i], low), high) ** 2;
  return x.length === 0 ? 0 : Math.sqrt(sum / x.length);
}

/** The q-quantile (0..1) of ascending samples, interpolated linearly as numpy.quantile does. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const i = Math.min(Math.floor(at), sorted.length - 2);
  if (i < 0) return sorted[0];
  return sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
}
