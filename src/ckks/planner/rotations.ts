import {
  accumulatorsOf,
  type Choice,
  decompositionCounts,
  giantBlocks,
  stepCounts,
} from '../circuit/bsgs.ts';
import type { Diagonals } from '../circuit/packing.ts';
import type { Operation } from '../evaluator/operations.ts';
import { type Gadget, gadgets, type LevelGadgets, restrict, sealGadget } from '../keyswitch/gadget.ts';
import { switchingKeySize } from '../keyswitch/key-size.ts';
import { CONJUGATION } from '../ring/galois.ts';
import type { Parameters } from '../ring/parameters.ts';
import { type Costs, operationMs } from './cost.ts';

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
/** Outputs are paired from one of the first layers on; keys for fewer limbs are small. */
const LATEST_PAIRING = 2;
/** What is tried with grouped keys: baby steps, keys for baby rotations, and keys for giant steps in units of the baby step. */
const BABY_STEPS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32];
const BABY_KEYS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24];
/** Keys at most of a set in which keys are exchanged. */
const EXCHANGED = 5;
const GIANT_KEYS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16];

/** A linear layer as the choice sees it. */
export interface Layer {
  limbs: number;
  map: Diagonals;
}

export interface ChoiceContext {
  parameters: Parameters;
  costs: Costs;
  /** Bytes that switching keys may take. */
  budget: number;
  /** Rotations that are needed anyway, and how many of each. */
  fixed: { step: number; limbs: number; count: number }[];
  /** Relinearisations: how many at how many limbs. */
  relinearised: { limbs: number; count: number }[];
}

/** One choice for each layer, the gadgets of grouped keys by level, and the bytes of all switching keys. */
export interface Chosen {
  choices: Choice[];
  gadgets: LevelGadgets;
  bytes: number;
}

/** Rotation keys: limbs by step. */
type Keys = ReadonlyMap<number, number>;

interface Evaluated {
  keys: Keys;
  /** By layer. */
  ms: number[];
  bytes: number;
}

/** The choice with keys of SEAL's kind. Layers are given in order: limbs never grow. */
export function chooseSchedules(layers: Layer[], context: ChoiceContext): Chosen {
  const { parameters, costs, fixed, relinearised } = context;
  const shapes = layers.map((layer) => new LayerShape(layer, parameters.n, costs));
  const keySize = (limbs: number) => switchingKeySize(parameters, sealGadget(parameters, limbs));
  const others = keySize(Math.max(0, ...relinearised.map(({ limbs }) => limbs)));
  const search = new Search(shapes, { n: parameters.n, keySize, budget: context.budget - others, fixed });
  const { keys, bytes } = search.run();
  const choices = shapes.map((shape) => choiceOf(shape, stepsAt(keys, shape.limbs)));
  return { choices, gadgets: { rotation: [], relinearisation: [] }, bytes: bytes + others };
}

function choiceOf(shape: LayerShape, steps: number[]): Choice {
  const { babyStep, paired, blocks } = shape.best(steps);
  return { babyStep, paired, blocks, keys: steps };
}

/** One way to do what is done at one number of limbs: time, and the bytes of all keys but that of conjugation. */
interface LevelChoice {
  gadget: Gadget;
  /** Of the level's layer. */
  choice: Choice | null;
  ms: number;
  bytes: number;
}

/**
 * The choice with grouped keys. A layer's rotations take keys of its own level, so levels depend on each other by the budget
 * alone: for every level gadgets, baby steps and sets of keys are tried, and of what is on the frontier of time and
 * bytes one choice is taken for each level, exactly those with the least objective. Conjugations take the key of the first layer
 * that has paired outputs, relinearisations those of some levels. Layers are given in order, at different levels.
 */
