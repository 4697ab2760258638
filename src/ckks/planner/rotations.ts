import { BlindbeatError } from '../../errors.ts';
import type { ScheduleChoice } from '../circuit/bsgs.ts';
import {
  type Gadget,
  gadgets,
  type KeySwitching,
  type LevelGadgets,
  perPrimeGadget,
  restrict,
} from '../keyswitch/gadget.ts';
import { publicKeySize, switchingKeySize } from '../keyswitch/key-size.ts';
import type { Parameters } from '../ring/parameters.ts';
import { type Costs, operationMs } from './cost.ts';
import { selectHybridKeys } from './keys-hybrid.ts';
import { selectPerPrimeKeys } from './keys-per-prime.ts';
import type { RotatedLayer } from './layer-cost.ts';
import type { LinearLayer } from './linear-layers.ts';
import { frontier, type Price } from './pareto.ts';

/**
 * Milliseconds per byte: one for a megabyte. A key that saves less than it would take to send is not worth
 * having.
 */
const PRICE_OF_KEYS = 1e-6;

/** Bytes of evaluation keys unless a user says otherwise, up to N = 16384; per-prime keys are larger. */
const KEY_BUDGET: Readonly<Record<KeySwitching, number>> = { hybrid: 48e6, 'per-prime': 64e6 };
/** The same for larger rings. */
const LARGE_KEY_BUDGET = 500e6;
/** What the header of their file takes at most. */
const HEADER_ROOM = 1024;

/** What rotation keys are selected for. */
export interface SelectionContext {
  parameters: Parameters;
  costs: Costs;
  /** Bytes that switching keys may take. */
  budget: number;
  /** Rotations that are needed anyway, and how many of each. */
  fixed: { step: number; limbs: number; count: number }[];
  /** Relinearisations: how many at how many limbs. */
  relinearised: { limbs: number; count: number }[];
}

/**
 * What was selected, with the milliseconds of all rotations, products and relinearisations and the bytes of
 * all keys.
 */
export interface RotationKeySelection extends Price {
  /** One for each layer. */
  choices: ScheduleChoice[];
  /** Of hybrid keys, by level. */
  gadgets: LevelGadgets;
}

/**
 * The rotation-key selection for a network's linear layers under a budget for all evaluation keys.
 *
 * @param sumSteps rotations that are needed anyway, at the dense layer's level
 * @throws BlindbeatError PLAN when a user's budget is too small, naming the smallest that was found
 */
export function selectWithinBudget(
  layers: LinearLayer[],
  sumSteps: number[],
  { parameters, costs, keyBudget, keySwitching }: BudgetOptions,
): RotationKeySelection {
  const usual = parameters.n <= 16384 ? KEY_BUDGET[keySwitching] : LARGE_KEY_BUDGET;
  const otherBytes = publicKeySize(parameters) + HEADER_ROOM;
  const budget = (keyBudget ?? usual) - otherBytes;
  const context = selectionContext(layers, sumSteps, { parameters, costs, budget });
  const selection = selectRotationKeys(layers, context, keySwitching);
  if (keyBudget !== undefined && selection.bytes + otherBytes > keyBudget) {
    const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
    throw new BlindbeatError(
      'PLAN',
      `no choice of rotation keys was found within ${megabytes(keyBudget)}: the smallest takes ` +
        `${megabytes(selection.bytes + otherBytes)}; allow that (--key-budget), or use fewer blocks`,
    );
  }
  return selection;
}

interface BudgetOptions extends Pick<SelectionContext, 'parameters' | 'costs'> {
  /** Bytes of all evaluation keys at most; undefined: the default, or more where no fewer are enough. */
  keyBudget: number | undefined;
  keySwitching: KeySwitching;
}

