import { type KnownEcg, knownSegment } from '../ecg/known-ecg.ts';
import { BlindbeatError } from '../errors.ts';
import { forward } from './forward.ts';
import type { Model } from './model.ts';

/** What a model makes of a known ECG, for clients that have only its manifest. */
export interface CheckValue extends KnownEcg {
  /** [classes], in the clear, rounded. */
  scores: number[];
}

/** Each costs a compilation one evaluation in the clear. */
const KNOWN: KnownEcg[] = [
  { rhythm: 'normal', seed: 1 },
  { rhythm: 'af', seed: 2 },
];
/** Far below what encryption leaves of a score, and so few that no rounding error of a machine is seen. */
const DECIMALS = 4;

/** The check values of a model; none of ECGs that its preprocessing refuses, or for which it names no class. */
export function checkValues(model: Model): CheckValue[] {
  return KNOWN.flatMap((known) => {
    const segment = segmentOf(known, model);
    if (!segment) return [];
    const scores = Array.from(forward(model, segment).scores, (s) => Number(s.toFixed(DECIMALS)) + 0);
    return scores.every((s) => Math.abs(s) <= model.scoreLimit) ? [{ ...known, scores }] : [];
  });
}

function segmentOf(known: KnownEcg, { preprocessing }: Model): Float32Array | null {
  try {
    return knownSegment(known, preprocessing);
  } catch (error) {
    if (error instanceof BlindbeatError && error.code === 'ECG') return null;
    throw error;
  }
}