export function chooseGroupedSchedules(layers: Layer[], context: ChoiceContext): Chosen {
  const { parameters, budget } = context;
  const levels = [...new Set([...layers, ...context.fixed].map(({ limbs }) => limbs))];
  const choicesAt = (limbs: number, paired: boolean) =>
    levelChoices(
      layers.find((layer) => layer.limbs === limbs),
      limbs,
      paired,
      context,
    );
  const paired = levels.map((limbs) => choicesAt(limbs, true));
  const alone = levels.slice(0, LATEST_PAIRING).map((limbs) => choicesAt(limbs, false));
  const relinearisations = relinearisationChoices(context);
  // From which layer on outputs are paired.
  const sets = levels.slice(0, LATEST_PAIRING + 1).flatMap((_, first) =>
    levels.reduce(
      (before, _, k) =>
        combine(before, k < first ? alone[k] : paired[k], (set, next) => ({
          relinearisations: set.relinearisations,
          levels: [...set.levels, next],
          ms: set.ms + next.ms,
          bytes: set.bytes + next.bytes + (k === first ? switchingKeySize(parameters, next.gadget) : 0),
        })),
      relinearisations.map((of): ChoiceSet => ({ ...of, relinearisations: of.gadgets, levels: [] })),
    ),
  );
  const within = sets.filter(({ bytes }) => bytes <= budget);
  const objective = ({ ms, bytes }: ChoiceSet) => ms + PRICE_OF_KEYS * bytes;
  const best =
    within.length === 0
      ? sets.reduce((a, b) => (b.bytes < a.bytes ? b : a))
      : within.reduce((a, b) => (objective(b) < objective(a) ? b : a));
  const byLevel = new Map(best.levels.map(({ gadget, choice }) => [gadget.limbs, choice]));
  return {
    choices: layers.map(({ limbs }) => byLevel.get(limbs)!),
    gadgets: { rotation: best.levels.map(({ gadget }) => gadget), relinearisation: best.relinearisations },
    bytes: best.bytes,
  };
}

interface ChoiceSet {
  relinearisations: Gadget[];
  levels: LevelChoice[];
  ms: number;
  bytes: number;
}

/** All pairs that are on the frontier. */
function combine<A, B, C extends { ms: number; bytes: number }>(
  as: A[],
  bs: B[],
  join: (a: A, b: B) => C,
): C[] {
  return frontier(as.flatMap((a) => bs.map((b) => join(a, b))));
}

interface Relinearisations {
  gadgets: Gadget[];
  ms: number;
  bytes: number;
}

/** Keys for relinearisation worth considering: those of some levels, each serving the levels below it down to the next. */
function relinearisationChoices({ parameters, costs, relinearised }: ChoiceContext): Relinearisations[] {
  const levels = relinearised.toSorted((a, b) => b.limbs - a.limbs);
  // From each level on.
  const from: Relinearisations[][] = [...levels.map(() => []), [{ gadgets: [], ms: 0, bytes: 0 }]];
  for (let k = levels.length - 1; k >= 0; k--) {
    from[k] = frontier(
      gadgets(parameters, levels[k].limbs).flatMap((gadget) => {
        const size = switchingKeySize(parameters, gadget);
        let ms = 0;
        return levels.slice(k).flatMap(({ limbs, count }, served) => {
          ms += count * operationMs(costs, 'relinearise', limbs, parameters.n, restrict(gadget, limbs));
          const own = ms;
          return from[k + served + 1].map((rest) => ({
            gadgets: [gadget, ...rest.gadgets],
            ms: own + rest.ms,
            bytes: size + rest.bytes,
          }));
        });
      }),
    );
  }
  return from[0];
}

/** Without those that take neither fewer bytes nor less time than another; fewest bytes first. */
function frontier<T extends { ms: number; bytes: number }>(all: T[]): T[] {
  let least = Number.POSITIVE_INFINITY;
  return all
    .sort((a, b) => a.bytes - b.bytes || a.ms - b.ms)
    .filter(({ ms }) => {
      const better = ms < least - 1e-6;
      if (better) least = ms;
      return better;
    });
}

/** Gadgets of which no other is better in time and size. */
function promisingGadgets(parameters: Parameters, limbs: number, costs: Costs): Gadget[] {
  const all = gadgets(parameters, limbs).map((gadget) => {
    const ms = (['decompose', 'hoistedRotate', 'summedRotate', 'divide'] as const).map((operation) =>
      operationMs(costs, operation, limbs, parameters.n, gadget),
    );
    return { gadget, figures: [...ms, switchingKeySize(parameters, gadget)] };
  });
  return all
    .filter(
      ({ gadget, figures }) =>
        !all.some(
          (other) => other.gadget !== gadget && other.figures.every((figure, k) => figure <= figures[k]),
        ),
    )
    .map(({ gadget }) => gadget);
}

