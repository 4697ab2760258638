import { BlindbeatError } from '../errors.ts';
import { type Approximation, isComposite } from './approximation.ts';
import { type ChebyshevSeries, toUnit } from './chebyshev.ts';

/** A ciphertext is named by its number: 0 is the input, i + 1 what step i makes. */
export type Step =
  | { op: 'multiply'; left: number; right: number; level: number }
  /** constant + Σ scalar · node. A scalar that is a small integer is additions and costs no level. */
  | { op: 'combine'; terms: { node: number; scalar: number }[]; constant: number; level: number };

/**
 * How a polynomial is evaluated on ciphertexts. What is linear before and after belongs to neighbouring
 * layers: the input is t = (2x - low - high) / (high - low), and the value is factor · (what the result node
 * holds).
 */
export interface EvaluationScheme {
  input: { range: readonly [number, number] };
  steps: Step[];
  result: number;
  factor: number;
  /** Levels from the input to the result. */
  levels: number;
  /** Products of two ciphertexts, each with its relinearisation. */
  multiplications: number;
  /** Products of a ciphertext and a number that is no small integer. */
  scalarMultiplications: number;
}

/** How `evaluationScheme` may write a polynomial. */
export interface SchemeOptions {
  /**
   * Whether a leading coefficient may be left to the factor (default); else degree 2^k takes k + 1 levels.
   */
  fold?: boolean;
}

/** Coefficients below this share of the largest are rounding errors. */
const NEGLIGIBLE = 2 ** -48;
const MOST_FREE = 64;

/** A polynomial over T_k, in sums and in products with one T_g each. */
interface Tree {
  constant: number;
  terms: Map<number, number>;
  products: { factor: Tree; g: number }[];
}

/**
 * The scheme of an approximation with the fewest levels, and of these with the fewest multiplications of
 * ciphertexts among baby steps T_1 … T_b and giant steps T_g, T_2g, T_4g, … for all b and g: Paterson &
 * Stockmeyer (1973) in the Chebyshev basis (Bossuat et al., Eurocrypt 2021), p = q T_g + r. T_k that no
 * coefficient asks for, as in even and odd polynomials, are not made.
 */
export function evaluationScheme(
  approximation: Approximation | ChebyshevSeries,
  options: SchemeOptions = {},
): EvaluationScheme {
  const builder = new Builder();
  if (!('method' in approximation) || !isComposite(approximation)) {
    const { range, coefficients } = approximation;
    const best = bestShape(coefficients, options.fold ?? true);
    return builder.finish(builder.node(best.tree, 0), best.factor, range);
  }
  const { slopes, stages } = approximation;
  const range = stages[0].range;
  let node = 0;
  stages.forEach(({ coefficients }, i) => {
    let c = [...coefficients];
    if (i === stages.length - 1) {
      c = c.map((v) => (v * (slopes[1] - slopes[0])) / 2);
      c[0] += (slopes[0] + slopes[1]) / 2;
    }
    node = builder.node(bestShape(c, false).tree, node);
  });
  return builder.finish(builder.multiply(0, node), range[1], range);
}

/** Runs a scheme on a number x of its range: what the ciphertexts hold in the end, times the factor. */
export function runScheme(scheme: EvaluationScheme, x: number): number {
  const values = [toUnit(x, scheme.input.range)];
  for (const step of scheme.steps) {
    if (step.op === 'multiply') values.push(values[step.left] * values[step.right]);
    else values.push(step.terms.reduce((s, { node, scalar }) => s + scalar * values[node], step.constant));
  }
  return scheme.factor * values[scheme.result];
}

function bestShape(coefficients: readonly number[], mayFold: boolean): { tree: Tree; factor: number } {
  const size = Math.max(...coefficients.map(Math.abs));
  const c = coefficients.map((v) => (Math.abs(v) <= NEGLIGIBLE * size ? 0 : v));
  while (c.length > 1 && c[c.length - 1] === 0) c.pop();
  const degree = c.length - 1;
  const whole = { coefficients: c, factor: 1 };
  const folded = { coefficients: c.map((v) => v / c[degree]), factor: c[degree] };
  for (let levels = depth(degree); levels <= depth(degree) + 2; levels++) {
    let best: { tree: Tree; factor: number } | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const shape of mayFold && degree > 0 ? [whole, folded] : [whole]) {
      for (let baby = 1; baby <= Math.min(16, Math.max(1, degree)); baby++) {
        for (let giant = Math.max(2, baby >> 1); giant <= baby + 1; giant++) {
          const giants: number[] = [];
          for (let g = giant; g < degree; g *= 2) giants.unshift(g);
          const tree = divide(shape.coefficients, levels, baby, giants);
          if (tree === undefined) continue;
          const trial = new Builder();
          trial.node(tree, 0);
          const cost = trial.multiplications * 1e4 + (shape === folded ? 1e3 : 0) + trial.scalars;
          if (cost < least) {
            least = cost;
            best = { tree, factor: shape.factor };
          }
        }
      }
    }
    if (best) return best;
  }
  throw new BlindbeatError('INTERNAL', `no evaluation scheme was found for degree ${degree}`);
}

