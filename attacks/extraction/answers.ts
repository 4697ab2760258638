import { round } from '../../src/measure/format.ts';
import { softmax } from '../../src/model/classify.ts';
import { argmaxRows } from '../../training/metrics.ts';

/** What an attacker sees of an answer, from most to least; `labels` is no answer, but what experts say. */
export const ANSWERS = ['scores-3', 'scores-2', 'probabilities', 'class', 'labels'] as const;
/** One of `ANSWERS`. */
export type AnswerKind = (typeof ANSWERS)[number];

/** Words for tables and pictures. */
export const ANSWER_NAMES: Record<AnswerKind, string> = {
  'scores-3': 'scores, 3 decimals',
  'scores-2': 'scores, 2 decimals',
  probabilities: 'probabilities in steps of 0.1',
  class: 'class only',
  labels: 'no answers, the labels',
};

/** Step of the probabilities. */
const STEP = 0.1;
/** Stands for a probability that was rounded to 0: a fifth of a step. */
const LEAST = STEP / 5;

/** What a student learns from. */
export interface Targets {
  /** [count]: the class of each answer. */
  classes: Uint8Array;
  /** [count * classes], as far as they are told: their softmax is what the answer says. */
  scores?: Float32Array;
}

/**
 * What answers of one kind tell.
 *
 * @param scores [count * classes] of the network that is asked
 * @param labels [count]
 */
export function targetsOf(
  kind: AnswerKind,
  scores: Float32Array,
  labels: Uint8Array,
  classes: number,
): Targets {
  if (kind === 'labels') return { classes: labels };
  if (kind === 'class') return { classes: argmaxRows(scores, classes) };
  if (kind === 'probabilities') {
    const told = new Float32Array(scores.length);
    for (let i = 0; i < scores.length; i += classes)
      softmax(scores.subarray(i, i + classes)).forEach((p, c) => {
        told[i + c] = Math.log(Math.max(STEP * Math.round(p / STEP), LEAST));
      });
    return { classes: argmaxRows(told, classes), scores: told };
  }
  const told = scores.map((s) => round(s, kind === 'scores-3' ? 3 : 2));
  return { classes: argmaxRows(told, classes), scores: told };
}
