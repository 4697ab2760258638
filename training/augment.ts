import { normaliseSegment, type Preprocessing } from '../src/ecg/preprocess.ts';
import type { Random } from '../src/ecg/random.ts';
import { repeatToLength } from '../src/ecg/repeat.ts';
import { rootMeanSquare } from '../src/ecg/scale.ts';
import type { Augmentation } from './config.ts';

/** Sign flips and stretching as published for DeepCardio; little noise, since noise is a class of its own. */
export const AUGMENTATION: Augmentation = {
  flip: 0.5,
  stretch: { probability: 0.8, most: 0.05 },
  amplitude: { most: 0.1 },
  noise: { probability: 0.3, most: 0.1 },
  wander: { probability: 0.3, most: 0.2 },
};

/** A varied segment before a network's scaling. */
export interface Variation {
  /** [p.samples], in mV. */
  mv: Float64Array;
  /** Factor on the scale by which a network divides the segment. */
  gain: number;
}

/** A network's input [p.samples] of a varied segment, by the network's own scaling and bounds. */
export function variedInput({ mv, gain }: Variation, p: Preprocessing): Float32Array {
  return normaliseSegment(mv, { ...p, scale: { ...p.scale, factor: p.scale.factor * gain } });
}

/**
 * One varied segment of a conditioned record.
 *
 * It is a random part of a record that is long enough, else the whole record repeated; stretched, shifted
 * circularly (which the circular network notices through its pooling only), with noise and wander added.
 *
 * @param conditioned mV at the network's rate, of any length
 */
export function vary(
  conditioned: Float32Array,
  p: Preprocessing,
  settings: Augmentation,
  random: Random,
): Variation {
  const { stretch, amplitude, noise, wander } = settings;
  const rate = p.samples / p.seconds;
  const factor = random.next() < stretch.probability ? 1 + stretch.most * (2 * random.next() - 1) : 1;
  const available = Math.floor(conditioned.length / factor);
  const length = Math.min(available, p.samples);
  const start = Math.floor(random.next() * (available - length + 1)) * factor;
  const part = stretched(conditioned, start, factor, length);
  const segment = length === p.samples ? part : repeatToLength(part, p.samples, rate).samples;
  const sign = random.next() < settings.flip ? -1 : 1;
  const rms = rootMeanSquare(segment);
  const hiss = random.next() < noise.probability ? rms * noise.most * random.next() : 0;
  const sway = random.next() < wander.probability ? rms * wander.most * random.next() : 0;
  const pace = (2 * Math.PI * random.between(0.3, 1)) / rate;
  const phase = 2 * Math.PI * random.next();
  const shift = random.below(p.samples);
  const mv = new Float64Array(p.samples);
  for (let i = 0; i < p.samples; i++) {
    let x = sign * segment[(i + shift) % p.samples];
    if (hiss > 0) x += hiss * random.normal();
    if (sway > 0) x += sway * Math.sin(pace * i + phase);
    mv[i] = x;
  }
  return { mv, gain: random.between(1 - amplitude.most, 1 + amplitude.most) };
}

/** x at start, start + factor, ... by Catmull-Rom splines, exact enough for a signal of 40 Hz at 136 Hz. */
function stretched(x: Float32Array, start: number, factor: number, length: number): Float64Array {
  const y = new Float64Array(length);
  const last = x.length - 1;
  for (let i = 0; i < length; i++) {
    const at = start + i * factor;
    const k = Math.min(Math.floor(at), last);
    const t = at - k;
    const b = x[k];
    if (t === 0) {
      y[i] = b;
      continue;
    }
    const a = x[Math.max(k - 1, 0)];
    const c = x[Math.min(k + 1, last)];
    const d = x[Math.min(k + 2, last)];
    y[i] = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  }
  return y;
}