/** The choices for one level worth considering: its layer's, and the rotations that are needed there anyway. */
function levelChoices(
  layer: Layer | undefined,
  limbs: number,
  paired: boolean,
  { parameters, costs, fixed }: ChoiceContext,
): LevelChoice[] {
  const { n } = parameters;
  const needed = fixed.filter((key) => key.limbs === limbs);
  const own = needed.map(({ step }) => step);
  const count = needed.reduce((sum, rotation) => sum + rotation.count, 0);
  const choices = promisingGadgets(parameters, limbs, costs).flatMap((gadget): LevelChoice[] => {
    const size = switchingKeySize(parameters, gadget);
    const others = count * operationMs(costs, 'rotate', limbs, n, gadget);
    if (!layer) return [{ gadget, choice: null, ms: others, bytes: own.length * size }];
    const candidates = new LayerShape(layer, n, costs, gadget).candidates(own, paired);
    return frontier(
      [...candidates].map(({ ms, ...choice }) => ({
        gadget,
        choice,
        ms: others + ms,
        bytes: choice.keys.length * size,
      })),
    );
  });
  return frontier(choices);
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
  readonly #ms: Record<
    'rotate' | 'decompose' | 'hoistedRotate' | 'product' | 'sum' | 'summedRotate' | 'divide',
    number
  >;
  readonly #giants = new Map<number, Map<number, number>>();
  readonly #best = new Map<string, Best>();
  readonly #turning = new Map<string, { ms: number; span?: number }>();
  readonly #amountsBy = new Map<number, number[]>();
  /** Bytes of a ciphertext. */
  readonly #ciphertext: number;
  /** Baby step and rotation at most, in units. */
  readonly #most: number;
  #longest: number;

  constructor({ limbs, map }: Layer, n: number, costs: Costs, gadget?: Gadget) {
    const amounts = [...map.weights.keys()].sort((a, b) => a - b);
    this.limbs = limbs;
    this.unit = amounts.reduce(greatestCommonDivisor, 0) || 1;
    this.#map = map;
    this.#amounts = amounts.map((amount) => amount / this.unit);
    const ms = (operation: Operation) => operationMs(costs, operation, limbs, n, gadget);
    this.#ms = {
      rotate: ms('rotate'),
      decompose: ms('decompose'),
      hoistedRotate: ms('hoistedRotate'),
      product: ms('multiplyPlain'),
      sum: ms('sum'),
      summedRotate: gadget ? ms('summedRotate') : ms('rotate'),
      divide: gadget ? ms('divide') : 0,
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
  best(steps: number[]): Best {
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

  /**
   * Choices for every baby step, from many keys to few: one key after another is left out, the one that costs least time, and
   * then keys are exchanged for others while that saves time. The keys `more` are there anyway.
   */
  *candidates(more: number[], paired: boolean): Generator<Choice & { ms: number }> {
    const last = this.#amounts.at(-1)!;
    for (const b of BABY_STEPS.filter((size) => size <= this.#most)) {
      const babies = BABY_KEYS.filter((step) => step < b);
      const giants = [...GIANT_KEYS.map((k) => k * b), ...this.#gaps(b)].filter((step) => step <= last);
      const pool = [...new Set([...more, ...[...babies, ...giants].map((step) => step * this.unit)])];
      const tried = (keys: number[]) => ({ ...this.#at(b, paired, keys), keys });
      const best = (all: number[][]) => all.map(tried).reduce((x, y) => (y.ms < x.ms ? y : x));
      /** The set without one of its keys, with each of `others` in its place. */
      const changes = (keys: number[], others: number[][]) =>
        keys
          .filter((step) => !more.includes(step))
          .flatMap((step) => others.map((other) => [...keys.filter((key) => key !== step), ...other]));
      let current = tried(pool);
      while (current.ms < Number.POSITIVE_INFINITY) {
        yield current;
        const fewer = changes(current.keys, [[]]);
        if (fewer.length === 0) break;
        current = best(fewer);
        while (current.keys.length <= EXCHANGED) {
          const others = pool.filter((step) => !current.keys.includes(step)).map((step) => [step]);
          const exchanged = [current.keys, ...changes(current.keys, others)];
          const next = best(exchanged);
          if (next.ms >= current.ms) break;
          current = next;
        }
      }
    }
  }

  /** From the first of one run of giant steps to that of the next: a dilation leaves gaps between them. */
  #gaps(b: number): number[] {
    const amounts = this.#giantAmounts(b);
    const gaps = new Set<number>();
    let first = 0;
    for (let k = 1; k < amounts.length; k++) {
      if (amounts[k] === amounts[k - 1] + 1) continue;
      gaps.add((amounts[k] - first) * b);
      first = amounts[k];
    }
    return [...gaps];
  }

  #giantAmounts(b: number): number[] {
    let amounts = this.#amountsBy.get(b);
    if (!amounts) {
      amounts = [...new Set(this.#amounts.map((amount) => Math.floor(amount / b)))];
      this.#amountsBy.set(b, amounts);
    }
    return amounts;
  }

  /** With grouped keys, this baby step and these keys. */
  #at(b: number, paired: boolean, keys: number[]): Best {
    const usable = keys
      .filter((step) => step % this.unit === 0)
      .map((step) => step / this.unit)
      .sort((x, y) => x - y);
    const babies = usable.filter((step) => step < b);
    const steps = usable.filter((step) => step % b === 0).map((step) => step / b);
    const id = `${b}:${steps.join()}`;
    let turning = this.#turning.get(id);
    if (!turning) {
      turning = this.#turnAll(b, steps);
      this.#turning.set(id, turning);
    }
    const pairs = paired && this.#map.outputs > 1;
    const decompositions = decompositionCounts(b, babies)[b];
    const ms = this.#total(b, pairs, decompositions, this.#giantAmounts(b).length, turning.ms);
    return { ms, babyStep: b * this.unit, paired: pairs, blocks: turning.span && turning.span * this.unit };
  }

  /** Of one accumulator and all giant steps, by keys in units of `b`; `span` as in `Choice.blocks`. */
  #turnAll(b: number, steps: number[]): { ms: number; span?: number } {
    const amounts = this.#giantAmounts(b);
    const rotations = stepCounts(amounts.at(-1)!, steps);
    let ms = 0;
    for (let k = 1; k < amounts.length; k++) ms += this.#turnMs(rotations[amounts[k] - amounts[k - 1]], 0);
    // Sums of other runs may be worth rotating onto a base or not.
    const spans = [amounts.at(-1)!, ...this.#gaps(b).map((gap) => gap / b - 1)];
    return spans
      .map((span) => ({ ms: this.#blocksMs(amounts, steps, rotations, span), span: span * b }))
      .reduce<{ ms: number; span?: number }>((best, next) => (next.ms < best.ms ? next : best), { ms });
  }

  #choose(usable: number[], canPair: boolean): Best {
    const decompositions = decompositionCounts(this.#most, usable);
    const rotations = stepCounts(this.#longest, usable);
    let best: Best = { ms: Number.POSITIVE_INFINITY, babyStep: this.unit, paired: false };
    for (let b = 1; b <= this.#most; b++) {
      let turning = 0;
      let giants = 1;
      for (const [difference, count] of this.giants(b)) {
        turning += count * rotations[difference] * this.#ms.rotate;
        giants += count;
      }
      for (const paired of canPair ? [true, false] : [false]) {
        const ms = this.#total(b, paired, decompositions[b], giants, turning);
        if (ms < best.ms) best = { ms, babyStep: b * this.unit, paired };
      }
    }
    return best;
  }

  /** Of the whole layer, whose giant steps take `turning` for each accumulator. */
  #total(b: number, paired: boolean, decompositions: number, giants: number, turning: number): number {
    const { inputs, outputs } = this.#map;
    const { rotate, decompose, hoistedRotate, product, sum } = this.#ms;
    const accumulators = accumulatorsOf(outputs, paired);
    if ((b * inputs + giants * accumulators) * this.#ciphertext > WORKING_MEMORY && b > 1)
      return Number.POSITIVE_INFINITY;
    const babies = inputs * (decompositions * decompose + (b - 1) * hoistedRotate);
    const separation = paired ? Math.floor(outputs / 2) * (rotate + 4 * product + 2 * sum) : 0;
    const products = (this.#amounts.length * inputs * product + giants * sum) * accumulators;
    return babies + turning * accumulators + separation + products;
  }

  /** Of one accumulator that is rotated by a number of steps, when it is added to a base together with `members` others. */
  #turnMs(steps: number, members: number): number {
    const { rotate, summedRotate, divide } = this.#ms;
    const last = steps > 0 ? 1 : 0;
    const division = last + members > 0 ? divide : 0;
    return (steps - last) * rotate + (last + members) * summedRotate + division;
  }

  /** Of one accumulator whose giant steps are taken in blocks. */
  #blocksMs(amounts: number[], usable: number[], rotations: Float64Array, span: number): number {
    const blocks = giantBlocks(amounts, usable, rotations, span);
    if (blocks === null) return Number.POSITIVE_INFINITY;
    return blocks.reduce((sum, { base, members }, k) => {
      const next = blocks[k + 1];
      return sum + this.#turnMs(next ? rotations[next.base - base] : 0, members.length);
    }, 0);
  }
}

/** A layer's best choice for given keys. */
interface Best {
  ms: number;
  babyStep: number;
  paired: boolean;
  blocks?: number;
}

interface SearchContext {
  n: number;
  /** Bytes on the wire of one key by number of limbs. */
  keySize: (limbs: number) => number;
  /** Bytes that the keys may take. */
  budget: number;
  /** Keys that are needed anyway. */
  fixed: { step: number; limbs: number }[];
}

class Search {
  readonly #shapes: LayerShape[];
  readonly #context: SearchContext;
  /** Limbs that keys are tried at, ascending, and steps that are tried. */
  readonly #levels: number[];
  readonly #pool: number[];

  constructor(shapes: LayerShape[], context: SearchContext) {
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
