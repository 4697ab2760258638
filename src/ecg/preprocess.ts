import * as v from 'valibot';
import { BlindbeatError } from '../errors.ts';
import { type Fault, numberWithin, parse, positive, record, refuse, wholeNumber } from '../schema.ts';
import { butterworth, filterZeroPhase } from './filter.ts';
import { checkSegment, checkSignal } from './quality.ts';
import { repeatToLength } from './repeat.ts';
import { resample, resampledLength } from './resample.ts';
import { robustScale, rootMeanSquare } from './scale.ts';

/**
 * What settings may ask for, so that whoever sends them cannot make a client work long: Hz of the network's
 * input; Hz of the band's lower edge, whose filter looks 1.5 periods ahead; the filters' order; a segment.
 */
const LIMITS = { rate: { lowest: 20, highest: 1000 }, low: 0.01, order: 8, seconds: 120, samples: 2 ** 15 };

/** The schema of `Preprocessing`. */
export const PreprocessingSchema = record({
  version: v.literal(1, '1'),
  /** Length of a segment in seconds, and in samples: the network's input rate is samples / seconds. */
  seconds: numberWithin(0.001, LIMITS.seconds),
  samples: wholeNumber(1, LIMITS.samples),
  /** Shorter signals are refused (seconds). */
  minimumSeconds: positive(),
  /** Butterworth high-pass and low-pass, each run forwards and backwards: -6 dB at `low` and `high` Hz. */
  band: record({
    low: numberWithin(LIMITS.low, LIMITS.rate.highest),
    lowOrder: order(),
    high: positive(),
    highOrder: order(),
  }),
  /** A segment is divided by factor x the rms of its samples clipped to [percentile, 100 - percentile] %. */
  scale: record({ percentile: percentile(), factor: numberWithin(0.01, 100) }),
  /** Samples are bounded: bound * tanh(x / bound). */
  bound: numberWithin(0.1, 100),
  /** The segment's rms after bounding is held to at most this. */
  rmsLimit: numberWithin(0.01, 100),
});

/**
 * How an ECG in mV becomes a network's input: plain data, stored in every model file, so that training and
 * client cannot differ. `version` names the algorithm of this file; a change of it is a new version.
 */
export type Preprocessing = v.InferOutput<typeof PreprocessingSchema>;

function order() {
  const words = `an even number from 2 to ${LIMITS.order}`;
  return v.pipe(
    v.number(words),
    v.multipleOf(2, words),
    v.minValue(2, words),
    v.maxValue(LIMITS.order, words),
  );
}

function percentile() {
  const words = 'a number from 0 to below 50';
  return v.pipe(v.number(words), v.minValue(0, words), v.ltValue(50, words));
}

/** 30 s as 4096 samples (136.53 Hz) of the 0.5-40 Hz band, |x| <= 3 and rms <= 0.75. */
export const DEFAULT_PREPROCESSING: Preprocessing = {
  version: 1,
  seconds: 30,
  samples: 4096,
  minimumSeconds: 5,
  band: { low: 0.5, lowOrder: 2, high: 40, highOrder: 4 },
  scale: { percentile: 1, factor: 1.5 },
  bound: 3,
  rmsLimit: 0.75,
};

/** Sampling rate of the network's input in Hz. */
export function targetRate(p: Preprocessing): number {
  return p.samples / p.seconds;
}

/**
 * Resamples a record in mV at `rate` Hz to the target rate, then band-passes it with zero phase; any length,
 * floor(n targetRate / rate) samples, still in mV. The filter comes second so that its response is the same
 * for every input rate; both are linear, so the order matters nowhere else.
 *
 * @param phase where the first sample of the result lies, in samples of `mv`, from 0 to below 1
 */
export function conditionSignal(mv: Float64Array, rate: number, p: Preprocessing, phase = 0): Float64Array {
  const target = targetRate(p);
  const { low, lowOrder, high, highOrder } = p.band;
  const sections = [
    ...butterworth('highpass', lowOrder, low, target),
    ...butterworth('lowpass', highOrder, high, target),
  ];
  // 1.5 periods of the lower band edge: longer padding changed nothing in the measurement of filter.ts.
  return filterZeroPhase(resample(mv, rate, target, phase), sections, Math.round((1.5 / low) * target));
}

/** Where a segment begins. */
export interface CropOptions {
  /**
   * Seconds from the beginning of the record; default: the central segment of a long record, 0 of a short
   * one.
   */
  start?: number;
}

