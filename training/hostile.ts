import { cropSegment, normaliseSegment, type Preprocessing } from '../src/ecg/preprocess.ts';
import { Random } from '../src/ecg/random.ts';
import { rootMeanSquare } from '../src/ecg/scale.ts';
import { BlindbeatError } from '../src/errors.ts';
import type { Corpus } from './data.ts';

/** A network's input that is no ECG, or a disturbed one. */
export interface HostileInput {
  /** In words: 'white noise', 'lead off', ... */
  kind: string;
  /** [p.samples], within the client's bounds on samples and energy. */
  segment: Float32Array;
}

/**
 * What a client could send that is no ECG: noise, steps, square waves, sines, spikes, constants, and an ECG
 * that is disturbed.
 *
 * Each goes through the client's own scaling and bounds (`normaliseSegment`), none through its band-pass:
 * that is more than any client can send.
 *
 * @param record the ECG [p.samples], in mV
 */
export function hostileInputs(p: Preprocessing, record: Float64Array, seed: number): HostileInput[] {
  const random = new Random(seed);
  const n = p.samples;
  const rate = p.samples / p.seconds;
  const inputs: HostileInput[] = [];
  const add = (kind: string, f: (i: number) => number) => {
    addIfAccepted(
      inputs,
      kind,
      Float64Array.from({ length: n }, (_, i) => f(i)),
      p,
    );
  };
  for (let k = 0; k < 8; k++) add('white noise', () => random.normal());
  for (let k = 0; k < 8; k++) add('random signs', () => (random.next() < 0.5 ? -1 : 1));
  for (let k = 0; k < 8; k++) {
    let level = 0;
    add('random walk', () => {
      level += random.normal();
      return level;
    });
  }
  for (let k = 0; k < 8; k++) {
    const share = 0.002 * 2 ** k; // of the samples
    add('noise bursts', () => (random.next() < share ? 10 * random.normal() : 0.05 * random.normal()));
  }
  for (const at of [0.1, 0.25, 0.5, 0.9]) {
    for (const sign of [-1, 1]) add('step', (i) => (i < at * n ? sign : -sign * 0.2));
  }
  // The circular network sees whole periods; off-grid frequencies add a jump at the seam.
  for (let f = 0.1; f < rate / 2; f *= 1.25) {
    const pace = (2 * Math.PI * Math.min(f * random.between(0.9, 1.1), rate / 2)) / rate;
    add('sine', (i) => Math.sin(pace * i));
    add('square wave', (i) => Math.sign(Math.sin(pace * i + 0.1)));
    add('sawtooth', (i) => ((pace * i) / Math.PI) % 2);
  }
  add('alternating signs', (i) => (i % 2 === 0 ? 1 : -1));
  add('chirp', (i) => Math.sin((Math.PI * rate * (i / n) ** 2 * n) / 2 / rate));
  for (const spacing of [8, 32, 128, 512, 2048, 4096]) {
    const every = Math.round(spacing * random.between(0.75, 1));
    for (const sign of [-1, 1]) {
      add('spikes', (i) => (i % every === 0 ? sign : 0) + 1e-3 * Math.sin(i));
      add(
        'double spikes',
        (i) => (i % every === 0 ? sign : i % every === 1 ? -sign : 0) + 1e-3 * Math.cos(i),
      );
    }
  }
  for (const sign of [-1, 1]) add('constant', () => sign);
  inputs.push(...disturbedRecords(p, record, random));
  return inputs;
}

/** Segments [inputs * p.samples] of hostile inputs, the same for a corpus: its first record is disturbed. */
export function hostileSegments(corpus: Corpus, p: Preprocessing): Float32Array {
  const [first] = corpus.records;
  const record = Float64Array.from(corpus.signals.subarray(first.offset, first.offset + first.length));
  const inputs = hostileInputs(p, cropSegment(record, p).samples, 1);
  const segments = new Float32Array(inputs.length * p.samples);
  inputs.forEach((input, i) => {
    segments.set(input.segment, i * p.samples);
  });
  return segments;
}

/** A record [p.samples] in mV with what goes wrong in practice: motion, a lead that falls off, saturation. */
export function disturbedRecords(p: Preprocessing, record: Float64Array, random: Random): HostileInput[] {
  const inputs: HostileInput[] = [];
  const add = (kind: string, samples: Float64Array) => addIfAccepted(inputs, kind, samples, p);
  for (const bursts of [1, 1, 1, 1, 1, 1, 2, 2, 3, 5, 10, 20]) {
    const moved = record.slice();
    for (let k = 0; k < bursts; k++) addBurst(moved, rootMeanSquare(record), p.samples / p.seconds, random);
    add('motion', moved);
  }
  for (const keep of [0.02, 0.1, 0.5, 0.9]) {
    const end = keep * p.samples;
    add(
      'lead off',
      record.map((x, i) => (i < end ? x : 0)),
    );
    add(
      'lead off, rail',
      record.map((x, i) => (i < end ? x : 5)),
    );
  }
  for (const gain of [3, 10, 100]) {
    add(
      'saturated',
      record.map((x) => Math.min(Math.max(gain * x, -1), 1)),
    );
    add(
      'saturated on one side',
      record.map((x) => Math.min(gain * x, 0.3)),
    );
  }
  return inputs;
}

/**
 * Adds a motion artefact to a record [samples] in place, as when an electrode moves.
 *
 * For 0.03-0.45 s it adds a level of 3-15 x `rms` of either sign, which may jump to others of up to 1.5 times
 * that; the last one decays with a time constant of 0.02-0.6 s.
 * Too short to move the robust scale, it meets the bound of the samples instead: what makes a polynomial
 * network escape (docs/training.md).
 *
 * @param rate samples per second
 */
export function addBurst(x: Float64Array, rms: number, rate: number, random: Random): void {
  const size = rms * random.between(3, 15);
  const length = Math.round(rate * random.between(0.03, 0.45));
  const decay = rate * random.between(0.02, 0.6);
  const jumps = random.between(0.02, 0.4);
  const start = random.below(x.length);
  let level = random.next() < 0.5 ? -size : size;
  for (let i = 0; i < length + 4 * decay; i++) {
    if (i < length && random.next() < jumps) level = size * random.between(-1.5, 1.5);
    const tail = i < length ? 1 : Math.exp((length - i) / decay);
    x[(start + i) % x.length] += level * tail;
  }
}

function addIfAccepted(inputs: HostileInput[], kind: string, samples: Float64Array, p: Preprocessing): void {
  try {
    inputs.push({ kind, segment: normaliseSegment(samples, p) });
  } catch (error) {
    // What the client refuses (no signal to scale) never becomes a segment.
    if (!(error instanceof BlindbeatError) || error.code !== 'ECG') throw error;
  }
}
