import { chebyshevPoints } from '../../approx/chebyshev.ts';
import { type EvaluationScheme, evaluationScheme, type Step } from '../../approx/paterson-stockmeyer.ts';
import { BlindbeatError } from '../../errors.ts';

/**
 * How a polynomial is evaluated on one ciphertext, with exact scales. Node 0 is the input t in [-1, 1], node
 * i + 1 is what step i makes; a node that a step takes at fewer limbs than it has is cut to them, which keeps
 * its scale.
 *
 * All that a step adds up has one scale before the one rescaling. A product of two ciphertexts has the
 * product of their scales, or counts several times at a fraction of it; a number times a node is encoded at
 * whatever scale is missing. T_k and their products have the scales that arithmetic gives them; the quotients
 * of the division by T_g are made at the scales that their products need (the idea of Bossuat et al.,
 * Eurocrypt 2021, with the primes given).
 */
export interface ActivationStep {
  /** Limbs before rescaling, or of what is added where nothing is rescaled. */
  limbs: number;
  /** Products of two nodes, summed up before they are relinearised; each counts `times` times. */
  products: { left: number; right: number; times: number }[];
  /** Numbers times nodes, each encoded at `scale`. */
  terms: { node: number; scalar: number; scale: number }[];
  /** Before rescaling; null where there is nothing to rescale. */
  scale: number | null;
  scaleOut: number;
  /** Nodes that are added after rescaling; each counts `times` times, at that fraction of its own scale. */
  added: { node: number; times: number }[];
  constant: number;
  /** Largest |value| for inputs in [-1, 1], before and after rescaling. */
  bounds: [number, number];
}

/** A polynomial of degree 2 or more on [-1, 1], as steps whose levels are known but not their scales. */
export interface PolynomialProgram {
  /** What the result times `factor` is the polynomial. */
  factor: number;
  levels: number;
  /**
   * log2 of the result's scale grows by this when that of the input grows by 1; 0 where the result may have
   * any scale, because no step takes it from T_k alone.
   */
  slope: number;
  groups: Group[];
}

/** A step before limbs and scales are known. */
interface Group {
  /** Levels below the input after it. */
  level: number;
  products: ActivationStep['products'];
  terms: { node: number; scalar: number }[];
  added: ActivationStep['added'];
  constant: number;
}

/**
 * Largest loss of precision that a leading coefficient left to the next layer may cost: with T_k of relative
 * size l^k, l^degree = |c_degree|, the coefficients are as much larger.
 */
const LARGEST_GAIN = 2 ** 8;
/** Leading coefficients below this share of the largest are left out. */
const NEGLIGIBLE = 2 ** -36;
/** A change of a coefficient, as a share of the largest, that no result shows. */
const NUDGE = 2 ** -44;

/**
 * The steps of a polynomial given by its Chebyshev coefficients.
 *
 * @throws BlindbeatError PLAN for one of degree 1 or less
 */
export function polynomialProgram(coefficients: readonly number[], name: string): PolynomialProgram {
  const kept = trim(coefficients);
  if (kept.length < 3) {
    throw new BlindbeatError(
      'PLAN',
      `${name}: its activation is linear, so it and the next layer are one: use a polynomial of degree 2 or more`,
    );
  }
  const leading = kept.at(-1)!;
  const factor = gainOf(kept) <= LARGEST_GAIN ? leading : 1;
  const divided = kept.map((c) => c / factor);
  const largest = Math.max(...divided.map(Math.abs));
  // A scheme adds a coefficient that is a small whole number without a level, and then scales may disagree.
  const uneven = divided.map((c, k) =>
    c === 1 && k === divided.length - 1 ? c : c + NUDGE * largest * (1 + k / 64),
  );
  for (const attempt of [divided, uneven]) {
    const scheme = evaluationScheme({ range: [-1, 1], coefficients: attempt }, { fold: false });
    const groups = groupsOf(scheme);
    const slope = slopeOf(groups);
    if (slope !== null) return { factor, levels: scheme.levels, slope, groups };
  }
  throw new BlindbeatError('INTERNAL', `${name}: no exact scales were found for its polynomial`);
}

