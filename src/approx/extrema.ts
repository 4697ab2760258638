import { fromUnit, type Range } from './chebyshev.ts';

/** A local extremum of the size of an error curve; its value has a sign. */
export interface Extremum {
  x: number;
  value: number;
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;
const STEPS = 64;
/** Points for every degree: local extrema of an error curve are then never mistaken for one another. */
const PER_DEGREE = 40;
const MOST_POINTS = 40_000;

/**
 * Where to look at an error curve of that degree: points that lie denser towards the ends of the range, as
 * its oscillations do, and denser towards 0, where activations bend. Ascending, both ends among them.
 *
 * @param more points to take in, if they lie on the range
 */
export function samplePoints(range: Range, degree: number, more: readonly number[] = []): number[] {
  const [low, high] = range;
  const count = Math.min(MOST_POINTS, PER_DEGREE * (degree + 2) + 400);
  const points = Array.from({ length: count + 1 }, (_, j) =>
    fromUnit(-Math.cos((Math.PI * j) / count), range),
  );
  const farther = Math.max(Math.abs(low), Math.abs(high));
  for (let j = 0; j < 480; j++) points.push(farther * 2 ** (-j / 12), -farther * 2 ** (-j / 12));
  points.push(0, low, high, ...more);
  return [...new Set(points.filter((x) => x >= low && x <= high))].sort((a, b) => a - b);
}

/**
 * The local extrema of |e| from point to point, each refined by golden section between its neighbours.
 *
 * @param points ascending
 */
export function extrema(e: (x: number) => number, points: readonly number[]): Extremum[] {
  const values = points.map(e);
  const found: Extremum[] = [];
  const last = points.length - 1;
  for (let i = 0; i <= last; i++) {
    const size = Math.abs(values[i]);
    if (i > 0 && size < Math.abs(values[i - 1]) && values[i] * values[i - 1] > 0) continue;
    if (i < last && size < Math.abs(values[i + 1]) && values[i] * values[i + 1] > 0) continue;
    found.push(
      refine(
        e,
        { x: points[i], value: values[i] },
        points[Math.max(0, i - 1)],
        points[Math.min(last, i + 1)],
      ),
    );
  }
  return found;
}

function refine(e: (x: number) => number, start: Extremum, from: number, to: number): Extremum {
  const sign = start.value < 0 ? -1 : 1;
  let best = start;
  const look = (x: number) => {
    const value = e(x);
    if (sign * value > sign * best.value) best = { x, value };
    return sign * value;
  };
  let x1 = to - GOLDEN * (to - from);
  let x2 = from + GOLDEN * (to - from);
  let y1 = look(x1);
  let y2 = look(x2);
  for (let step = 0; step < STEPS && to - from > 1e-15 * (Math.abs(from) + Math.abs(to)); step++) {
    if (y1 > y2) {
      to = x2;
      [x2, y2] = [x1, y1];
      x1 = to - GOLDEN * (to - from);
      y1 = look(x1);
    } else {
      from = x1;
      [x1, y1] = [x2, y2];
      x2 = from + GOLDEN * (to - from);
      y2 = look(x2);
    }
  }
  return best;
}
