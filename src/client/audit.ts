import type { ParsedManifest } from '../ckks/wire/manifest.ts';
import type { Decrypted } from '../ckks/wire/reply.ts';
import { knownSegment } from '../ecg/known-ecg.ts';
import { BlindbeatError } from '../errors.ts';

/** By how much a score may differ: a hundred times what encryption changes in one of the shipped model. */
const TOLERANCE = 0.05;

/** A known ECG that goes along with others. */
export interface KnownRecording {
  segment: Float32Array;
  /** Its scores by the manifest. */
  scores: readonly number[];
  /** Whether it goes first. */
  first: boolean;
}

/** Draws ECGs whose scores the manifest tells, to be classified among others by a service that cannot tell them apart. */
export class Audit {
  readonly #manifest: ParsedManifest;
  readonly #share: number;

  /**
   * @param share of all classifications that a known ECG goes along with, 0 to 1
   * @throws BlindbeatError USAGE for another share, or a manifest without check values
   */
  constructor(manifest: ParsedManifest, share: number) {
    if (!(share >= 0 && share <= 1))
      throw new BlindbeatError(
        'USAGE',
        `expected a share of audited classifications from 0 to 1, got ${share}`,
      );
    if (share > 0 && !manifest.checks?.length)
      throw new BlindbeatError('USAGE', 'this model cannot be audited: its manifest has no check values');
    this.#manifest = manifest;
    this.#share = share;
  }

  /** A known ECG for this time, or null, by the system's randomness. */
  draw(): KnownRecording | null {
    const [chance, which, order] = crypto.getRandomValues(new Uint32Array(3));
    const { checks = [], preprocessing } = this.#manifest;
    if (chance / 2 ** 32 >= this.#share) return null;
    const check = checks[which % checks.length];
    return { segment: knownSegment(check, preprocessing), scores: check.scores, first: order % 2 === 0 };
  }

  /**
   * @param answer what the service made of a known ECG
   * @param url names the service
   * @throws BlindbeatError WRONG_ANSWER
   */
  requireRight({ scores }: KnownRecording, answer: Decrypted, url: string): void {
    if (scores.every((score, c) => Math.abs(answer.scores[c] - score) <= TOLERANCE)) return;
    throw wrongAnswer(url);
  }
}

/** A service that did not compute what its manifest says. */
export function wrongAnswer(url: string, cause?: unknown): BlindbeatError {
  return new BlindbeatError(
    'WRONG_ANSWER',
    `${url} answered wrong: to a recording whose scores its manifest tells, it gave others. Believe none of its ` +
      'answers, and tell whoever runs it',
    { cause },
  );
}