/** Without leading coefficients that are far below any noise. */
function trim(coefficients: readonly number[]): readonly number[] {
  const least = NEGLIGIBLE * Math.max(...coefficients.map(Math.abs));
  return coefficients.slice(0, coefficients.findLastIndex((c) => Math.abs(c) > least) + 1);
}

/** See `LARGEST_GAIN`. */
function gainOf(coefficients: readonly number[]): number {
  const degree = coefficients.length - 1;
  const ratio = Math.abs(coefficients[degree]) ** (1 / degree);
  return Math.max(...coefficients.map((c, k) => (k === 0 ? 0 : Math.abs(c) / ratio ** k)));
}

/**
 * A scheme's products and sums joined where one rescaling can serve both, each as late as its users allow.
 */
function groupsOf({ steps, result, levels }: EvaluationScheme): Group[] {
  const uses = new Map<number, number>();
  const use = (node: number) => uses.set(node, (uses.get(node) ?? 0) + 1);
  for (const step of steps) {
    if (step.op === 'multiply') [step.left, step.right].forEach(use);
    else for (const { node } of step.terms) use(node);
  }
  use(result);
  const stepOf = (node: number): Step | undefined => steps[node - 1];
  /** A product that only this sum needs. */
  const joins = ({ node, scalar }: { node: number; scalar: number }) =>
    stepOf(node)?.op === 'multiply' && uses.get(node) === 1 && isWhole(scalar);
  const joined = new Set(
    steps.flatMap((step) => (step.op === 'combine' ? step.terms.filter(joins).map((t) => t.node) : [])),
  );
  const groups: Group[] = [];
  const numbers = new Map([[0, 0]]);
  const earliest = [0];
  steps.forEach((step, i) => {
    if (joined.has(i + 1)) return;
    const group: Group = { level: 0, products: [], terms: [], added: [], constant: 0 };
    const product = (node: number, times: number) => {
      const { left, right } = stepOf(node) as Step & { op: 'multiply' };
      group.products.push({ left: numbers.get(left)!, right: numbers.get(right)!, times });
    };
    if (step.op === 'multiply') product(i + 1, 1);
    else {
      group.constant = step.constant;
      for (const { node, scalar } of step.terms) {
        if (joins({ node, scalar })) product(node, scalar);
        else if (earliest[numbers.get(node)!] === step.level)
          group.added.push({ node: numbers.get(node)!, times: scalar });
        else group.terms.push({ node: numbers.get(node)!, scalar });
      }
    }
    group.level = levels;
    groups.push(group);
    numbers.set(i + 1, groups.length);
    earliest.push(step.level);
  });
  // No later than any user allows.
  const notAfter = (node: number, level: number) => {
    if (node > 0) groups[node - 1].level = Math.min(groups[node - 1].level, level);
  };
  for (const { level, products, terms, added } of groups.toReversed()) {
    for (const { left, right } of products)
      [left, right].forEach((node) => {
        notAfter(node, level - 1);
      });
    for (const { node } of terms) notAfter(node, level - 1);
    for (const { node } of added) notAfter(node, level);
  }
  return groups;
}

function isWhole(scalar: number): boolean {
  return Number.isInteger(scalar) && scalar > 0;
}

