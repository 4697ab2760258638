import { BlindbeatError } from '../errors.ts';

/** Points and weights: Σ w_i g(x_i) for the integral of g. */
export interface Rule {
  x: number[];
  w: number[];
}

const ORDER = 16;
const MOST_HALVINGS = 48;
const MOST_PANELS = 20_000;
const TOLERANCE = 1e-15;
const GAUSS = gaussLegendre(ORDER);

/**
 * A rule with which all components of g are integrated over [a, b] to about 1e-14 of the largest of them:
 * panels of 16 Gauss-Legendre points, halved until halving changes nothing, so that kinks end up in panels of
 * no size.
 *
 * @param panels to begin with, of equal width
 * @param kinks known ones, in any order: panels end there too
 * @throws BlindbeatError PLAN if g turns too often for that
 */
export function adaptiveRule(
  g: (x: number) => number[],
  [a, b]: readonly [number, number],
  panels = 8,
  kinks: readonly number[] = [],
): Rule {
  const equal = Array.from({ length: panels + 1 }, (_, i) => a + ((b - a) * i) / panels);
  const edges = kinks.length === 0 ? equal : withKinks(equal, kinks);
  const first = edges.slice(1).map((to, i) => integrate(g, edges[i], to));
  let scale = Math.max(...first[0].sum.map((_, k) => first.reduce((s, panel) => s + panel.size[k], 0)));
  if (!(scale > 0)) scale = 1;
  const rule: Rule = { x: [], w: [] };
  let halved = 0;
  const refine = (from: number, to: number, sum: number[], depth: number): void => {
    const middle = (from + to) / 2;
    const left = integrate(g, from, middle);
    const right = integrate(g, middle, to);
    const change = Math.max(...sum.map((s, k) => Math.abs(s - left.sum[k] - right.sum[k])));
    if (depth >= MOST_HALVINGS || !(change > TOLERANCE * scale)) {
      for (const { x, w } of [left, right]) {
        rule.x.push(...x);
        rule.w.push(...w);
      }
      return;
    }
    if (++halved > MOST_PANELS) {
      throw new BlindbeatError(
        'PLAN',
        `The function turns too often to be averaged on [${a}, ${b}]: ` +
          `after ${MOST_PANELS} halvings it still changes.`,
      );
    }
    refine(from, middle, left.sum, depth + 1);
    refine(middle, to, right.sum, depth + 1);
  };
  first.forEach(({ sum }, i) => {
    refine(edges[i], edges[i + 1], sum, 0);
  });
  return rule;
}

/** Edges and the kinks between them, ascending, without panels narrower than halving makes them. */
function withKinks(edges: readonly number[], kinks: readonly number[]): number[] {
  const [a, b] = [edges[0], edges[edges.length - 1]];
  const apart = 2 ** -MOST_HALVINGS * (b - a);
  const kept = [a];
  for (const x of [...edges, ...kinks].sort((p, q) => p - q))
    if (x - kept[kept.length - 1] > apart && b - x > apart) kept.push(x);
  return [...kept, b];
}

function integrate(g: (x: number) => number[], from: number, to: number) {
  const half = (to - from) / 2;
  const x = GAUSS.x.map((t) => (from + to) / 2 + half * t);
  const w = GAUSS.w.map((v) => half * v);
  const values = x.map(g);
  const sum = values[0].map((_, k) => values.reduce((s, v, i) => s + w[i] * v[k], 0));
  const size = values[0].map((_, k) => values.reduce((s, v, i) => s + w[i] * Math.abs(v[k]), 0));
  return { x, w, sum, size };
}

/** Points and weights of Gauss and Legendre on [-1, 1]: roots of P_n by Newton's method. */
function gaussLegendre(n: number): Rule {
  const rule: Rule = { x: [], w: [] };
  for (let i = 0; i < n; i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    let slope = 1;
    for (let step = 0; step < 10; step++) {
      let p0 = 1;
      let p1 = x;
      for (let k = 2; k <= n; k++) [p0, p1] = [p1, ((2 * k - 1) * x * p1 - (k - 1) * p0) / k];
      slope = (n * (x * p1 - p0)) / (x * x - 1);
      x -= p1 / slope;
    }
    rule.x.push(x);
    rule.w.push(2 / ((1 - x * x) * slope * slope));
  }
  return rule;
}
