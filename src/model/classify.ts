import { BlindbeatError } from '../errors.ts';

/** exp(s_i) / sum_j exp(s_j), computed without overflow. */
export function softmax(scores: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(scores);
  const largest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = values.map((s) => Math.exp(s - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

/** The class of a segment. */
export interface Classification {
  /**
   * Index of the largest score, its name among the model's classes, and how far it leads the next (in
   * scores).
   */
  index: number;
  name: string;
  margin: number;
  probabilities: Float64Array;
}

/**
 * Names the class of the largest score.
 *
 * @throws BlindbeatError UNCLASSIFIABLE if a score is no finite number or beyond +-model.scoreLimit
 */
export function classify(
  scores: ArrayLike<number>,
  model: { classes: string[]; scoreLimit: number },
): Classification {
  const values = Array.from(scores);
  if (values.length !== model.classes.length) {
    throw new BlindbeatError(
      'MISMATCH',
      `${values.length} scores for the ${model.classes.length} classes ${model.classes.join(', ')}. Were they made by another model?`,
    );
  }
  if (!values.every((s) => Math.abs(s) <= model.scoreLimit)) {
    throw new BlindbeatError(
      'UNCLASSIFIABLE',
      `A score is beyond +-${model.scoreLimit}, the range that the model was validated on: no class can be named. Check the recording.`,
    );
  }
  let index = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[index]) index = i;
  const others = values.filter((_, i) => i !== index);
  return {
    index,
    name: model.classes[index],
    margin: values[index] - Math.max(...others),
    probabilities: softmax(values),
  };
}
