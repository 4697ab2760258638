import type { Range } from './chebyshev.ts';
import { samplePoints } from './extrema.ts';

/** Where a function changes is enclosed to this share of the range, or to two neighbouring numbers. */
export const RESOLUTION = 2 ** -60;
/** As many points to look between as for an error curve of the largest degree. */
const DEGREE = 63;
/** A function that has more has too many to be approximated by a polynomial. */
const MOST_KINKS = 2000;

/**
 * Where on a range a function may bend, jump or end, given functions whose sign changes there: for |x - 1|
 * that is x - 1. Each is looked at between the points that were found for those before it, so inner ones go
 * first. Of every change come the two points that enclose it and one more on either side, for the limits of a
 * jump. No more are looked for once there are 2000.
 */
export function kinksOf(switches: readonly ((x: number) => number)[], range: Range): number[] {
  const [low, high] = range;
  const width = RESOLUTION * (high - low);
  const kinks = new Set<number>();
  for (const g of switches) {
    if (kinks.size >= MOST_KINKS) break;
    const points = samplePoints(range, DEGREE, [...kinks]);
    const signs = points.map((x) => Math.sign(g(x)));
    for (let i = 1; i < points.length; i++) {
      if (Object.is(signs[i - 1], signs[i])) continue;
      const [from, to] = enclose(
        (x) => Object.is(Math.sign(g(x)), signs[i - 1]),
        points[i - 1],
        points[i],
        width,
      );
      const beside = (x: number) => Math.max(width, Math.abs(x) * Number.EPSILON);
      for (const x of [from - beside(from), from, to, to + beside(to)])
        if (x >= low && x <= high) kinks.add(x);
    }
  }
  return [...kinks];
}

/**
 * Two points at most `width` apart, or neighbouring numbers. What holds at `from` and not at `to` holds at
 * the first only.
 */
export function enclose(
  holds: (x: number) => boolean,
  from: number,
  to: number,
  width: number,
): [number, number] {
  while (to - from > width) {
    const middle = (from + to) / 2;
    if (middle <= from || middle >= to) break;
    if (holds(middle)) from = middle;
    else to = middle;
  }
  return [from, to];
}
