import { BlindbeatError } from '../errors.ts';
import { quantile, robustScale } from './scale.ts';

/** Central 98 % of a lead spread over more than this: not mV (the largest real ones stay below 10 mV). */
const IMPLAUSIBLE_MILLIVOLTS = 20;
/**
 * A conditioned segment with a smaller robust rms has no heartbeat in it: the steps of a converter are 1-5
 * uV.
 */
const NO_SIGNAL_MILLIVOLTS = 0.003;
/** A second whose conditioned samples stay within this span is called flat. */
const FLAT_MILLIVOLTS = 0.02;
const FLAT_SHARE = 0.1;
/** Samples that stand still at the record's extreme for this long are called clipped. */
const CLIP_SECONDS = 0.02;
const CLIP_SHARE = 0.005;

/**
 * Looks at a raw lead in mV, `offset` seconds into the record; returns sentences to warn with.
 *
 * @throws BlindbeatError ECG if samples are missing or all are equal
 */
export function checkSignal(mv: Float64Array, rate: number, offset: number): string[] {
  let missing = 0;
  let first = -1;
  for (let i = 0; i < mv.length; i++) {
    if (Number.isFinite(mv[i])) continue;
    if (missing++ === 0) first = i;
  }
  if (missing > 0) {
    throw new BlindbeatError(
      'ECG',
      `${missing} samples are missing or not finite numbers, the first at ${(offset + first / rate).toFixed(2)} s. Choose a part of the record without a gap (start), or another lead.`,
    );
  }
  const sorted = mv.slice().sort();
  const low = sorted[0];
  const high = sorted[sorted.length - 1];
  if (low === high) {
    throw new BlindbeatError(
      'ECG',
      'The lead is flat: every sample is the same. Is the electrode connected?',
    );
  }
  const warnings: string[] = [];
  if (quantile(sorted, 0.99) - quantile(sorted, 0.01) > IMPLAUSIBLE_MILLIVOLTS) {
    warnings.push(
      `The signal spans more than ${IMPLAUSIBLE_MILLIVOLTS} mV: is its unit uV, or raw converter steps? Its size is scaled away, so it is classified all the same.`,
    );
  }
  const clipped = clippedShare(mv, low, high, Math.max(4, Math.round(CLIP_SECONDS * rate)));
  if (clipped > CLIP_SHARE) {
    warnings.push(
      `${(100 * clipped).toFixed(1)} % of the samples stand at the signal's limits: it is clipped, and its shape cannot be trusted.`,
    );
  }
  return warnings;
}

/** Share of samples in runs of at least `run` equal samples at `low` or `high`. */
function clippedShare(mv: Float64Array, low: number, high: number, run: number): number {
  let clipped = 0;
  for (let i = 0; i < mv.length; ) {
    let end = i + 1;
    while (end < mv.length && mv[end] === mv[i]) end++;
    if ((mv[i] === low || mv[i] === high) && end - i >= run) clipped += end - i;
    i = end;
  }
  return clipped / mv.length;
}

/**
 * Looks at a conditioned segment in mV at `rate` Hz; returns sentences to warn with.
 *
 * @throws BlindbeatError ECG if there is no signal in it
 */
export function checkSegment(segment: Float64Array, rate: number): string[] {
  if (robustScale(segment, 1) < NO_SIGNAL_MILLIVOLTS) {
    throw new BlindbeatError(
      'ECG',
      `There is no heartbeat in the signal: less than ${1000 * NO_SIGNAL_MILLIVOLTS} uV within the band. Is the electrode connected, and is the signal in mV, not V?`,
    );
  }
  const second = Math.round(rate);
  const seconds = Math.floor(segment.length / second);
  let flat = 0;
  for (let s = 0; s < seconds; s++) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let i = s * second; i < (s + 1) * second; i++) {
      low = Math.min(low, segment[i]);
      high = Math.max(high, segment[i]);
    }
    if (high - low < FLAT_MILLIVOLTS) flat++;
  }
  if (flat <= FLAT_SHARE * seconds) return [];
  return [`The signal is flat for ${flat} of ${seconds} s: was the electrode off?`];
}
