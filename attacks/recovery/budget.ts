import { MAX_LOG_QP, type Parameters } from '../../src/ckks/ring/parameters.ts';

/**
 * Bits of a key that one disclosed answer can tell at most, whatever the server sent: the outcomes are a
 * class with each probability that a largest one can have, and a refusal.
 */
export function bitsPerAnswer(classes: number, step: number): number {
  const steps = Math.round(1 / step);
  const least = Math.round(steps / classes);
  return Math.log2(classes * (steps - least + 1) + 1);
}

/**
 * Ternary coefficients of the key that may be known before log2(Q P) is above the 128-bit bound of a ring of
 * as many unknowns as are left; the bound is interpolated linearly between the ring degrees of its table.
 */
export function spareCoefficients({ n, logQP }: Pick<Parameters, 'n' | 'logQP'>): number {
  const below = n > 4096 ? MAX_LOG_QP[n / 2] : 0;
  const slope = (MAX_LOG_QP[n] - below) / (n > 4096 ? n / 2 : n);
  return Math.floor((MAX_LOG_QP[n] - logQP) / slope);
}

/** Answers that can tell no more than the spare coefficients of a key. */
export function answersWithin(parameters: Pick<Parameters, 'n' | 'logQP'>, bits: number): number {
  return Math.floor((spareCoefficients(parameters) * Math.log2(3)) / bits);
}

/**
 * Bits by which finding the key gets easier at most when a server that computes honestly sees answers with
 * normal noise, of `security` bits before: with K = answers * classes * error^2 / (2 noise^2), the Renyi
 * divergence of order a is at most a K, so that an attack that succeeds with probability p against noisy
 * answers succeeds with p^(a / (a - 1)) / exp(a K) against answers that do not depend on the key; at the best
 * a, 2 sqrt(L K) - K of L = security ln 2 are lost (Bai et al., eprint 2015/483, section 2.3).
 *
 * @param error of every decrypted score at most
 */
export function bitsLost(
  answers: number,
  {
    classes,
    error,
    noise,
    security = 128,
  }: {
    classes: number;
    error: number;
    noise: number;
    security?: number;
  },
): number {
  const k = (answers * classes * error ** 2) / (2 * noise ** 2);
  const l = security * Math.LN2;
  return k < l ? (2 * Math.sqrt(l * k) - k) / Math.LN2 : security;
}