/** What the network asks of its keys beside the layers' own rotations. */
function selectionContext(
  layers: LinearLayer[],
  sumSteps: number[],
  rest: Pick<SelectionContext, 'parameters' | 'costs' | 'budget'>,
): SelectionContext {
  const { limbs } = layers.at(-1)!;
  return {
    ...rest,
    fixed: [
      ...layers.flatMap((layer) =>
        layer.pooling.map((step) => ({ step, limbs: layer.limbs, count: layer.map.inputs })),
      ),
      ...sumSteps.map((step) => ({ step, limbs, count: 1 })),
    ],
    // At every level of an activation: once, on average.
    relinearised: layers.slice(0, -1).flatMap((layer, k) =>
      Array.from({ length: layer.limbs - layers[k + 1].limbs - 1 }, (_, level) => ({
        limbs: layer.limbs - 1 - level,
        count: layer.map.outputs,
      })),
    ),
  };
}

/**
 * The joint selection of all layers' baby steps and of the rotation keys that they share (what EVA calls the
 * rotation keys selector).
 *
 * Objective: least t + B x PRICE_OF_KEYS, where t is the estimated time of one evaluation and B the bytes of
 * evaluation keys on the wire, with B at most the budget; where no selection fits the budget, the least B.
 * The same layers, costs and budget give the same selection.
 *
 * @param layers in order: limbs never grow, and with hybrid keys each has a level of its own
 */
export function selectRotationKeys(
  layers: RotatedLayer[],
  context: SelectionContext,
  keySwitching: KeySwitching,
): RotationKeySelection {
  const priceOfKeys = PRICE_OF_KEYS;
  if (keySwitching === 'hybrid') {
    return selectHybridKeys(layers, {
      ...context,
      priceOfKeys,
      relinearisations: relinearisationOptions(context),
    });
  }
  const { parameters, costs, fixed, relinearised } = context;
  const { n } = parameters;
  const keySize = (limbs: number) => switchingKeySize(parameters, perPrimeGadget(parameters, limbs));
  const relinearisationKey = keySize(Math.max(0, ...relinearised.map(({ limbs }) => limbs)));
  const budget = context.budget - relinearisationKey;
  const selected = selectPerPrimeKeys(layers, { n, costs, keySize, budget, priceOfKeys, fixed });
  const ms = (operation: 'rotate' | 'relinearise', all: { limbs: number; count: number }[]) =>
    all.reduce((sum, { limbs, count }) => sum + count * operationMs(costs, operation, limbs, n), 0);
  return {
    choices: selected.choices,
    gadgets: { rotation: [], relinearisation: [] },
    ms: selected.ms + ms('rotate', fixed) + ms('relinearise', relinearised),
    bytes: selected.bytes + relinearisationKey,
  };
}

/**
 * Sets of hybrid relinearisation keys worth considering: those of some levels, each serving the levels below
 * it down to the next.
 */
function relinearisationOptions({
  parameters,
  costs,
  relinearised,
}: SelectionContext): (Price & { gadgets: Gadget[] })[] {
  const levels = relinearised.toSorted((a, b) => b.limbs - a.limbs);
  /** From each level on. */
  const from: (Price & { gadgets: Gadget[] })[][] = [
    ...levels.map(() => []),
    [{ gadgets: [], ms: 0, bytes: 0 }],
  ];
  for (let k = levels.length - 1; k >= 0; k--) {
    from[k] = frontier(
      gadgets(parameters, levels[k].limbs).flatMap((gadget) => {
        const size = switchingKeySize(parameters, gadget);
        let ms = 0;
        return levels.slice(k).flatMap(({ limbs, count }, served) => {
          ms += count * operationMs(costs, 'relinearise', limbs, parameters.n, restrict(gadget, limbs));
          const servedMs = ms;
          return from[k + served + 1].map((rest) => ({
            gadgets: [gadget, ...rest.gadgets],
            ms: servedMs + rest.ms,
            bytes: size + rest.bytes,
          }));
        });
      }),
    );
  }
  return from[0];
}
