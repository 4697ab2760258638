import type { Model } from '../model/model.ts';
import type { Interval } from './metrics.ts';
import type { Outcome } from './outcome.ts';

/** How far the values of a set of records went. */
export interface WorstRanges {
  /** The records with the largest |score|, largest first. */
  scores: { id: string; label: string; score: number }[];
  blocks: BlockRange[];
}

interface BlockRange {
  /** Smallest and largest pre-activation. */
  low: number;
  high: number;
  /** The model's validated range. */
  range: Interval;
  /** How much of the validated range was used: distance from its middle, 1 at its ends. */
  share: number;
  /** The record that used most. */
  id: string;
}

/**
 * How far the values of the records went that reached the network, with the `count` records of the largest
 * scores.
 */
export function worstRanges(model: Model, outcomes: Outcome[], count = 3): WorstRanges {
  const scores = outcomes
    .filter((o) => o.scores !== undefined)
    .map(({ id, label, scores }) => ({ id, label, score: largest(scores!) }))
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score) || (a.id < b.id ? -1 : 1))
    .slice(0, count);
  const blocks = model.blocks.map(({ activation: { range } }, block) => {
    const worst: BlockRange = {
      low: Number.POSITIVE_INFINITY,
      high: Number.NEGATIVE_INFINITY,
      range,
      share: 0,
      id: '',
    };
    const middle = (range[0] + range[1]) / 2;
    for (const { id, ranges } of outcomes) {
      if (!ranges) continue;
      const [low, high] = ranges[block];
      worst.low = Math.min(worst.low, low);
      worst.high = Math.max(worst.high, high);
      const share = Math.max(middle - low, high - middle) / (range[1] - middle);
      if (share > worst.share) Object.assign(worst, { share, id });
    }
    return worst;
  });
  return { scores, blocks };
}

/** The score of the largest magnitude, with its sign; what is no number is infinitely large. */
function largest(scores: ArrayLike<number>): number {
  return Array.from(scores, (s) => (Number.isNaN(s) ? Number.POSITIVE_INFINITY : s)).reduce((a, b) =>
    Math.abs(b) > Math.abs(a) ? b : a,
  );
}
