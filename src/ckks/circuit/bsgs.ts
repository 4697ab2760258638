import { CONJUGATION } from '../ring/galois.ts';
import { type Diagonals, rotatePeriod } from './packing.ts';

/**
 * Baby-step/giant-step schedule of a linear map whose rotation amounts a = g B + b start at zero (Halevi and
 * Shoup 2014): out = sum_g rotate(sum_b w' . rotate(in, b), g B), the weights rotated by -g B beforehand.
 *
 * Baby rotations form a tree from the input; rotations of one ciphertext by several key steps share its
 * decomposition. Giant steps are taken in Horner fashion from the largest g down, or in blocks: the sums of a
 * block are rotated onto its base by one key step each and added up, and only bases are rotated on. The
 * planner chooses B and the key steps.
 *
 * Worked example: amounts 0 to 5 and B = 2. Baby amounts are 0 and 1, giant steps 4, 2 and 0. With the keys 1
 * and 2: sum_4 is rotated by 2 and added to sum_2, that is rotated by 2 and added to sum_0: three rotations
 * instead of five.
 */
export interface Schedule {
  /** B, in slots. */
  babyStep: number;
  /**
   * In order, grouped by the amount that they start from: `amount` = `from` + `step`, one rotation of every
   * input ciphertext. Rotations of a group share one decomposition.
   */
  babySteps: { from: number; steps: { amount: number; step: number }[] }[];
  /** The baby amounts b that carry weights, in the order of each giant step's columns. */
  babyAmounts: number[];
  /** From the largest down; those of a block before its base. */
  giantSteps: GiantStep[];
  /** Two outputs share each accumulator and are separated at the end. */
  paired: boolean;
  /** Sums per giant step: one for each output ciphertext, or with paired outputs one for two of them. */
  accumulators: number;
}

/** One period of the slots real + X^(N/2) imaginary. */
interface PairedVector {
  real: Float64Array;
  imaginary: Float64Array | null;
}

interface GiantStep {
  /** g B, in slots. */
  amount: number;
  /** Of a base: the key steps that the accumulators so far are rotated by before its sum is added. */
  accumulatorSteps: number[];
  /** 0 for a base; for others the key step that rotates its sum onto the next base. */
  step: number;
  /**
   * `[accumulator][babyAmounts.length * inputs]`, column k * inputs + i for the k-th baby amount and input i.
   */
  rows: (PairedVector | null)[][];
}

/** Accumulators for a number of output ciphertexts. */
export function accumulatorsOf(outputs: number, paired: boolean): number {
  return paired ? Math.ceil(outputs / 2) : outputs;
}

/** What the planner chooses about a layer. */
export interface ScheduleChoice {
  babyStep: number;
  paired: boolean;
  /**
   * Slots that a block of giant steps spans at most above its base; absent: giant steps one after another.
   */
  blockSpan?: number;
  /** Key steps that the layer may rotate by. */
  keySteps: number[];
}

/**
 * The schedule with baby amounts below the chosen baby step, made of the chosen key steps.
 *
 * @throws RangeError when the key steps do not add up to an amount
 */
export function buildSchedule(
  map: Diagonals,
  { babyStep, paired, blockSpan, keySteps }: ScheduleChoice,
): Schedule {
  const steps = keySteps.filter((step) => step !== CONJUGATION).sort((a, b) => a - b);
  const amounts = [...map.weights.keys()].sort((a, b) => a - b);
  const babyAmounts = [...new Set(amounts.map((a) => a % babyStep))].sort((a, b) => a - b);
  const giantAmounts = [...new Set(amounts.map((a) => a - (a % babyStep)))].sort((a, b) => a - b);
  const perAccumulator = paired ? 2 : 1;
  const accumulators = accumulatorsOf(map.outputs, paired);
  const giantSteps = giantStepOrder(giantAmounts, steps, blockSpan).map(({ holdsBase, ...giant }) => ({
    ...giant,
    rows: Array.from({ length: accumulators }, (_, a) =>
      babyAmounts.flatMap((baby) => {
        const rows = holdsBase ? map.weights.get(giant.amount + baby) : undefined;
        const outputs = Array.from(
          { length: Math.min(perAccumulator, map.outputs - perAccumulator * a) },
          (_, o) => rows?.[perAccumulator * a + o],
        );
        return Array.from({ length: map.inputs }, (_, i) => accumulatorWeights(outputs, i, giant.amount));
      }),
    ),
  }));
  return { babyStep, babySteps: babyTree(babyAmounts, steps), babyAmounts, giantSteps, paired, accumulators };
}

