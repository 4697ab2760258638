import { accumulatorsOf } from '../circuit/bsgs.ts';
import type { Diagonals } from '../circuit/packing.ts';
import type { Gadget } from '../keyswitch/gadget.ts';
import { type Costs, operationMs } from './cost.ts';

/** A linear layer as the rotation-key selection sees it. */
export interface RotatedLayer {
  limbs: number;
  map: Diagonals;
}

/** Bytes of a layer's rotated inputs and sums at most. */
const WORKING_MEMORY = 400e6;
/** In units of the layer's amounts. */
export const LARGEST_BABY_STEP = 64;

/**
 * What a layer takes by its baby step and rotations, in milliseconds on one thread; amounts, baby steps and
 * key steps are in units of the amounts' greatest common divisor. The dry run counts the same operations (a
 * test compares); where baby amounts or weights have gaps, it counts a little less.
 */
export class LayerCost {
  readonly limbs: number;
  readonly outputs: number;
  /** Slots of one unit. */
  readonly unit: number;
  /** Rotation amounts that carry weights, in units, ascending from 0. */
  readonly amounts: number[];
  /** In units. */
  readonly largestBabyStep: number;
  /** Of one operation on one ciphertext. */
  readonly ms: Record<
    'rotate' | 'decompose' | 'hoistedRotate' | 'product' | 'sum' | 'summedRotate' | 'divide',
    number
  >;
  readonly #inputs: number;
  readonly #ciphertextBytes: number;

  /** @param gadget of hybrid keys; absent for per-prime keys */
  constructor({ limbs, map }: RotatedLayer, n: number, costs: Costs, gadget?: Gadget) {
    const amounts = [...map.weights.keys()].sort((a, b) => a - b);
    this.limbs = limbs;
    this.outputs = map.outputs;
    this.#inputs = map.inputs;
    this.unit = amounts.reduce(greatestCommonDivisor, 0) || 1;
    this.amounts = amounts.map((amount) => amount / this.unit);
    this.largestBabyStep = Math.min(LARGEST_BABY_STEP, this.amounts.at(-1)! + 1);
    const rotate = operationMs(costs, 'rotate', limbs, n, gadget);
    this.ms = {
      rotate,
      decompose: operationMs(costs, 'decompose', limbs, n, gadget),
      hoistedRotate: operationMs(costs, 'hoistedRotate', limbs, n, gadget),
      product: operationMs(costs, 'multiplyPlain', limbs, n),
      sum: operationMs(costs, 'sum', limbs, n),
      summedRotate: gadget ? operationMs(costs, 'summedRotate', limbs, n, gadget) : rotate,
      divide: gadget ? operationMs(costs, 'divide', limbs, n, gadget) : 0,
    };
    this.#ciphertextBytes = 8 * n * limbs;
  }

  /**
   * The whole layer; Infinity where its rotated inputs and sums do not fit the working memory.
   *
   * @param decompositions of each input, for its baby rotations
   * @param giantSteps how many
   * @param giantMs of all giant steps' rotations, for each accumulator
   */
  total(
    babyStep: number,
    paired: boolean,
    decompositions: number,
    giantSteps: number,
    giantMs: number,
  ): number {
    const { rotate, decompose, hoistedRotate, product, sum } = this.ms;
    const inputs = this.#inputs;
    const accumulators = accumulatorsOf(this.outputs, paired);
    const ciphertexts = babyStep * inputs + giantSteps * accumulators;
    if (ciphertexts * this.#ciphertextBytes > WORKING_MEMORY && babyStep > 1) return Number.POSITIVE_INFINITY;
    const babyMs = inputs * (decompositions * decompose + (babyStep - 1) * hoistedRotate);
    const separation = paired ? Math.floor(this.outputs / 2) * (rotate + 4 * product + 2 * sum) : 0;
    const products = (this.amounts.length * inputs * product + giantSteps * sum) * accumulators;
    return babyMs + giantMs * accumulators + separation + products;
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