/** Part of a conditioned record: `samples` [p.samples] in mV. */
export interface Crop {
  samples: Float64Array;
  startSeconds: number;
  /** Seconds of the record that the crop covers; fewer than p.seconds if it is repeated. */
  seconds: number;
  /** Seconds after which a repeated crop starts again; undefined if the record filled the segment. */
  repeatSeconds?: number;
}

/**
 * Takes p.samples samples out of a conditioned record: from `start`, by default the central ones. If the
 * record ends before (a short record, or a late start), the part that there is, at least p.minimumSeconds, is
 * repeated with the seam where it harms least (see `repeatToLength`).
 *
 * @throws BlindbeatError ECG if the start lies outside or too little is left after it
 */
export function cropSegment(conditioned: Float64Array, p: Preprocessing, options: CropOptions = {}): Crop {
  const rate = targetRate(p);
  const begin = segmentStart(conditioned.length, p, options);
  const part = conditioned.subarray(begin, begin + p.samples);
  const startSeconds = begin / rate;
  if (part.length === p.samples) {
    return { samples: part.slice(), startSeconds, seconds: p.seconds };
  }
  const { samples, period } = repeatToLength(part, p.samples, rate);
  return { samples, startSeconds, seconds: part.length / rate, repeatSeconds: period / rate };
}

/** Index of the segment's first sample in a conditioned record of `length` samples. */
function segmentStart(length: number, p: Preprocessing, options: CropOptions): number {
  const rate = targetRate(p);
  const duration = length / rate;
  const least = Math.floor(p.minimumSeconds * rate);
  if (length < least) {
    throw new BlindbeatError(
      'ECG',
      `The record is ${duration.toFixed(1)} s long; at least ${p.minimumSeconds} s are needed. Record for longer: ${p.seconds} s are best.`,
    );
  }
  if (options.start === undefined) return Math.max(0, Math.floor((length - p.samples) / 2));
  const latest = (length - least) / rate;
  if (!(options.start >= 0) || options.start > latest) {
    throw new BlindbeatError(
      'ECG',
      `A segment cannot start at ${options.start} s: the record is ${duration.toFixed(1)} s long and a segment needs at least ${p.minimumSeconds} s of it. Choose a start from 0 to ${latest.toFixed(1)} s.`,
    );
  }
  const begin = Math.min(Math.round(options.start * rate), length - least);
  // Rounding must not make a whole segment at the record's end one sample too short.
  return begin + p.samples === length + 1 ? begin - 1 : begin;
}

/**
 * Scales a segment in mV to the network's range: x / (factor x robust rms), then bound * tanh(x / bound),
 * then down to rms <= rmsLimit. The second bounds every sample, the third the energy: what a polynomial
 * network needs to stay within the range that it was validated on, whatever the input.
 *
 * @throws BlindbeatError ECG if the segment has no signal, or samples that are no finite numbers
 */
export function normaliseSegment(segment: Float64Array, p: Preprocessing): Float32Array {
  const scale = robustScale(segment, p.scale.percentile) * p.scale.factor;
  if (!(scale > 0) || !Number.isFinite(scale)) {
    throw new BlindbeatError(
      'ECG',
      'The segment has no signal to scale (flat, or not finite). Is the lead connected?',
    );
  }
  const x = new Float32Array(segment.length);
  for (let i = 0; i < x.length; i++) x[i] = p.bound * Math.tanh(segment[i] / scale / p.bound);
  const rms = rootMeanSquare(x);
  if (rms > p.rmsLimit) {
    // A little less than the limit, so that rounding to float32 cannot exceed it.
    const gain = (p.rmsLimit / rms) * (1 - 2 ** -22);
    for (let i = 0; i < x.length; i++) x[i] *= gain;
  }
  return x;
}

/** A network's input and what is to be told about it. */
export interface Segment {
  /** [p.samples], |x| <= p.bound, rms <= p.rmsLimit. */
  samples: Float32Array;
  startSeconds: number;
  /** Seconds of the record in the segment; fewer than p.seconds if repeated. */
  seconds: number;
  /** Sampling rate of the record in Hz. */
  rate: number;
  repeated: boolean;
  /** Sentences for the user; the segment can be classified all the same. */
  warnings: string[];
}

/**
 * The record's part on each side of a segment that can still influence it: the filter forgets e^-2.2 a
 * second.
 */
const MARGIN_SECONDS = 10;

