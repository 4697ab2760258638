import type { ScheduleChoice } from '../circuit/bsgs.ts';
import { type Gadget, gadgets, type LevelGadgets } from '../keyswitch/gadget.ts';
import { switchingKeySize } from '../keyswitch/key-size.ts';
import type { Parameters } from '../ring/parameters.ts';
import { type Costs, operationMs } from './cost.ts';
import { LayerCost, type RotatedLayer } from './layer-cost.ts';
import { type GiantRotations, LayerRotations } from './layer-rotations.ts';
import { combine, frontier, type Price } from './pareto.ts';

/** Outputs are paired from one of the first layers on; keys for fewer limbs are small. */
const LATEST_PAIRING = 2;
/** What is tried: baby steps, keys for baby rotations, and keys for giant steps in units of the baby step. */
const BABY_STEPS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32];
const BABY_KEYS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24];
const GIANT_KEYS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16];
/** Keys at most of a set in which keys are exchanged. */
const EXCHANGED = 5;

interface HybridContext {
  parameters: Parameters;
  costs: Costs;
  /** Rotations that are needed anyway, and how many of each. */
  fixed: { step: number; limbs: number; count: number }[];
  /** Sets of relinearisation keys to choose from. */
  relinearisations: (Price & { gadgets: Gadget[] })[];
  /** Bytes that switching keys may take. */
  budget: number;
  /** Milliseconds per byte within the budget. */
  priceOfKeys: number;
}

/**
 * One way to do what is done at one number of limbs: its time, and the bytes of all its keys but
 * conjugation's.
 */
interface LevelOption extends Price {
  gadget: Gadget;
  /** Of the level's layer; null where it has none. */
  choice: ScheduleChoice | null;
}

/** Options for the first levels, with the gadgets of relinearisation. */
interface PartialSelection extends Price {
  relinearisation: Gadget[];
  levels: LevelOption[];
}

/**
 * Selects hybrid keys for layers given in order, at different levels: a choice for each layer, the gadgets by
 * level, and time and bytes of all rotations and relinearisations.
 *
 * A layer's rotations take keys of its own level, so levels depend on each other by the budget alone: for
 * every level gadgets, baby steps and sets of keys are tried, and of what is on the frontier of time and
 * bytes one option is taken for each level, exactly those with the least objective. Conjugations take the key
 * of the first layer that has paired outputs. No randomness.
 */
export function selectHybridKeys(
  layers: RotatedLayer[],
  context: HybridContext,
): Price & { choices: ScheduleChoice[]; gadgets: LevelGadgets } {
  const { parameters, budget, priceOfKeys } = context;
  const levels = [...new Set([...layers, ...context.fixed].map(({ limbs }) => limbs))];
  const optionsAt = (limbs: number, paired: boolean) =>
    levelOptions(
      layers.find((layer) => layer.limbs === limbs),
      limbs,
      paired,
      context,
    );
  const paired = levels.map((limbs) => optionsAt(limbs, true));
  const alone = levels.slice(0, LATEST_PAIRING).map((limbs) => optionsAt(limbs, false));
  const selections = levels.slice(0, LATEST_PAIRING + 1).flatMap((_, firstPaired) =>
    levels.reduce(
      (before, _, k) =>
        combine(before, k < firstPaired ? alone[k] : paired[k], (selection, next) => {
          const conjugation = k === firstPaired ? switchingKeySize(parameters, next.gadget) : 0;
          return {
            relinearisation: selection.relinearisation,
            levels: [...selection.levels, next],
            ms: selection.ms + next.ms,
            bytes: selection.bytes + next.bytes + conjugation,
          };
        }),
      context.relinearisations.map(
        ({ gadgets, ms, bytes }): PartialSelection => ({ relinearisation: gadgets, levels: [], ms, bytes }),
      ),
    ),
  );
  const best = leastWithin(selections, budget, ({ ms, bytes }) => ms + priceOfKeys * bytes);
  const choices = new Map(best.levels.map(({ gadget, choice }) => [gadget.limbs, choice]));
  return {
    choices: layers.map(({ limbs }) => choices.get(limbs)!),
    gadgets: { rotation: best.levels.map(({ gadget }) => gadget), relinearisation: best.relinearisation },
    ms: best.ms,
    bytes: best.bytes,
  };
}

