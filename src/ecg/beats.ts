import type { Random } from './random.ts';
import type { Rhythm } from './rhythm.ts';

/** One heartbeat: its R peak in seconds, and its waves. */
export interface Beat {
  time: number;
  kind: 'sinus' | 'fibrillation' | 'ventricular';
  waves: Wave[];
}

/** A Gaussian `at` seconds after the R peak, `width` (standard deviation) in seconds, `mv` high. */
interface Wave {
  at: number;
  width: number;
  mv: number;
}

/** What differs from person to person: factors on the waves' sizes. */
interface Person {
  p: number;
  q: number;
  r: number;
  s: number;
  t: number;
}

/**
 * Draws the beats of a rhythm, in order, from 2 s before a recording of so many seconds to 2 s after it, with
 * a mean of `heartRate` beats per minute.
 */
export function beatsOf(rhythm: Rhythm, seconds: number, heartRate: number, random: Random): Beat[] {
  const person: Person = {
    p: random.between(0.8, 1.3),
    q: random.between(0.4, 1.3),
    r: random.between(0.7, 1.3),
    s: random.between(0.5, 1.5),
    t: random.between(0.7, 1.3),
  };
  const mean = 60 / heartRate;
  const next = rhythm === 'af' ? fibrillationIntervals(mean, random) : sinusIntervals(mean, random);
  const beats: Beat[] = [];
  let time = -2 + random.between(0, mean);
  let interval = next(time);
  let untilEctopic = 1 + random.below(4);
  while (time < seconds + 2) {
    // Breathing turns the heart's axis: the beats grow and shrink by a few percent.
    const size = 1 + 0.05 * Math.sin(2 * Math.PI * 0.25 * time) + 0.02 * random.normal();
    beats.push(
      rhythm === 'af'
        ? { time, kind: 'fibrillation', waves: conductedBeat(person, interval, size, false) }
        : { time, kind: 'sinus', waves: conductedBeat(person, interval, size, true) },
    );
    interval = next(time);
    if (rhythm === 'ectopic' && untilEctopic-- === 0) {
      const early = time + random.between(0.52, 0.64) * interval;
      beats.push({ time: early, kind: 'ventricular', waves: ventricularBeat(person, interval, size) });
      interval *= 2; // the sinus beat that would come is not conducted: a full compensatory pause
      untilEctopic = 2 + random.below(4);
    }
    time += interval;
  }
  return beats;
}

/**
 * RR intervals of a sinus rhythm: mean + deviation x (Mayer waves at 0.1 Hz + respiration at 0.25 Hz), each a
 * band of standard deviation 0.01 Hz with powers 1 : 2 (McSharry 2003: LF/HF = 0.5), as sums of sines.
 */
function sinusIntervals(mean: number, random: Random): (time: number) => number {
  const deviation = 0.045 * mean;
  const sines = [
    { centre: 0.1, power: 1 / 3 },
    { centre: 0.25, power: 2 / 3 },
  ].flatMap(({ centre, power }) =>
    Array.from({ length: 8 }, () => ({
      frequency: centre + 0.01 * random.normal(),
      size: Math.sqrt((2 * power) / 8),
      turn: random.between(0, 2 * Math.PI),
    })),
  );
  return (time) => {
    let sum = 0;
    for (const s of sines) sum += s.size * Math.sin(2 * Math.PI * s.frequency * time + s.turn);
    return mean + deviation * Math.max(-3, Math.min(3, sum));
  };
}

/** RR intervals of atrial fibrillation: independent, log-normal, coefficient of variation 0.24, >= 0.32 s. */
function fibrillationIntervals(mean: number, random: Random): (time: number) => number {
  return () => Math.max(0.32, mean * Math.exp(0.24 * random.normal() - 0.24 ** 2 / 2));
}

/**
 * A beat that the normal way conducts: QRS 90 ms wide. P and T follow the interval before, T with its square
 * root (Bazett), P with the fourth root. A T wave is steeper behind than before: two Gaussians.
 */
function conductedBeat(person: Person, interval: number, size: number, atrial: boolean): Wave[] {
  const slow = Math.sqrt(Math.max(0.4, Math.min(interval, 1.5)));
  const atrium = Math.sqrt(slow);
  const t = 0.2 * person.t * size;
  const waves = [
    { at: -0.032, width: 0.009, mv: -0.1 * person.q * size },
    { at: 0, width: 0.011, mv: 1.0 * person.r * size },
    { at: 0.031, width: 0.01, mv: -0.2 * person.s * size },
    { at: 0.255 * slow, width: 0.055 * slow, mv: t * 0.6 },
    { at: 0.3 * slow, width: 0.034 * slow, mv: t * 0.7 },
  ];
  if (atrial) {
    waves.push({ at: -0.17 * atrium, width: 0.02 * atrium, mv: 0.1 * person.p });
    waves.push({ at: -0.145 * atrium, width: 0.018 * atrium, mv: 0.05 * person.p });
  }
  return waves;
}

/** A premature ventricular beat: no P wave, QRS about 150 ms wide and larger, T against it. */
function ventricularBeat(person: Person, interval: number, size: number): Wave[] {
  const slow = Math.sqrt(Math.max(0.4, Math.min(interval, 1.5)));
  return [
    { at: -0.035, width: 0.018, mv: 0.35 * person.r * size },
    { at: 0, width: 0.027, mv: 1.25 * person.r * size },
    { at: 0.075, width: 0.026, mv: -0.5 * person.s * size },
    { at: 0.28 * slow, width: 0.06 * slow, mv: -0.4 * person.t * size },
  ];
}
