import { CONJUGATION } from './backend.ts';
import { type Costs, operationMs } from './cost.ts';
import type { Diagonals } from './packing.ts';
import { accumulatorsOf, type Choice, decompositionCounts, stepCounts } from './steps.ts';

/**
 * The joint choice of all layers' baby steps and of the keys that they share.
 *
 * Objective: least t + B x PRICE_OF_KEYS, where t is the estimated time of one evaluation and B the bytes of evaluation keys
 * on the wire, with B at most the budget; where no choice fits the budget, the least B. A layer at L limbs can use the steps
 * whose keys have L limbs or more, so a key costs what its highest layer needs and is free for all later ones.
 *
 * Search: starting from the powers of two at every layer, one key at a time is added, removed, moved to another
 * level or exchanged, while that improves the objective; first at prices that rise until the budget holds, then at the real price
 * under the budget. For a set of keys each layer's baby step is chosen exactly (within the memory bound below). No
 * randomness: the same layers, costs and budget give the same plan.
 */

/** Milliseconds per byte: one for a megabyte. A key that saves less than it would take to send is not worth having. */
const PRICE_OF_KEYS = 1e-6;
/** Milliseconds per byte above the budget. */
const PRICE_OF_EXCESS = 1;
/** Bytes of a layer's rotated inputs and sums at most. */
const WORKING_MEMORY = 400e6;
const LARGEST_BABY_STEP = 64;
/** Multiples of a layer's smallest amount that are tried as key steps. */
const SMALL_STEPS = 24;

/** A linear layer as the choice sees it. */
export interface Layer {
  limbs: number;
  map: Diagonals;
}

export interface ChoiceContext {
  n: number;
  costs: Costs;
  /** Bytes on the wire of one key-switching key by number of limbs. */
  keySize: (limbs: number) => number;
  /** Bytes that rotation keys may take. */
  budget: number;
  /** Rotation keys that are needed anyway. */
  fixed: { step: number; limbs: number }[];
}

/** Rotation keys: limbs by step. */
type Keys = ReadonlyMap<number, number>;

interface Evaluated {
  keys: Keys;
  /** By layer. */
  ms: number[];
  bytes: number;
}

/** One choice for each layer, and the bytes of the rotation keys. Layers are given in order: limbs never grow. */
export function chooseSchedules(
  layers: Layer[],
  context: ChoiceContext,
): { choices: Choice[]; bytes: number } {
  const shapes = layers.map((layer) => new LayerShape(layer, context));
  const { keys, bytes } = new Search(shapes, context).run();
  const choices = shapes.map((shape) => {
    const steps = stepsAt(keys, shape.limbs);
    const { babyStep, paired } = shape.best(steps);
    return { babyStep, paired, keys: steps };
  });
  return { choices, bytes };
}

/** The steps whose keys reach `limbs` limbs, ascending. */
function stepsAt(keys: Keys, limbs: number): number[] {
  return [...keys]
    .filter(([, of]) => of >= limbs)
    .map(([step]) => step)
    .sort((a, b) => a - b);
}

/** A layer's rotation amounts in units of their greatest common divisor, and what a set of key steps makes of them. */
class LayerShape {
  readonly limbs: number;
  readonly unit: number;
  readonly #map: Diagonals;
  readonly #amounts: number[];
  readonly #ms: Record<'rotate' | 'decompose' | 'hoistedRotate' | 'product', number>;
  readonly #giants = new Map<number, Map<number, number>>();
  readonly #best = new Map<string, { ms: number; babyStep: number; paired: boolean }>();
  /** Bytes of a ciphertext. */
  readonly #ciphertext: number;
  /** Baby step and rotation at most, in units. */
  readonly #most: number;
  #longest: number;

