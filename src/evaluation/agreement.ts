import { UNNAMED } from './metrics.ts';
import type { Outcome } from './outcome.ts';

/** Encrypted against clear results of the same records. */
export interface Agreement {
  /** Records of both that reached the network. */
  compared: number;
  sameClass: number;
  /** sameClass / compared */
  agreement: number;
  /** Largest and rms difference of a score, over all scores of all records that have them on both sides. */
  maxError: number;
  rmsError: number;
  /** -log2(rmsError): bits after the binary point of a score that are right. */
  precisionBits: number;
  /** Records of unequal classes, with the clear margin: largest minus second largest score. */
  different: { id: string; clear: string | null; encrypted: string | null; margin: number }[];
  /** The smallest clear margin of all compared records. */
  smallestMargin: number;
}

/** Compares encrypted with clear outcomes; both lists are of the same records in the same order. */
export function compareOutcomes(clear: Outcome[], encrypted: Outcome[], classes: string[]): Agreement {
  const pairs = clear
    .map((c, i) => ({ id: c.id, c, e: encrypted[i] }))
    .filter(({ c }) => c.scores !== undefined);
  const errors = pairs
    .filter(({ e }) => e.scores !== undefined)
    .flatMap(({ c, e }) => Array.from(c.scores!, (s, k) => Math.abs(s - e.scores![k])));
  const margins = pairs.map(({ c }) => marginOf(c.scores!));
  const name = ({ named }: Outcome) => (named === UNNAMED ? null : classes[named]);
  const different = pairs.flatMap(({ id, c, e }, i) =>
    c.named === e.named ? [] : [{ id, clear: name(c), encrypted: name(e), margin: margins[i] }],
  );
  const sameClass = pairs.length - different.length;
  const rmsError = Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
  return {
    compared: pairs.length,
    sameClass,
    agreement: sameClass / pairs.length,
    maxError: errors.reduce((most, e) => Math.max(most, e), 0),
    rmsError,
    precisionBits: -Math.log2(rmsError),
    different,
    smallestMargin: margins.reduce((least, m) => Math.min(least, m), Number.POSITIVE_INFINITY),
  };
}

/** The largest |a[i] - b[i]|, such as the error of decrypted scores. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
}

function marginOf(scores: ArrayLike<number>): number {
  const [first, second] = Array.from(scores).sort((a, b) => b - a);
  return first - second;
}
