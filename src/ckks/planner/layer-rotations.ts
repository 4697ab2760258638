import { decompositionCounts, giantBlocks, stepCounts } from '../circuit/bsgs.ts';

/** How often one accumulator is rotated over all giant steps, and how the rotations are done. */
export interface GiantRotations {
  /** In units: giant steps are taken in blocks of at most this span; absent: one after another. */
  blockSpan?: number;
  /**
   * Rotations alone, rotations that are added up before the division by the special primes, and such
   * divisions.
   */
  rotate: number;
  summedRotate: number;
  divide: number;
}

/**
 * What sets of key steps make of a layer's rotation amounts, whatever an operation costs: kept for each set,
 * because many gadgets are tried with the same ones. All numbers are in units of the amounts' greatest common
 * divisor.
 */
export class LayerRotations {
  readonly #amounts: number[];
  readonly #giantAmounts = new Map<number, number[]>();
  readonly #giantRotations = new Map<string, GiantRotations[]>();
  readonly #decompositions = new Map<string, number>();

  /** @param amounts rotation amounts that carry weights, ascending from 0 */
  constructor(amounts: number[]) {
    this.#amounts = amounts;
  }

  /** Giant steps of baby step `b`, divided by it, ascending. */
  giantAmounts(b: number): number[] {
    return cached(this.#giantAmounts, b, () => [
      ...new Set(this.#amounts.map((amount) => Math.floor(amount / b))),
    ]);
  }

  /** From the first of one run of giant steps to that of the next: a dilation leaves gaps between them. */
  gaps(b: number): number[] {
    const amounts = this.giantAmounts(b);
    const gaps = new Set<number>();
    let first = 0;
    for (let k = 1; k < amounts.length; k++) {
      if (amounts[k] === amounts[k - 1] + 1) continue;
      gaps.add((amounts[k] - first) * b);
      first = amounts[k];
    }
    return [...gaps];
  }

  /** Decompositions of each input that baby rotations below `b` take by these key steps (ascending). */
  decompositions(b: number, steps: number[]): number {
    return cached(this.#decompositions, `${b}:${steps.join()}`, () => decompositionCounts(b, steps)[b]);
  }

  /**
   * The ways to take all giant steps of baby step `b` by these key steps, which are divided by it
   * (ascending).
   */
  giantRotations(b: number, steps: number[]): GiantRotations[] {
    return cached(this.#giantRotations, `${b}:${steps.join()}`, () => {
      const amounts = this.giantAmounts(b);
      const reach = stepCounts(amounts.at(-1)!, steps);
      const apart = amounts.slice(1).map((amount, k) => ({ steps: reach[amount - amounts[k]], members: 0 }));
      // Sums of other runs may be worth rotating onto a base or not.
      const spans = [amounts.at(-1)!, ...this.gaps(b).map((gap) => gap / b - 1)];
      return [
        count(apart),
        ...spans.flatMap((span) => {
          const blocks = giantBlocks(amounts, steps, reach, span);
          if (blocks === null) return [];
          const rotated = blocks.map(({ base, members }, k) => ({
            steps: k + 1 < blocks.length ? reach[blocks[k + 1].base - base] : 0,
            members: members.length,
          }));
          return [{ ...count(rotated), blockSpan: span * b }];
        }),
      ];
    });
  }
}

/**
 * Of accumulators that are rotated by a number of key steps each and added to a base together with its
 * members.
 */
function count(bases: { steps: number; members: number }[]): GiantRotations {
  const total = { rotate: 0, summedRotate: 0, divide: 0 };
  for (const { steps, members } of bases) {
    const last = steps > 0 ? 1 : 0;
    total.rotate += steps - last;
    total.summedRotate += last + members;
    total.divide += last + members > 0 ? 1 : 0;
  }
  return total;
}

function cached<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}