/** What has the least objective within the budget; where nothing is within it, what has the fewest bytes. */
function leastWithin<T extends Price>(options: T[], budget: number, objective: (option: T) => number): T {
  const within = options.filter(({ bytes }) => bytes <= budget);
  return within.length === 0
    ? options.reduce((a, b) => (b.bytes < a.bytes ? b : a))
    : within.reduce((a, b) => (objective(b) < objective(a) ? b : a));
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

/**
 * The options for one level worth considering: its layer's, and the rotations that are needed there anyway.
 */
function levelOptions(
  layer: RotatedLayer | undefined,
  limbs: number,
  paired: boolean,
  { parameters, costs, fixed }: HybridContext,
): LevelOption[] {
  const { n } = parameters;
  const needed = fixed.filter((rotation) => rotation.limbs === limbs);
  const neededSteps = needed.map(({ step }) => step);
  const count = needed.reduce((sum, rotation) => sum + rotation.count, 0);
  let rotations: LayerRotations | undefined;
  const options = promisingGadgets(parameters, limbs, costs).flatMap((gadget): LevelOption[] => {
    const size = switchingKeySize(parameters, gadget);
    const neededMs = count * operationMs(costs, 'rotate', limbs, n, gadget);
    if (!layer) return [{ gadget, choice: null, ms: neededMs, bytes: neededSteps.length * size }];
    const cost = new LayerCost(layer, n, costs, gadget);
    rotations ??= new LayerRotations(cost.amounts);
    const candidates = new HybridLayer(cost, rotations).candidates(neededSteps, paired);
    return frontier(
      [...candidates].map(({ ms, ...choice }) => ({
        gadget,
        choice,
        ms: neededMs + ms,
        bytes: choice.keySteps.length * size,
      })),
    );
  });
  return frontier(options);
}

/** A layer's choice with its time. */
type Candidate = ScheduleChoice & { ms: number };

/** A linear layer with hybrid keys of one gadget, and what sets of key steps make of it. */
class HybridLayer {
  readonly #cost: LayerCost;
  readonly #rotations: LayerRotations;

  constructor(cost: LayerCost, rotations: LayerRotations) {
    this.#cost = cost;
    this.#rotations = rotations;
  }

  /**
   * Choices for every baby step, from many keys to few: one key after another is left out, the one that costs
   * least time, and then keys are exchanged for others while that saves time.
   *
   * @param needed key steps that are there anyway
   */
  *candidates(needed: number[], paired: boolean): Generator<Candidate> {
    const { amounts, largestBabyStep, unit } = this.#cost;
    const last = amounts.at(-1)!;
    for (const b of BABY_STEPS.filter((size) => size <= largestBabyStep)) {
      const babyKeys = BABY_KEYS.filter((step) => step < b);
      const giantKeys = [...GIANT_KEYS.map((k) => k * b), ...this.#rotations.gaps(b)].filter(
        (step) => step <= last,
      );
      const pool = [...new Set([...needed, ...[...babyKeys, ...giantKeys].map((step) => step * unit)])];
      const fastest = (sets: number[][]) =>
        sets.map((keys) => this.#candidate(b, paired, keys)).reduce((x, y) => (y.ms < x.ms ? y : x));
      /** The set without one of its keys, with each of `others` in its place. */
      const changes = (keys: number[], others: number[][]) =>
        keys
          .filter((step) => !needed.includes(step))
          .flatMap((step) => others.map((other) => [...keys.filter((key) => key !== step), ...other]));
      let current = this.#candidate(b, paired, pool);
      while (current.ms < Number.POSITIVE_INFINITY) {
        yield current;
        const fewer = changes(current.keySteps, [[]]);
        if (fewer.length === 0) break;
        current = fastest(fewer);
        while (current.keySteps.length <= EXCHANGED) {
          const others = pool.filter((step) => !current.keySteps.includes(step)).map((step) => [step]);
          const next = fastest([current.keySteps, ...changes(current.keySteps, others)]);
          if (next.ms >= current.ms) break;
          current = next;
        }
      }
    }
  }

  /** This baby step (in units) with these key steps (in slots). */
  #candidate(b: number, paired: boolean, keySteps: number[]): Candidate {
    const { unit, outputs } = this.#cost;
    const usable = keySteps
      .filter((step) => step % unit === 0)
      .map((step) => step / unit)
      .sort((x, y) => x - y);
    const babyKeys = usable.filter((step) => step < b);
    const giantKeys = usable.filter((step) => step % b === 0).map((step) => step / b);
    const giants = this.#rotations
      .giantRotations(b, giantKeys)
      .map((rotations) => ({ ms: this.#giantMs(rotations), blockSpan: rotations.blockSpan }))
      .reduce((best, next) => (next.ms < best.ms ? next : best));
    const pairs = paired && outputs > 1;
    const decompositions = this.#rotations.decompositions(b, babyKeys);
    return {
      ms: this.#cost.total(b, pairs, decompositions, this.#rotations.giantAmounts(b).length, giants.ms),
      babyStep: b * unit,
      paired: pairs,
      blockSpan: giants.blockSpan && giants.blockSpan * unit,
      keySteps,
    };
  }

  #giantMs({ rotate, summedRotate, divide }: GiantRotations): number {
    const { ms } = this.#cost;
    return rotate * ms.rotate + summedRotate * ms.summedRotate + divide * ms.divide;
  }
}
