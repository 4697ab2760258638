import { csvFormatRow } from 'd3-dsv';
import { BlindbeatError } from '../errors.ts';
import { type Beat, beatsOf } from './beats.ts';
import { addNoise } from './noise.ts';
import { Random } from './random.ts';
import type { Recording } from './recording.ts';
import { RHYTHMS, type Rhythm } from './rhythm.ts';

/** What a synthetic ECG shall be. */
export interface SynthOptions {
  rhythm: Rhythm;
  seconds: number;
  /** Samples per second. */
  rate: number;
  /** The same seed gives the same samples. */
  seed: number;
  /** Mean beats per minute; default: drawn by the seed, 58-85, in atrial fibrillation 80-120. */
  heartRate?: number;
  /** Factor on the baseline wander, muscle noise and hum of an ordinary recording; default 1, 0 for none. */
  noise?: number;
}

/**
 * Makes a synthetic single-lead ECG in mV after McSharry, Clifford, Tarassenko & Smith, "A dynamical model
 * for generating synthetic electrocardiogram signals", IEEE TBME 50(3), 2003: every wave (P, Q, R, S, T) is a
 * Gaussian in the phase of its beat, summed here in closed form instead of integrated,
 * z(t) = sum_i A_i exp(-(t - t_i)^2 / 2 s_i^2).
 * P and T move with the RR interval, QRS keeps its width. The RR series has their respiratory (0.25 Hz) and
 * Mayer (0.1 Hz) waves.
 *
 * Atrial fibrillation: independent RR intervals, no P waves, and the fibrillatory waves of Stridh & Sornmo
 * (IEEE TBME 48(1), 2001). Ectopic: premature wide ventricular beats with a compensatory pause. Noise: a
 * normal rhythm under heavy wander, muscle noise and electrode motion.
 *
 * @throws BlindbeatError USAGE for lengths, rates or heart rates that make no ECG
 */
export function synthesise(options: SynthOptions): Recording {
  const { rhythm, seconds, rate, seed, noise = 1 } = options;
  if (!RHYTHMS.includes(rhythm)) {
    throw new BlindbeatError('USAGE', `Rhythm: expected ${RHYTHMS.join(', ')}, got "${rhythm}".`);
  }
  within('seconds', seconds, 1, 86_400);
  within('rate', rate, 100, 2000);
  within('heart rate', options.heartRate ?? 60, 30, 200);
  within('noise', noise, 0, 100);
  if (!Number.isFinite(seed)) throw new BlindbeatError('USAGE', 'Seed: expected a number.');
  const random = new Random(seed);
  const drawn = rhythm === 'af' ? random.between(80, 120) : random.between(58, 85);
  const beats = beatsOf(rhythm, seconds, options.heartRate ?? drawn, random);
  const mv = new Float64Array(Math.round(seconds * rate));
  for (const beat of beats) addBeat(mv, rate, beat);
  if (rhythm === 'af') addFibrillation(mv, rate, random);
  addNoise(mv, rate, noise, rhythm === 'noise', random);
  return { name: `synthetic ${rhythm}, seed ${seed}`, rate, leads: [{ name: 'ECG', mv }] };
}

function within(name: string, value: number, low: number, high: number): void {
  if (value >= low && value <= high) return;
  throw new BlindbeatError('USAGE', `Synthetic ECG, ${name}: expected ${low} to ${high}, got ${value}.`);
}

/** Adds a beat's waves, each as far as 5 standard deviations. */
function addBeat(mv: Float64Array, rate: number, beat: Beat): void {
  for (const wave of beat.waves) {
    const centre = beat.time + wave.at;
    const first = Math.max(0, Math.ceil((centre - 5 * wave.width) * rate));
    const last = Math.min(mv.length - 1, Math.floor((centre + 5 * wave.width) * rate));
    for (let i = first; i <= last; i++) {
      mv[i] += wave.mv * Math.exp(-0.5 * ((i / rate - centre) / wave.width) ** 2);
    }
  }
}

/**
 * Adds fibrillatory waves: -sum_{k=1..3} 2/(k pi) (a + da sin 2 pi fa t) sin k theta(t), a sawtooth whose
 * frequency, 4-9 Hz, and size drift slowly.
 */
function addFibrillation(mv: Float64Array, rate: number, random: Random): void {
  const size = random.between(0.03, 0.08); // mV
  const frequency = random.between(4.8, 7.5);
  const sway = random.between(0.2, 0.6); // Hz about the frequency
  const swayRate = random.between(0.1, 0.25);
  const swellRate = random.between(0.15, 0.4);
  const turn = random.between(0, 2 * Math.PI);
  for (let i = 0; i < mv.length; i++) {
    const t = i / rate;
    const theta =
      2 * Math.PI * frequency * t + (sway / swayRate) * Math.sin(2 * Math.PI * swayRate * t + turn);
    const swell = size * (1 + 0.4 * Math.sin(2 * Math.PI * swellRate * t + 2 * turn));
    for (let k = 1; k <= 3; k++) mv[i] -= ((2 * swell) / (k * Math.PI)) * Math.sin(k * theta);
  }
}

/**
 * Writes a recording as CSV: a title line, then the time in s (10 us steps) and each lead in mV (1 uV steps).
 */
export function toCsv({ rate, leads }: Recording): string {
  const lines = [csvFormatRow(['time [s]', ...leads.map((lead) => `${lead.name} [mV]`)])];
  const length = Math.min(...leads.map((lead) => lead.mv.length));
  // Line by line: all fields of a day at 300 Hz at once are more than Node's memory.
  for (let i = 0; i < length; i++) {
    lines.push(csvFormatRow([(i / rate).toFixed(5), ...leads.map((lead) => lead.mv[i].toFixed(3))]));
  }
  return `${lines.join('\n')}\n`;
}
