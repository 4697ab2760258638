import { type Preprocessing, prepareSegment } from './preprocess.ts';
import type { Rhythm } from './rhythm.ts';
import { synthesise } from './synth.ts';

/** A synthetic ECG that everybody can make again. */
export interface KnownEcg {
  rhythm: Rhythm;
  seed: number;
}

const RATE = 300;
/** A shorter one is not made. */
const LEAST_SECONDS = 1;

/**
 * The prepared segment of a known ECG.
 *
 * @throws BlindbeatError ECG where the preprocessing refuses it: one for segments of less than a few beats
 */
export function knownSegment({ rhythm, seed }: KnownEcg, preprocessing: Preprocessing): Float32Array {
  const seconds = Math.max(LEAST_SECONDS, preprocessing.seconds);
  const { leads, rate } = synthesise({ rhythm, seed, seconds, rate: RATE });
  return prepareSegment(leads[0].mv, rate, preprocessing).samples;
}
