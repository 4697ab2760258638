import { decompositionCounts, type ScheduleChoice, stepCounts } from '../circuit/bsgs.ts';
import { CONJUGATION } from '../ring/galois.ts';
import type { Costs } from './cost.ts';
import { LARGEST_BABY_STEP, LayerCost, type RotatedLayer } from './layer-cost.ts';
import type { Price } from './pareto.ts';

/** Milliseconds per byte above the budget. */
const PRICE_OF_EXCESS = 1;
/** Multiples of a layer's smallest amount that are tried as key steps. */
const SMALL_STEPS = 24;

/** Per-prime rotation keys: limbs by step. A layer at L limbs can use those of L limbs or more. */
type KeyLimbs = ReadonlyMap<number, number>;

/** A layer's best schedule for given keys. */
interface BestSchedule {
  ms: number;
  babyStep: number;
  paired: boolean;
}

/** A linear layer and, for each set of key steps, the baby step that takes least time. */
class PerPrimeLayer {
  readonly cost: LayerCost;
  /** Rotation that may occur at most, in units. */
  readonly #longest: number;
  readonly #differences = new Map<number, Map<number, number>>();
  readonly #best = new Map<string, BestSchedule>();

  constructor(layer: RotatedLayer, n: number, costs: Costs) {
    this.cost = new LayerCost(layer, n, costs);
    let longest = this.cost.largestBabyStep;
    for (let b = 1; b <= this.cost.largestBabyStep; b++)
      for (const difference of this.giantDifferences(b).keys()) longest = Math.max(longest, difference);
    this.#longest = longest;
  }

  /** The largest amount, in slots. */
  get largest(): number {
    return this.cost.amounts.at(-1)! * this.cost.unit;
  }

  /** The rotations from one giant step of baby step `b` to the next, in units: how many by each amount. */
  giantDifferences(b: number): Map<number, number> {
    let differences = this.#differences.get(b);
    if (!differences) {
      differences = new Map();
      let last = 0;
      for (const amount of this.cost.amounts) {
        const giant = amount - (amount % b);
        if (giant === last) continue;
        differences.set(giant - last, (differences.get(giant - last) ?? 0) + 1);
        last = giant;
      }
      this.#differences.set(b, differences);
    }
    return differences;
  }

  /** The schedule that takes least time with the key steps given, in slots. */
  best(steps: number[]): BestSchedule {
    const { unit, outputs } = this.cost;
    // Steps beyond every rotation do not matter.
    const usable = steps
      .filter((step) => step > 0 && step % unit === 0 && step <= this.#longest * unit)
      .map((step) => step / unit);
    const canPair = outputs > 1 && steps.includes(CONJUGATION);
    const id = `${canPair} ${usable.join()}`;
    let best = this.#best.get(id);
    if (!best) {
      best = this.#search(usable, canPair);
      this.#best.set(id, best);
    }
    return best;
  }

  #search(usable: number[], canPair: boolean): BestSchedule {
    const { largestBabyStep, ms, unit } = this.cost;
    const decompositions = decompositionCounts(largestBabyStep, usable);
    const rotations = stepCounts(this.#longest, usable);
    let best: BestSchedule = { ms: Number.POSITIVE_INFINITY, babyStep: unit, paired: false };
    for (let b = 1; b <= largestBabyStep; b++) {
      let giantMs = 0;
      let giantSteps = 1;
      for (const [difference, count] of this.giantDifferences(b)) {
        giantMs += count * rotations[difference] * ms.rotate;
        giantSteps += count;
      }
      for (const paired of canPair ? [true, false] : [false]) {
        const total = this.cost.total(b, paired, decompositions[b], giantSteps, giantMs);
        if (total < best.ms) best = { ms: total, babyStep: b * unit, paired };
      }
    }
    return best;
  }
}

interface SearchContext {
  n: number;
  costs: Costs;
  /** Bytes on the wire of one key by number of limbs. */
  keySize: (limbs: number) => number;
  /** Bytes that rotation keys may take. */
  budget: number;
  /** Milliseconds per byte within the budget. */
  priceOfKeys: number;
  /** Keys that are needed anyway. */
  fixed: { step: number; limbs: number }[];
}

/** What a set of keys takes, with the milliseconds of each layer. */
interface Evaluated extends Price {
  keys: KeyLimbs;
  layerMs: number[];
}

/**
 * Selects per-prime rotation keys for layers given in order (limbs never grow): a choice for each layer, with
 * the time of all of them and the bytes of all rotation keys.
 *
 * Local search: starting from the powers of two at every layer, one key at a time is added, removed, moved to
 * another level or exchanged, while that improves the objective; first at prices that rise until the budget
 * holds, then at the real price under the budget. For a set of keys each layer's baby step is chosen exactly.
 * No randomness.
 */
export function selectPerPrimeKeys(
  layers: RotatedLayer[],
  context: SearchContext,
): Price & { choices: ScheduleChoice[] } {
  const costed = layers.map((layer) => new PerPrimeLayer(layer, context.n, context.costs));
  const { keys, ms, bytes } = new Search(costed, context).run();
  const choices = costed.map((layer) => {
    const keySteps = stepsAt(keys, layer.cost.limbs);
    const { babyStep, paired } = layer.best(keySteps);
    return { babyStep, paired, keySteps };
  });
  return { choices, ms, bytes };
}

/** The steps whose keys reach `limbs` limbs, ascending. */
function stepsAt(keys: KeyLimbs, limbs: number): number[] {
  return [...keys]
    .filter(([, reached]) => reached >= limbs)
    .map(([step]) => step)
    .sort((a, b) => a - b);
}

class Search {
  readonly #layers: PerPrimeLayer[];
  readonly #context: SearchContext;
  /** Limbs that keys are tried at, ascending, and steps that are tried. */
  readonly #levels: number[];
  readonly #pool: number[];