/** See `PolynomialProgram`; null where the steps' scales contradict each other. */
function slopeOf(groups: Group[]): number | null {
  try {
    const [low, high] = [1, 2].map((scale) => scalesOf(groups, scale, () => 1, 1).natural);
    return low === null || high === null ? 0 : Math.round(Math.log2(high / low));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/**
 * The scales of all nodes: those that follow from the input's, then those that the nodes' users need.
 *
 * @param prime the prime that rescaling to a level divides by
 * @param target the result's scale where it may be any: where its own, `natural`, is null
 * @throws RangeError where two rules disagree
 */
function scalesOf(
  groups: Group[],
  scaleIn: number,
  prime: (level: number) => number,
  target: number,
): { natural: number | null; scales: number[] } {
  const natural: (number | null)[] = [scaleIn];
  for (const { level, products, added } of groups) {
    const found: number[] = [];
    for (const { left, right, times } of products) {
      const [a, b] = [natural[left], natural[right]];
      if (a !== null && b !== null) found.push((a * b) / times / prime(level));
    }
    for (const { node, times } of added) {
      const scale = natural[node];
      if (scale !== null && isWhole(times)) found.push(scale / times);
      else throw new RangeError('a node without a scale of its own is added');
    }
    if (found.some((scale) => Math.abs(scale / found[0] - 1) > 1e-9))
      throw new RangeError('what is added has several scales');
    natural.push(found[0] ?? null);
  }
  const wanted = [...natural];
  wanted[groups.length] ??= target;
  for (let g = groups.length; g > 0; g--) {
    const { level, products, terms } = groups[g - 1];
    const scale = wanted[g];
    if (scale === null) throw new RangeError('nothing says what scale a node should have');
    for (const { left, right, times } of products) {
      const [a, b] = [wanted[left], wanted[right]];
      if (a === null && b === null) throw new RangeError('neither factor of a product has a scale');
      if (a === null) wanted[left] = (scale * prime(level) * times) / b!;
      else if (b === null) wanted[right] = (scale * prime(level) * times) / a;
    }
    if (terms.some(({ node }) => wanted[node] === null)) throw new RangeError('a term has no scale');
  }
  return { natural: natural[groups.length], scales: wanted as number[] };
}

/** The input's scale at which the result has a scale of about `target`; `start` where that is any. */
export function inputScaleFor(
  { groups, slope }: PolynomialProgram,
  primes: readonly number[],
  limbs: number,
  start: number,
  target: number,
): number {
  if (slope === 0) return start;
  const result = scalesOf(groups, start, (level) => primes[limbs - level], target).natural!;
  return start * (target / result) ** (1 / slope);
}

/**
 * Steps for an input of `limbs` limbs and a scale, where the result may have any scale one of about `target`.
 */
export function activationSteps(
  { groups }: PolynomialProgram,
  primes: readonly number[],
  limbs: number,
  scaleIn: number,
  target: number,
): ActivationStep[] {
  const { scales } = scalesOf(groups, scaleIn, (level) => primes[limbs - level], target);
  const bounds = boundsOf(groups);
  return groups.map(({ level, products, terms, added, constant }, g) => {
    const rescaled = products.length + terms.length > 0;
    const before = limbs - level + (rescaled ? 1 : 0);
    const scale = rescaled ? scales[g + 1] * primes[before - 1] : null;
    return {
      limbs: before,
      products,
      terms: terms.map(({ node, scalar }) => ({ node, scalar, scale: scale! / scales[node] })),
      scale,
      scaleOut: scales[g + 1],
      added,
      constant,
      bounds: bounds[g],
    };
  });
}

/** Largest values before and after rescaling, on a fine grid. */
function boundsOf(groups: Group[]): [number, number][] {
  const bounds = groups.map((): [number, number] => [0, 0]);
  for (const t of [-1, ...chebyshevPoints([-1, 1], 1023), 1]) {
    const values = [t];
    groups.forEach(({ products, terms, added, constant }, g) => {
      let before = 0;
      for (const { left, right, times } of products) before += times * values[left] * values[right];
      for (const { node, scalar } of terms) before += scalar * values[node];
      let value = before + constant;
      for (const { node, times } of added) value += times * values[node];
      bounds[g][0] = Math.max(bounds[g][0], Math.abs(before));
      bounds[g][1] = Math.max(bounds[g][1], Math.abs(value));
      values.push(value);
    });
  }
  return bounds;
}
