import type { Targets } from './answers.ts';
import { solveRidge } from './linear.ts';
import type { Queries } from './queries.ts';

/** Weight of the squares of the coefficients, per query, of features of deviation 1. */
const PENALTY = 0.01;
/** Bands of the power spectrum, evenly spaced on a logarithmic scale between these frequencies in Hz. */
const BANDS = { count: 24, low: 0.5, high: 40 };
/** Where a beat may be found in the envelope, in seconds from the last one. */
const REFRACTORY = 0.25;

/** Numbers that say something of a segment's rhythm and noise, for a student that no network is needed for. */
function featuresOf(segment: Float32Array, seconds: number): number[] {
  const rate = segment.length / seconds;
  const bands = logEnergies(segment, seconds);
  const beats = beatTimes(segment, rate);
  const intervals = beats.slice(1).map((t, i) => t - beats[i]);
  const steps = intervals.slice(1).map((r, i) => Math.abs(r - intervals[i]));
  const mean = meanOf(intervals);
  const rhythm = [
    mean,
    deviationOf(intervals),
    meanOf(steps),
    deviationOf(steps),
    steps.filter((d) => d > 0.05).length / Math.max(1, steps.length),
    steps.filter((d) => d > 0.15 * mean).length / Math.max(1, steps.length),
    Math.min(...intervals, 3),
    Math.max(...intervals, 0),
  ];
  const sizes = segment.map(Math.abs).sort();
  const quantiles = [0.25, 0.5, 0.75, 0.9, 0.97, 0.995].map((q) => sizes[Math.floor(q * sizes.length)]);
  const linear = [...bands, ...rhythm, ...quantiles];
  return [...linear, ...rhythm.map((r) => r * r), ...bands.map((b) => b * b)];
}

/**
 * Learns the scores of the classes as linear functions of features.
 *
 * @returns scores [count * classes] of `judged`
 */
export function ridgeScores(
  features: { queries: number[][]; judged: number[][] },
  targets: Targets,
  classes: number,
): Float32Array {
  const { queries, judged } = features;
  const count = queries.length;
  const width = queries[0].length;
  const means = Array.from({ length: width }, (_, k) => meanOf(queries.map((f) => f[k])));
  const scales = means.map((_, k) => deviationOf(queries.map((f) => f[k])) || 1);
  const standard = (f: number[]) => [1, ...f.map((x, k) => clip((x - means[k]) / scales[k]))];
  const x = queries.map(standard);
  const y = Array.from({ length: count }, (_, i) => wanted(targets, i, classes));
  const coefficients = solveRidge(x, y, PENALTY * count);
  const out = new Float32Array(judged.length * classes);
  judged.forEach((f, i) => {
    standard(f).forEach((value, k) => {
      for (let c = 0; c < classes; c++) out[i * classes + c] += value * coefficients[k][c];
    });
  });
  return out;
}

/** The features of all queries. */
export function allFeatures({ segments, count }: Queries, seconds: number): number[][] {
  const samples = segments.length / count;
  return Array.from({ length: count }, (_, i) =>
    featuresOf(segments.subarray(i * samples, (i + 1) * samples), seconds),
  );
}

/** Scores without their mean, or 3 for the class that was told and -1 for the others. */
function wanted({ scores, classes: named }: Targets, i: number, classes: number): number[] {
  const row = Array.from({ length: classes }, (_, c) =>
    scores ? scores[i * classes + c] : named[i] === c ? 3 : -1,
  );
  const mean = meanOf(row);
  return row.map((s) => s - mean);
}

/** log of the power in each band, by a DFT of every frequency that the segment's length resolves to 0.1 Hz. */
function logEnergies(segment: Float32Array, seconds: number): number[] {
  const { count, low, high } = BANDS;
  const spectrum = powerSpectrum(segment);
  const edge = (k: number) => low * (high / low) ** (k / count) * seconds;
  return Array.from({ length: count }, (_, k) => {
    let sum = 1e-6;
    const from = Math.floor(edge(k));
    const to = Math.max(from + 1, Math.floor(edge(k + 1)));
    for (let f = from; f < to; f++) sum += spectrum[f] / (to - from);
    return Math.log(sum);
  });
}

/** |DFT|^2 / length^2 at whole cycles per segment, by a radix-2 transform; the length is a power of two. */
function powerSpectrum(segment: Float32Array): Float64Array {
  const n = segment.length;
  const re = Float64Array.from(segment);
  const im = new Float64Array(n);
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const angle = (-2 * Math.PI) / size;
    for (let k = 0; k < size / 2; k++) {
      const [c, s] = [Math.cos(angle * k), Math.sin(angle * k)];
      for (let a = k; a < n; a += size) {
        const b = a + size / 2;
        const x = re[b] * c - im[b] * s;
        const y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
  return re.map((x, i) => (x * x + im[i] * im[i]) / n / n);
}

/** Seconds of beats: peaks of the smoothed size of the signal's slope. */
function beatTimes(segment: Float32Array, rate: number): number[] {
  const n = segment.length;
  const half = Math.round(0.04 * rate);
  const slope = segment.map((x, i) => Math.abs(x - segment[Math.max(0, i - 2)]));
  const envelope = new Float32Array(n);
  let sum = 0;
  for (let i = 0; i < n + half; i++) {
    sum += (i < n ? slope[i] : 0) - (i - 2 * half - 1 >= 0 ? slope[i - 2 * half - 1] : 0);
    if (i >= half) envelope[i - half] = sum;
  }
  const threshold = 0.45 * envelope.slice().sort()[Math.floor(0.98 * n)];
  const beats: number[] = [];
  for (let i = 1; i < n - 1; i++) {
    if (envelope[i] < threshold || envelope[i] < envelope[i - 1] || envelope[i] < envelope[i + 1]) continue;
    const last = beats.at(-1);
    if (last === undefined || i / rate - last >= REFRACTORY) beats.push(i / rate);
    else if (envelope[i] > envelope[Math.round(last * rate)]) beats[beats.length - 1] = i / rate;
  }
  return beats;
}

function clip(x: number): number {
  return Math.min(4, Math.max(-4, x));
}

function meanOf(values: number[]): number {
  return values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;
}

function deviationOf(values: number[]): number {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((v) => (v - mean) ** 2)));
}