  constructor({ limbs, map }: Layer, { n, costs }: ChoiceContext) {
    const amounts = [...map.weights.keys()].sort((a, b) => a - b);
    this.limbs = limbs;
    this.unit = amounts.reduce(greatestCommonDivisor, 0) || 1;
    this.#map = map;
    this.#amounts = amounts.map((amount) => amount / this.unit);
    const ms = (operation: Parameters<typeof operationMs>[1]) => operationMs(costs, operation, limbs, n);
    this.#ms = {
      rotate: ms('rotate'),
      decompose: ms('decompose'),
      hoistedRotate: ms('hoistedRotate'),
      product: ms('multiplyPlain'),
    };
    this.#ciphertext = 8 * n * limbs;
    this.#most = Math.min(LARGEST_BABY_STEP, this.#amounts.at(-1)! + 1);
    this.#longest = this.#most;
    for (let b = 1; b <= this.#most; b++)
      for (const difference of this.giants(b).keys()) this.#longest = Math.max(this.#longest, difference);
  }

  get largest(): number {
    return this.#amounts.at(-1)! * this.unit;
  }

  /** The rotations between giant steps of baby step `b`, in units: how many by each amount. */
  giants(b: number): Map<number, number> {
    let differences = this.#giants.get(b);
    if (!differences) {
      differences = new Map();
      let last = 0;
      for (const amount of this.#amounts) {
        const giant = amount - (amount % b);
        if (giant === last) continue;
        differences.set(giant - last, (differences.get(giant - last) ?? 0) + 1);
        last = giant;
      }
      this.#giants.set(b, differences);
    }
    return differences;
  }