/**
 * Everything from a lead in mV to a network's input: checks, conditioning, crop and scaling. Equal to
 * normaliseSegment(cropSegment(conditionSignal(mv))) up to rounding; of a long record only the segment and a
 * margin are looked at, so that a gap elsewhere does no harm.
 *
 * @throws BlindbeatError ECG for a rate out of range, missing samples, no signal, too short a signal
 */
export function prepareSegment(
  mv: Float64Array,
  rate: number,
  p: Preprocessing,
  options: CropOptions = {},
): Segment {
  checkRate(rate, p);
  const target = targetRate(p);
  const first = segmentStart(resampledLength(mv.length, rate, target), p, options);
  const begin = first / target;
  const { from, phase, start } = cut(first, rate, p);
  const part = mv.subarray(from, Math.ceil((begin + p.seconds + MARGIN_SECONDS) * rate));
  const warnings = checkSignal(part, rate, from / rate);
  const conditioned = conditionSignal(part, rate, p, phase);
  const crop = cropSegment(conditioned, p, { start });
  warnings.push(...checkSegment(crop.samples, target));
  if (crop.repeatSeconds !== undefined) {
    warnings.push(
      `Only ${crop.seconds.toFixed(1)} s of signal: repeated every ${crop.repeatSeconds.toFixed(1)} s to fill ${p.seconds} s.`,
    );
  }
  return {
    samples: normaliseSegment(crop.samples, p),
    startSeconds: begin,
    seconds: crop.seconds,
    rate,
    repeated: crop.repeatSeconds !== undefined,
    warnings,
  };
}

/**
 * Where to cut a record in front of a segment whose first sample at the target rate is `first`: at the record's
 * sample `from`; the conditioned signal starts `phase` samples after it, and the segment at its second `start`.
 * At multiples of a segment's length input and output may have a sample at the same time.
 */
function cut(first: number, rate: number, p: Preprocessing): { from: number; phase: number; start: number } {
  const target = targetRate(p);
  const begin = first / target;
  if (Number.isInteger(p.seconds * rate)) {
    const offset = Math.max(0, Math.floor((begin - MARGIN_SECONDS) / p.seconds) * p.seconds);
    return { from: offset * rate, phase: 0, start: begin - offset };
  }
  const skipped = Math.max(0, first - Math.ceil(MARGIN_SECONDS * target));
  const position = skipped * (rate / target);
  const from = Math.floor(position);
  return { from, phase: position - from, start: (first - skipped) / target };
}

/** Input rates that make sense for an ECG, in Hz. */
const RATES = { lowest: 100, highest: 2000 };

function checkRate(rate: number, p: Preprocessing): void {
  const lowest = Math.max(RATES.lowest, 2 * p.band.high);
  if (!(rate >= lowest && rate <= RATES.highest)) {
    throw new BlindbeatError(
      'ECG',
      `A sampling rate of ${rate} Hz cannot be used: expected ${lowest} to ${RATES.highest} Hz. Check the rate in the file or the one given.`,
    );
  }
}

const FAULT: Fault = {
  code: 'MODEL',
  title: 'The preprocessing settings do not fit. Was the model file made by another version?',
  root: 'preprocessing',
};

/**
 * Reads settings that came from elsewhere.
 *
 * @throws BlindbeatError MODEL with everything that is wrong
 */
export function parsePreprocessing(value: unknown): Preprocessing {
  const preprocessing = parse(PreprocessingSchema, value, FAULT);
  refuse(FAULT, preprocessingProblems(preprocessing));
  return preprocessing;
}

/** All that is wrong with settings of sound structure; their paths begin with `at`. */
export function preprocessingProblems(p: Preprocessing, at = ''): string[] {
  const problems: string[] = [];
  const { seconds, minimumSeconds, band } = p;
  const rate = targetRate(p);
  const { lowest, highest } = LIMITS.rate;
  if (!(rate >= lowest && rate <= highest)) {
    problems.push(
      `${at}seconds: expected a rate, samples / seconds, from ${lowest} to ${highest} Hz, got ${rate}`,
    );
  }
  if (!(minimumSeconds <= seconds && minimumSeconds * rate >= 1)) {
    problems.push(
      `${at}minimumSeconds: expected at most seconds, ${seconds}, and at least a sample, got ${minimumSeconds}`,
    );
  }
  const half = rate / 2;
  if (band.high <= band.low || band.high >= half) {
    problems.push(
      `${at}band.high: expected a frequency above low, ${band.low} Hz, ` +
        `and below half of samples / seconds, ${half} Hz, got ${band.high}`,
    );
  }
  return problems;
}
