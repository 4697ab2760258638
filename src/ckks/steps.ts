import type { Diagonals } from './packing.ts';
import { rotatePeriod } from './packing.ts';

/**
 * Baby-step/giant-step schedule of a linear map whose amounts a = g B + b start at zero (Halevi and Shoup 2014):
 * out = sum_g rotate(sum_b w' . rotate(in, b), g B), the weights rotated by -g B beforehand. Giant steps are taken in
 * Horner fashion from the largest g down, so one key serves them all. All key steps are powers of two; a rotation by
 * another amount is made from a smaller one that is there already.
 */
export interface Schedule {
  babyStep: number;
  /**
   * In order, grouped by the amount that they start from: `amount` = `from` + `step`, one rotation of every input
   * ciphertext. Rotations of a group share one decomposition.
   */
  babies: { from: number; steps: { amount: number; step: number }[] }[];
  /** The rotation amounts b that carry weights, in the order of each giant step's columns. */
  used: number[];
  /** From the largest down. */
  giants: Giant[];
  /** Sums per giant step: one for each output ciphertext, or with paired outputs one for two of them. */
  accumulators: number;
}

/** One period of the slots real + X^(N/2) imaginary. */
export interface PairedVector {
  real: Float64Array;
  imaginary: Float64Array | null;
}

interface Giant {
  amount: number;
  /** Key steps that the accumulators are rotated by before this giant step's sum is added. */
  rotate: number[];
  /** `[accumulator][used.length * inputs]`, column k * inputs + i for the k-th used baby amount and input i. */
  rows: (PairedVector | null)[][];
}

/** The powers of two that make up a non-negative amount, largest first: 11 -> [8, 2, 1]. */
export function powersOfTwo(amount: number): number[] {
  const out: number[] = [];
  for (let step = 2 ** Math.floor(Math.log2(Math.max(1, amount))); step >= 1; step /= 2) {
    if (amount >= step) {
      out.push(step);
      amount -= step;
    }
  }
  return out;
}

/** Baby rotations that reach all `amounts`: each takes one key step from an amount that was reached before. */
function babyRotations(amounts: number[]): Schedule['babies'] {
  const reached = new Set([0]);
  const groups = new Map<number, Schedule['babies'][number]['steps']>();
  const reach = (amount: number) => {
    if (reached.has(amount)) return;
    const step = powersOfTwo(amount)[0];
    const from = amount - step;
    reach(from);
    groups.set(from, [...(groups.get(from) ?? []), { amount, step }]);
    reached.add(amount);
  };
  for (const amount of amounts) reach(amount);
  // Amounts grow along every path, so this order has each source reached before it is needed.
  return [...groups].sort(([a], [b]) => a - b).map(([from, steps]) => ({ from, steps }));
}

/**
 * Weights of one accumulator, rotated by -amount. Outputs 2a and 2a + 1 of a pair are summed up in accumulator a as
 * y / 2 + X^(N/2) y' / 2, and separated at the end (run.ts); a last output without a partner stays as it is.
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

/** The schedule with baby steps below `babyStep`, a power of two. */
function scheduleWith(map: Diagonals, babyStep: number, paired: boolean): Schedule {
  const perAccumulator = paired ? 2 : 1;
  const accumulators = Math.ceil(map.outputs / perAccumulator);
  const amounts = [...map.weights.keys()].sort((a, b) => a - b);
  const used = [...new Set(amounts.map((a) => a % babyStep))].sort((a, b) => a - b);
  const giantAmounts = [...new Set(amounts.map((a) => a - (a % babyStep)))].sort((a, b) => b - a);
  const giants = giantAmounts.map((amount, k) => ({
    amount,
    rotate: k === 0 ? [] : powersOfTwo(giantAmounts[k - 1] - amount),
    rows: Array.from({ length: accumulators }, (_, a) =>
      used.flatMap((baby) => {
        const rows = map.weights.get(amount + baby);
        const outputs = Array.from(
          { length: Math.min(perAccumulator, map.outputs - perAccumulator * a) },
          (_, o) => rows?.[perAccumulator * a + o],
        );
        return Array.from({ length: map.inputs }, (_, i) => accumulatorWeights(outputs, i, amount));
      }),
    ),
  }));
  return { babyStep, babies: babyRotations(used), used, giants, accumulators };
}

/** Key switches that a schedule takes, over all ciphertexts. */
export function rotationCount(schedule: Schedule, map: Diagonals): number {
  const giantRotations = schedule.giants.reduce((sum, g) => sum + g.rotate.length, 0);
  const babyRotations = schedule.babies.reduce((sum, { steps }) => sum + steps.length, 0);
  return babyRotations * map.inputs + giantRotations * schedule.accumulators;
}

/** The schedule with the fewest key switches; of equals the one with the smaller baby step (less memory). */
export function bestSchedule(map: Diagonals, paired: boolean): Schedule {
  const largest = Math.max(...map.weights.keys());
  let best = scheduleWith(map, 1, paired);
  for (let babyStep = 2; babyStep <= 2 * largest; babyStep *= 2) {
    const next = scheduleWith(map, babyStep, paired);
    if (rotationCount(next, map) < rotationCount(best, map)) best = next;
  }
  return best;
}
