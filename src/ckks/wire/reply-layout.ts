import * as v from 'valibot';
import { powerOfTwo, record, wholeNumber } from '../../schema.ts';
import type { Parameters } from '../ring/parameters.ts';

/**
 * The scale that scores are decrypted at. A smaller one would show more of the noise in a score that is rounded
 * to a few digits, and the noise tells about the secret key.
 */
export const SCORE_SCALE = 2 ** 20;
/** Classes at most; the shipped models have 4. A reply shows two coefficients more for each. */
export const MOST_CLASSES = 16;
/** Characters of a class's name. */
export const MOST_CLASS_CHARACTERS = 32;
/** So much room there is under the first prime for a score of the limit; its rounding is forgiven. */
const SCORE_ROOM = 15.9;
/** Windows of the evidence map, as in DeepCardio's 25 windows per classification. */
const MAP_WINDOWS = 25;
/** More slots than any ring degree has. */
const MOST_SLOTS = 2 ** 14;

const MapLayoutSchema = record({
  /** Number of windows, positions (of the last layer) per window, and from one window to the next. */
  windows: wholeNumber(1, MAP_WINDOWS),
  width: powerOfTwo(1, MOST_SLOTS),
  hop: wholeNumber(1, MOST_SLOTS),
  positions: powerOfTwo(1, MOST_SLOTS),
  /** Slots per position. */
  interleave: powerOfTwo(1, MOST_SLOTS),
});

/** The schema of `ReplyLayout`. */
export const ReplyLayoutSchema = record({
  /** Scale of the decrypted values. */
  scale: v.literal(SCORE_SCALE, String(SCORE_SCALE)),
  /** Slots per copy of the scores; slot j holds class (j + offset) mod group. */
  group: powerOfTwo(2, MOST_CLASSES),
  offset: wholeNumber(0, MOST_SLOTS - 1),
  /** Windows of the map; absent for outputs 'scores'. */
  map: v.optional(MapLayoutSchema),
});

/** Where the client finds the results in the reply's slots. */
export type ReplyLayout = v.InferOutput<typeof ReplyLayoutSchema>;

/** Slots that one copy of the scores takes: the classes rounded up to a power of two. */
export function groupSize(classes: number): number {
  return 2 ** Math.ceil(Math.log2(classes));
}

/** |score| that the first prime has room for at the scores' scale. */
export function scoreBoundOf(primes: number[]): number {
  return primes[0] / (2 * SCORE_SCALE);
}

/**
 * The largest limit of |score| that a plan of this bound may have: a wrapped, and so arbitrary, score passes it
 * with probability 1/16.
 */
export function mostScoreLimit(scoreBound: number): number {
  return scoreBound / SCORE_ROOM;
}

/**
 * Evenly spaced windows that cover all time positions; their width is a power of two, so that log2(width)
 * rotations sum them.
 */
export function windowsOf(positions: number): { windows: number; width: number; hop: number } {
  const windows = Math.min(MAP_WINDOWS, positions);
  const hop = Math.floor(positions / windows);
  return { windows, hop, width: 2 ** Math.ceil(Math.log2(positions - hop * (windows - 1))) };
}

/** All in a layout of sound structure that does not follow from the plan's other fields. */
export function replyProblems(
  { group, offset, map }: ReplyLayout,
  plan: { parameters: Parameters; classes: number; outputs: 'scores' | 'scores+map' },
): string[] {
  const slots = plan.parameters.n / 2;
  const right = groupSize(plan.classes);
  const problems: string[] = [];
  if (group !== right)
    problems.push(`reply.group: expected ${right} for ${plan.classes} classes, got ${group}`);
  if (offset >= slots) problems.push(`reply.offset: ${offset} is not below ${slots}, the number of slots`);
  if ((plan.outputs === 'scores+map') !== (map !== undefined))
    problems.push(`reply.map: outputs "${plan.outputs}" ${map ? 'have no' : 'need a'} map`);
  if (!map) return problems;
  const { interleave, positions, ...windows } = map;
  if (interleave < right || positions * interleave !== slots) {
    problems.push(
      `reply.map: ${positions} positions of ${interleave} slots do not fill ${slots} with groups of ${right}`,
    );
  }
  const expected = windowsOf(positions);
  for (const name of ['windows', 'width', 'hop'] as const)
    if (windows[name] !== expected[name])
      problems.push(
        `reply.map.${name}: expected ${expected[name]} for ${positions} positions, got ${windows[name]}`,
      );
  return problems;
}
