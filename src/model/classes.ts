/** What the classes of the shipped models mean. */
export const MEANINGS: Record<string, string> = {
  N: 'normal rhythm',
  A: 'atrial fibrillation',
  O: 'other rhythm',
  '~': 'too noisy',
};

export const NOT_A_DEVICE = 'blindbeat is not a medical device: no diagnosis, no treatment by its results.';

/** What of a manifest or model the result needs. */
export interface Classes {
  classes: string[];
  scoreLimit: number;
}

export function byClass(values: ArrayLike<number>, { classes }: Classes): Record<string, number> {
  return Object.fromEntries(classes.map((name, i) => [name, values[i]]));
}