/** Levels of T_k. */
function depth(k: number): number {
  return k <= 1 ? 0 : 32 - Math.clz32(k - 1);
}

function isFree(scalar: number): boolean {
  return Number.isInteger(scalar) && Math.abs(scalar) <= MOST_FREE;
}

/** p as sums and products within so many levels; nothing if these steps do not allow it. */
function divide(
  p: readonly number[],
  levels: number,
  baby: number,
  giants: readonly number[],
): Tree | undefined {
  const terms = new Map<number, number>();
  let degree = 0;
  p.forEach((c, k) => {
    if (k > 0 && c !== 0) {
      terms.set(k, c);
      degree = k;
    }
  });
  const made = (k: number) => k <= baby || giants.includes(k);
  if ([...terms].every(([k, c]) => made(k) && depth(k) + (isFree(c) ? 0 : 1) <= levels))
    return { constant: p[0], terms, products: [] };
  if (made(degree) && isFree(p[degree]) && depth(degree) <= levels) {
    const rest = divide(p.slice(0, degree), levels, baby, giants);
    rest?.terms.set(degree, p[degree]);
    return rest;
  }
  for (const g of giants) {
    if (g >= degree || depth(g) + 1 > levels) continue;
    const [q, r] = quotient(p, degree, g);
    const factor = divide(q, levels - 1, baby, giants);
    const rest = factor && divide(r, levels, baby, giants);
    if (rest) return { ...rest, products: [...rest.products, { factor, g }] };
  }
  return undefined;
}

/** p = q T_g + r, with T_k = 2 T_g T_(k-g) - T_|k-2g| for k > g and T_g = T_g T_0. */
function quotient(p: readonly number[], degree: number, g: number): [number[], number[]] {
  const q = new Array<number>(degree - g + 1).fill(0);
  const r = p.slice(0, degree);
  for (let k = degree; k > g; k--) {
    const c = p[k];
    if (k < degree) r[k] = 0;
    q[k - g] += 2 * c;
    r[Math.abs(k - 2 * g)] -= c;
  }
  return [q, r];
}

/** Writes steps down. */
class Builder {
  readonly steps: Step[] = [];
  readonly #levels = [0];
  multiplications = 0;
  scalars = 0;

  /** A tree over the Chebyshev polynomials of a node. */
  node(tree: Tree, input: number): number {
    const made = new Map([[1, input]]);
    const build = (part: Tree): number => {
      const terms = part.products.map(({ factor, g }) => ({
        node: this.multiply(build(factor), this.#chebyshev(g, made)),
        scalar: 1,
      }));
      for (const [k, scalar] of part.terms) terms.push({ node: this.#chebyshev(k, made), scalar });
      return this.combine(terms, part.constant);
    };
    return build(tree);
  }

  multiply(left: number, right: number): number {
    this.multiplications++;
    return this.#push({
      op: 'multiply',
      left,
      right,
      level: Math.max(this.#levels[left], this.#levels[right]) + 1,
    });
  }

  combine(terms: { node: number; scalar: number }[], constant: number): number {
    if (terms.length === 1 && terms[0].scalar === 1 && constant === 0) return terms[0].node;
    const level = terms.reduce(
      (l, { node, scalar }) => Math.max(l, this.#levels[node] + (isFree(scalar) ? 0 : 1)),
      0,
    );
    this.scalars += terms.filter(({ scalar }) => !isFree(scalar)).length;
    return this.#push({ op: 'combine', terms, constant, level });
  }

  finish(result: number, factor: number, range: readonly [number, number]): EvaluationScheme {
    return {
      input: { range },
      steps: this.steps,
      result,
      factor,
      levels: this.#levels[result],
      multiplications: this.multiplications,
      scalarMultiplications: this.scalars,
    };
  }

  #push(step: Step): number {
    this.steps.push(step);
    return this.#levels.push(step.level) - 1;
  }

  /** T_k = 2 T_a T_(k-a) - T_(2a-k) at its least level, for the a that leaves the fewest to be made. */
  #chebyshev(k: number, made: Map<number, number>): number {
    const old = made.get(k);
    if (old !== undefined) return old;
    const missing: number[] = [0];
    const choice: number[] = [0];
    for (let i = 1; i <= k; i++) {
      missing[i] = made.has(i) ? 0 : Number.POSITIVE_INFINITY;
      for (let a = Math.ceil(i / 2); !made.has(i) && a < i && depth(a) < depth(i); a++) {
        const cost = 1 + missing[a] + (a === i - a ? 0 : missing[i - a] + missing[2 * a - i]);
        if (cost < missing[i]) [missing[i], choice[i]] = [cost, a];
      }
    }
    const a = choice[k];
    const product = this.multiply(this.#chebyshev(a, made), this.#chebyshev(k - a, made));
    const node =
      2 * a === k
        ? this.combine([{ node: product, scalar: 2 }], -1)
        : this.combine(
            [
              { node: product, scalar: 2 },
              { node: this.#chebyshev(2 * a - k, made), scalar: -1 },
            ],
            0,
          );
    made.set(k, node);
    return node;
  }
}