/** Giant steps in the order in which they are taken, largest base first; see `Schedule.giantSteps`. */
function giantStepOrder(
  amounts: number[],
  steps: number[],
  blockSpan: number | undefined,
): (Omit<GiantStep, 'rows'> & Pick<GiantBlock, 'holdsBase'>)[] {
  const reach = stepCounts(amounts.at(-1)!, steps);
  const blocks = blockSpan
    ? giantBlocks(amounts, steps, reach, blockSpan)
    : amounts.map((base): GiantBlock => ({ base, holdsBase: true, members: [] }));
  if (blocks === null) throw new RangeError('no key steps reach all giant steps');
  return blocks.toReversed().flatMap(({ base, holdsBase, members }, k) => [
    ...members
      .toReversed()
      .map((step) => ({ amount: base + step, accumulatorSteps: [], step, holdsBase: true })),
    {
      amount: base,
      accumulatorSteps: k === 0 ? [] : fewestSteps(blocks.at(-k)!.base - base, steps),
      step: 0,
      holdsBase,
    },
  ]);
}

/**
 * Weights of one accumulator, rotated by -amount. Outputs 2a and 2a + 1 of a pair are summed up in
 * accumulator a as y / 2 + X^(N/2) y' / 2, and separated at the end (evaluator/program.ts); a last output
 * without a partner stays as it is.
 */
function accumulatorWeights(
  outputs: ((Float64Array | null)[] | undefined)[],
  input: number,
  amount: number,
): PairedVector | null {
  const [first, second] = outputs.map((row) => row?.[input] ?? null);
  if (!first && !second) return null;
  const share = outputs.length === 1 ? 1 : 0.5;
  const sign = amount % 2 === 0 ? 1 : -1;
  return {
    real: rotatePeriod(first ?? second!, -amount).map((w) => (first ? share * w : 0)),
    imaginary: second && rotatePeriod(second, -amount).map((w) => share * sign * w),
  };
}

/** Giant steps that key steps rotate onto a base. */
export interface GiantBlock {
  base: number;
  /** Whether the base itself is one of the amounts, and no other block holds it. */
  holdsBase: boolean;
  /** Key steps from the base up to the other amounts that it holds, ascending. */
  members: number[];
}

/**
 * Blocks that hold all `amounts` (ascending from 0), lowest base first, each base within reach of the one
 * below; null where there are none. Greedy: the lowest amount that no block holds yet becomes a base, or a
 * member of that base which holds most other amounts.
 *
 * @param reach `stepCounts` up to the largest amount
 * @param span how far members are from their base at most
 */
export function giantBlocks(
  amounts: number[],
  steps: number[],
  reach: Float64Array,
  span = Number.POSITIVE_INFINITY,
): GiantBlock[] | null {
  const open = new Uint8Array(amounts.at(-1)! + 1);
  for (const amount of amounts) open[amount] = 1;
  const shortSteps = steps.filter((step) => step <= span);
  const count = (base: number) => {
    let held = open[base];
    for (const step of shortSteps) if (open[base + step] === 1) held++;
    return held;
  };
  const blocks: GiantBlock[] = [];
  for (const amount of amounts) {
    if (!open[amount]) continue;
    const below = blocks.at(-1)?.base;
    const bases = below === undefined ? [0] : [amount, ...shortSteps.map((step) => amount - step)];
    let best = -1;
    let most = 0;
    for (const base of bases) {
      if (below !== undefined && (base <= below || reach[base - below] === Number.POSITIVE_INFINITY))
        continue;
      const held = count(base);
      if (held > most) [best, most] = [base, held];
    }
    if (best < 0) return null;
    const members = shortSteps.filter((step) => open[best + step] === 1);
    blocks.push({ base: best, holdsBase: open[best] === 1, members });
    open[best] = 0;
    for (const step of members) open[best + step] = 0;
  }
  return blocks;
}

