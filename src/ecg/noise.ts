import type { Random } from './random.ts';

/**
 * Adds what electrodes add to an ECG in mV at `rate` Hz: slow wander (breathing and skin), muscle noise and
 * mains hum; `heavy` adds an unusable recording's: more of each, and electrodes that move.
 */
export function addNoise(
  mv: Float64Array,
  rate: number,
  level: number,
  heavy: boolean,
  random: Random,
): void {
  const wander = slowNoise(mv.length, rate, random);
  const muscle = muscleNoise(mv.length, rate, heavy, random);
  const motion = heavy ? electrodeMotion(mv.length, rate, random) : undefined;
  const breath = { rate: random.between(0.2, 0.33), turn: random.between(0, 2 * Math.PI) };
  const hum = { mv: 0.003 * random.next(), turn: random.between(0, 2 * Math.PI) };
  const size = heavy
    ? { wander: 0.8, breath: 0.2, muscle: 0.22 }
    : { wander: 0.05, breath: 0.04, muscle: 0.008 };
  for (let i = 0; i < mv.length; i++) {
    const t = 2 * Math.PI * (i / rate);
    mv[i] +=
      level *
      (size.wander * wander[i] +
        size.breath * Math.sin(breath.rate * t + breath.turn) +
        size.muscle * muscle[i] +
        (motion ? motion[i] : 0) +
        hum.mv * Math.sin(50 * t + hum.turn));
  }
}

/** Noise below about 0.4 Hz of unit deviation: white noise through two first-order low passes. */
function slowNoise(length: number, rate: number, random: Random): Float64Array {
  const keep = Math.exp((-2 * Math.PI * 0.4) / rate);
  // The deviation of two equal low passes in a row: sqrt((1 + k^2) (1 - k)^4 / (1 - k^2)^3).
  const gain = 1 / Math.sqrt(((1 + keep ** 2) * (1 - keep) ** 4) / (1 - keep ** 2) ** 3);
  let first = 0;
  let second = 0;
  const step = () => {
    first = keep * first + (1 - keep) * random.normal();
    second = keep * second + (1 - keep) * first;
    return gain * second;
  };
  for (let i = 0; i < 5 * rate; i++) step(); // past the start from zero
  return Float64Array.from({ length }, step);
}

/**
 * Muscle noise of about unit deviation, rising with frequency up to 100 Hz: white noise less its low
 * frequencies; `bursts` lets it swell and fade within seconds.
 */
function muscleNoise(length: number, rate: number, bursts: boolean, random: Random): Float64Array {
  const swell = slowNoise(length, rate, random);
  const keep = Math.exp((-2 * Math.PI * 15) / rate);
  const smooth = 1 - Math.exp((-2 * Math.PI * 100) / rate);
  let low = 0;
  let high = 0;
  return Float64Array.from({ length }, (_, i) => {
    // White noise of the same density per Hz at every rate; 300 Hz has unit deviation.
    const white = random.normal() * Math.sqrt(rate / 300);
    high += smooth * (white - high);
    low = keep * low + (1 - keep) * high;
    return (high - low) * (bursts ? Math.exp(0.6 * swell[i]) : 1);
  });
}

/**
 * Electrodes that move, about every 3 s: a jump of 0.5-2.5 mV that fades within a second, and a ripple on it.
 */
function electrodeMotion(length: number, rate: number, random: Random): Float64Array {
  const out = new Float64Array(length);
  for (let t = random.between(0, 3); t < length / rate; t += 0.5 - 2.5 * Math.log(1 - random.next())) {
    const size = random.between(0.5, 2.5) * (random.next() < 0.5 ? -1 : 1);
    const fade = random.between(0.1, 0.5);
    const ripple = random.between(2, 8);
    const turn = random.between(0, 2 * Math.PI);
    const end = Math.min(length, Math.ceil((t + 8 * fade) * rate));
    for (let i = Math.ceil(t * rate); i < end; i++) {
      const age = i / rate - t;
      out[i] += size * Math.exp(-age / fade) * (1 + 0.5 * Math.sin(2 * Math.PI * ripple * age + turn));
    }
  }
  return out;
}