  constructor(layers: PerPrimeLayer[], context: SearchContext) {
    this.#layers = layers;
    this.#context = context;
    this.#levels = [...new Set(layers.map(({ cost }) => cost.limbs))].sort((a, b) => a - b);
    const pool = new Set([CONJUGATION, ...context.fixed.map(({ step }) => step)]);
    for (const layer of layers) {
      const { unit } = layer.cost;
      for (let k = 1; k <= SMALL_STEPS; k++) pool.add(k * unit);
      for (let b = 1; b <= LARGEST_BABY_STEP; b *= 2)
        for (const difference of layer.giantDifferences(b).keys())
          if (difference <= 4 * LARGEST_BABY_STEP) pool.add(difference * unit);
    }
    this.#pool = [...pool].filter((step) => step < context.n / 2).sort((a, b) => a - b);
  }

  run(): Evaluated {
    const { budget, priceOfKeys } = this.#context;
    let current = this.#evaluate(this.#start());
    for (let price = priceOfKeys; ; price *= 2) {
      const objective = ({ ms, bytes }: Evaluated) => ms + price * bytes;
      current = this.#improve(current, objective, false);
      if (current.bytes <= budget || price > PRICE_OF_EXCESS) break;
    }
    return this.#improve(
      current,
      ({ ms, bytes }) => ms + priceOfKeys * bytes + PRICE_OF_EXCESS * Math.max(0, bytes - budget),
      true,
    );
  }

  /** Powers of two for every layer, and conjugation. */
  #start(): KeyLimbs {
    const keys = new Map<number, number>();
    const need = (step: number, limbs: number) => keys.set(step, Math.max(limbs, keys.get(step) ?? 0));
    for (const { step, limbs } of this.#context.fixed) need(step, limbs);
    for (const { cost, largest } of this.#layers) {
      need(CONJUGATION, cost.limbs);
      for (let step = cost.unit; step <= Math.max(cost.unit, largest); step *= 2) need(step, cost.limbs);
    }
    return keys;
  }

  #evaluate(keys: KeyLimbs): Evaluated {
    return this.#with(
      keys,
      this.#layers.map((layer) => layer.best(stepsAt(keys, layer.cost.limbs)).ms),
    );
  }

  #with(keys: KeyLimbs, layerMs: number[]): Evaluated {
    let bytes = 0;
    for (const limbs of keys.values()) bytes += this.#context.keySize(limbs);
    return { keys, layerMs, ms: layerMs.reduce((sum, x) => sum + x, 0), bytes };
  }

  /**
   * `before` with some keys at other limbs (0: none); only layers between old and new limbs see a difference.
   */
  #change(before: Evaluated, changes: [number, number][]): Evaluated {
    const keys = new Map(before.keys);
    let low = Number.POSITIVE_INFINITY;
    let high = 0;
    for (const [step, limbs] of changes) {
      const old = keys.get(step) ?? 0;
      low = Math.min(low, old, limbs);
      high = Math.max(high, old, limbs);
      if (limbs === 0) keys.delete(step);
      else keys.set(step, limbs);
    }
    const layerMs = before.layerMs.map((same, i) => {
      const { limbs } = this.#layers[i].cost;
      return limbs > low && limbs <= high ? this.#layers[i].best(stepsAt(keys, limbs)).ms : same;
    });
    return this.#with(keys, layerMs);
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