  /** The baby step that takes least time with the key steps given. */
  best(steps: number[]): { ms: number; babyStep: number; paired: boolean } {
    // Steps beyond every rotation do not matter.
    const usable = steps
      .filter((step) => step > 0 && step % this.unit === 0 && step <= this.#longest * this.unit)
      .map((step) => step / this.unit);
    const canPair = this.#map.outputs > 1 && steps.includes(CONJUGATION);
    const id = `${canPair} ${usable.join()}`;
    let best = this.#best.get(id);
    if (!best) {
      best = this.#choose(usable, canPair);
      this.#best.set(id, best);
    }
    return best;
  }

  #choose(usable: number[], canPair: boolean): { ms: number; babyStep: number; paired: boolean } {
    const { inputs, outputs } = this.#map;
    const { rotate, decompose, hoistedRotate, product } = this.#ms;
    const decompositions = decompositionCounts(this.#most, usable);
    const rotations = stepCounts(this.#longest, usable);
    let best = { ms: Number.POSITIVE_INFINITY, babyStep: this.unit, paired: false };
    for (let b = 1; b <= this.#most; b++) {
      let turns = 0;
      let giants = 1;
      for (const [difference, count] of this.giants(b)) {
        turns += count * rotations[difference];
        giants += count;
      }
      const babies = inputs * (decompositions[b] * decompose + (b - 1) * hoistedRotate);
      for (const paired of canPair ? [true, false] : [false]) {
        const accumulators = accumulatorsOf(outputs, paired);
        if ((b * inputs + giants * accumulators) * this.#ciphertext > WORKING_MEMORY && b > 1) continue;
        const separation = paired ? Math.floor(outputs / 2) * (rotate + 4 * product) : 0;
        const products = this.#amounts.length * inputs * accumulators * product;
        const ms = babies + turns * accumulators * rotate + separation + products;
        if (ms < best.ms) best = { ms, babyStep: b * this.unit, paired };
      }
    }
    return best;
  }
}

class Search {
  readonly #shapes: LayerShape[];
  readonly #context: ChoiceContext;
  /** Limbs that keys are tried at, ascending, and steps that are tried. */
  readonly #levels: number[];
  readonly #pool: number[];

  constructor(shapes: LayerShape[], context: ChoiceContext) {
    this.#shapes = shapes;
    this.#context = context;
    this.#levels = [...new Set(shapes.map(({ limbs }) => limbs))].sort((a, b) => a - b);
    const pool = new Set([CONJUGATION, ...context.fixed.map(({ step }) => step)]);
    for (const shape of shapes) {
      for (let k = 1; k <= SMALL_STEPS; k++) pool.add(k * shape.unit);
      for (let b = 1; b <= LARGEST_BABY_STEP; b *= 2)
        for (const difference of shape.giants(b).keys())
          if (difference <= 4 * LARGEST_BABY_STEP) pool.add(difference * shape.unit);
    }
    this.#pool = [...pool].filter((step) => step < context.n / 2).sort((a, b) => a - b);
  }

  run(): Evaluated {
    const { budget } = this.#context;
    let current = this.#evaluate(this.#start());
    for (let price = PRICE_OF_KEYS; ; price *= 2) {
      const objective = ({ ms, bytes }: Evaluated) => total(ms) + price * bytes;
      current = this.#improve(current, objective, false);
      if (current.bytes <= budget || price > PRICE_OF_EXCESS) break;
    }
    return this.#improve(
      current,
      ({ ms, bytes }) => total(ms) + PRICE_OF_KEYS * bytes + PRICE_OF_EXCESS * Math.max(0, bytes - budget),
      true,
    );
  }

  /** Powers of two for every layer, and conjugation. */
  #start(): Keys {
    const keys = new Map<number, number>();
    const need = (step: number, limbs: number) => keys.set(step, Math.max(limbs, keys.get(step) ?? 0));
    for (const { step, limbs } of this.#context.fixed) need(step, limbs);
    for (const { limbs, unit, largest } of this.#shapes) {
      need(CONJUGATION, limbs);
      for (let step = unit; step <= Math.max(unit, largest); step *= 2) need(step, limbs);
    }
    return keys;
  }

  #evaluate(keys: Keys): Evaluated {
    const ms = this.#shapes.map((shape) => shape.best(stepsAt(keys, shape.limbs)).ms);
    return { keys, ms, bytes: this.#bytes(keys) };
  }

  #bytes(keys: Keys): number {
    let bytes = 0;
    for (const limbs of keys.values()) bytes += this.#context.keySize(limbs);
    return bytes;
  }

  /** `of` with some keys at other limbs (0: none); only layers between the old and the new limbs see a difference. */
  #change(of: Evaluated, changes: [number, number][]): Evaluated {
    const keys = new Map(of.keys);
    let low = Number.POSITIVE_INFINITY;
    let high = 0;
    for (const [step, limbs] of changes) {
      const before = keys.get(step) ?? 0;
      low = Math.min(low, before, limbs);
      high = Math.max(high, before, limbs);
      if (limbs === 0) keys.delete(step);
      else keys.set(step, limbs);
    }
    const ms = of.ms.map((same, i) => {
      const { limbs } = this.#shapes[i];
      return limbs > low && limbs <= high ? this.#shapes[i].best(stepsAt(keys, limbs)).ms : same;
    });
    return { keys, ms, bytes: this.#bytes(keys) };
  }

  /** Takes every improving change in turn until there is none; exchanges only where nothing else helps. */
  #improve(from: Evaluated, objective: (e: Evaluated) => number, exchange: boolean): Evaluated {
    const fixed = new Map(this.#context.fixed.map(({ step, limbs }) => [step, limbs]));
    let current = from;
    let least = objective(from);
    const attempt = (changes: [number, number][]) => {
      const next = this.#change(current, changes);
      const value = objective(next);
      if (value >= least - 1e-6) return false;
      current = next;
      least = value;
      return true;
    };
    for (let improved = true; improved; ) {
      improved = false;
      for (const step of this.#pool) {
        const lowest = fixed.get(step) ?? 0;
        for (const limbs of [lowest, ...this.#levels.filter((l) => l > lowest)])
          if (limbs !== (current.keys.get(step) ?? 0)) improved = attempt([[step, limbs]]) || improved;
      }
      if (improved || !exchange) continue;
      for (const [step, limbs] of current.keys) {
        if (fixed.has(step)) continue;
        for (const other of this.#pool) {
          if (current.keys.has(other) || !current.keys.has(step)) continue;
          improved =
            attempt([
              [step, 0],
              [other, limbs],
            ]) || improved;
        }
      }
    }
    return current;
  }
}

function total(ms: number[]): number {
  return ms.reduce((sum, x) => sum + x, 0);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
