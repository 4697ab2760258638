import { extendEven } from './filter.ts';

/**
 * Zero crossings of the sinc on each side: a transition of +-0.16 of the lower of the two Nyquist
 * frequencies.
 */
const LOBES = 16;
/** Kaiser's beta for 80 dB: 0.1102 (80 - 8.7), Kaiser 1974. */
const BETA = 7.857;
/** Table rows per input sample; linear interpolation between them leaves an error near -120 dB. */
const PHASES = 512;

/**
 * Resamples to `toRate` Hz with a Kaiser-windowed sinc: y[j] = sum_i x[i] h(i - j fromRate / toRate), cut off
 * at half the lower of the two rates, so that what would alias is suppressed by 80 dB. Both signals begin at
 * time 0; the result has floor(n toRate / fromRate) samples. Weights are normalised: a constant stays itself.
 * Any two positive rates, also irrational ratios (J. O. Smith, "Digital Audio Resampling", 1984).
 *
 * @param phase where the first sample of the result lies, in samples of `x`, from 0 to below 1
 */
export function resample(x: Float64Array, fromRate: number, toRate: number, phase = 0): Float64Array {
  const length = resampledLength(x.length - phase, fromRate, toRate);
  const y = new Float64Array(length);
  if (length === 0 || (fromRate === toRate && phase === 0)) return y.length ? x.slice(0, length) : y;
  const { table, reach, taps } = kernelTable(fromRate, toRate);
  const padded = extendEven(x, reach + 1);
  const step = fromRate / toRate;
  for (let j = 0; j < length; j++) {
    const position = j * step + phase;
    const whole = Math.floor(position);
    const between = (position - whole) * PHASES;
    const row = Math.floor(between);
    const mix = between - row;
    const a = row * taps;
    const b = a + taps;
    // Tap k reads input sample whole - reach + 1 + k, which is padded[whole + 2 + k].
    const start = whole + 2;
    let sum = 0;
    let weight = 0;
    for (let k = 0; k < taps; k++) {
      const h = table[a + k] + mix * (table[b + k] - table[a + k]);
      sum += h * padded[start + k];
      weight += h;
    }
    y[j] = sum / weight;
  }
  return y;
}

/** Samples that `length` samples at `fromRate` become at `toRate` (the tolerance forgives rounding only). */
export function resampledLength(length: number, fromRate: number, toRate: number): number {
  return Math.floor((length * toRate) / fromRate + 1e-6);
}

interface KernelTable {
  fromRate: number;
  toRate: number;
  /** `[PHASES + 1][taps]`, row-major: row r holds h at the taps' distances from a position r / PHASES. */
  table: Float64Array;
  /** Input samples on each side of the position that the kernel touches. */
  reach: number;
  taps: number;
}

let lastTable: KernelTable | undefined; // a memo of the pure function below: a data set has one rate

function kernelTable(fromRate: number, toRate: number): KernelTable {
  if (lastTable?.fromRate === fromRate && lastTable.toRate === toRate) return lastTable;
  const stretch = Math.max(1, fromRate / toRate); // input samples per lobe
  const reach = Math.ceil(LOBES * stretch);
  const taps = 2 * reach;
  const table = new Float64Array((PHASES + 1) * taps);
  for (let row = 0; row <= PHASES; row++) {
    for (let k = 0; k < taps; k++) {
      table[row * taps + k] = windowedSinc((k - reach + 1 - row / PHASES) / stretch);
    }
  }
  lastTable = { fromRate, toRate, table, reach, taps };
  return lastTable;
}

/** sinc(u) under a Kaiser window that ends at |u| = LOBES. */
function windowedSinc(u: number): number {
  if (Math.abs(u) >= LOBES) return 0;
  const sinc = u === 0 ? 1 : Math.sin(Math.PI * u) / (Math.PI * u);
  return (sinc * besselI0(BETA * Math.sqrt(1 - (u / LOBES) ** 2))) / besselI0(BETA);
}

/** The modified Bessel function I0(x) = sum_k ((x/2)^k / k!)^2, by its power series. */
function besselI0(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