/** The shortest list of key steps that add up to an amount. */
export function fewestSteps(amount: number, steps: number[]): number[] {
  const last = lastSteps(amount, steps);
  const out: number[] = [];
  for (let rest = amount; rest > 0; rest -= last[rest]) {
    if (last[rest] === 0) throw new RangeError(`no key steps add up to a rotation by ${amount}`);
    out.push(last[rest]);
  }
  return out;
}

/** For each amount up to `most`, one step of a shortest sum; 0 where there is none. */
function lastSteps(most: number, steps: number[]): Uint32Array {
  const last = new Uint32Array(most + 1);
  const counts = stepCounts(most, steps);
  for (let amount = 1; amount <= most; amount++)
    for (const step of steps)
      if (step <= amount && counts[amount - step] + 1 === counts[amount]) last[amount] = step;
  return last;
}

/**
 * For each amount up to `most`, the least number of key steps (ascending) that add up to it; Infinity where
 * none do.
 */
export function stepCounts(most: number, steps: number[]): Float64Array {
  const counts = new Float64Array(most + 1).fill(Number.POSITIVE_INFINITY);
  counts[0] = 0;
  for (let amount = 1; amount <= most; amount++) {
    let least = Number.POSITIVE_INFINITY;
    for (let k = 0; k < steps.length && steps[k] <= amount; k++)
      least = Math.min(least, counts[amount - steps[k]] + 1);
    counts[amount] = least;
  }
  return counts;
}

/**
 * Rotations that reach all `amounts` (ascending), each by one key step from an amount that was reached
 * before, with few decompositions: an amount that no decomposed one reaches has that neighbour decomposed
 * which reaches most others.
 */
function babyTree(amounts: number[], steps: number[]): Schedule['babySteps'] {
  const wanted = new Set(amounts);
  const reached = new Set([0]);
  const groups = new Map<number, Schedule['babySteps'][number]['steps']>();
  const covered = (amount: number) => steps.some((step) => groups.has(amount - step));
  const gain = (from: number) =>
    steps.filter((step) => wanted.has(from + step) && !reached.has(from + step) && !covered(from + step))
      .length;
  const reach = (amount: number) => {
    if (reached.has(amount)) return;
    let sources = steps.map((step) => amount - step).filter((from) => groups.has(from));
    if (sources.length === 0) {
      sources = steps.map((step) => amount - step).filter((from) => reached.has(from));
      if (sources.length === 0) {
        const from = amount - fewestSteps(amount, steps)[0];
        reach(from);
        sources = [from];
      }
    }
    const from = sources.reduce((best, other) => (gain(other) > gain(best) ? other : best));
    groups.set(from, [...(groups.get(from) ?? []), { amount, step: amount - from }]);
    reached.add(amount);
  };
  for (const amount of amounts) reach(amount);
  // Amounts grow along every path, so this order has each source reached before it is needed.
  return [...groups].sort(([a], [b]) => a - b).map(([from, rotations]) => ({ from, steps: rotations }));
}

/**
 * For each count of contiguous amounts from 0 on, the decompositions of `babyTree`; Infinity beyond what
 * steps reach.
 */
export function decompositionCounts(most: number, steps: number[]): Float64Array {
  const counts = new Float64Array(most + 1).fill(Number.POSITIVE_INFINITY);
  const covered = new Uint8Array(most + 1);
  counts[0] = counts[1] = 0;
  let decomposed = 0;
  for (let amount = 1; amount < most; amount++) {
    if (!covered[amount]) {
      let best = -1;
      let bestGain = -1;
      for (const first of steps) {
        const from = amount - first;
        if (from < 0) continue;
        let gain = 0;
        for (const step of steps) {
          const to = from + step;
          if (to >= amount && to < most && !covered[to]) gain++;
        }
        if (gain > bestGain) [best, bestGain] = [from, gain];
      }
      if (best < 0) break;
      decomposed++;
      for (const step of steps) if (best + step < most) covered[best + step] = 1;
    }
    counts[amount + 1] = decomposed;
  }
  return counts;
}
