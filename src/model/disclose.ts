import { classify, softmax } from './classify.ts';

/**
 * How an answer is disclosed to others: the deviation of the noise on its scores, the step of the probability,
 * and how many answers of one key at most. docs/attacks.md computes them.
 */
export const DISCLOSURE = { noise: 0.1, step: 0.1, answers: 200 };

/** All of an answer that may be told to others. */
export interface Disclosure {
  class: string;
  /** Of the class, in steps. */
  probability: number;
}

/**
 * The class and its rounded probability after normal noise on every score, from the system's randomness, never
 * seeded. A class that leads by less than a few deviations of the noise may change.
 *
 * @throws BlindbeatError UNCLASSIFIABLE if a score is no finite number or beyond +-model.scoreLimit
 */
export function disclose(
  scores: ArrayLike<number>,
  model: { classes: string[]; scoreLimit: number },
): Disclosure {
  classify(scores, model);
  const noisy = Array.from(scores, (s) => s + DISCLOSURE.noise * systemNormal());
  const probabilities = softmax(noisy);
  const index = probabilities.indexOf(Math.max(...probabilities));
  const steps = Math.round(1 / DISCLOSURE.step);
  return { class: model.classes[index], probability: Math.round(probabilities[index] * steps) / steps };
}

/** A standard normal number, by Box and Muller. */
function systemNormal(): number {
  const [a, b, c, d] = crypto.getRandomValues(new Uint32Array(4));
  const uniform = (high: number, low: number) => ((high >>> 5) * 2 ** 26 + (low >>> 6) + 0.5) / 2 ** 53;
  return Math.sqrt(-2 * Math.log(uniform(a, b))) * Math.cos(2 * Math.PI * uniform(c, d));
}
