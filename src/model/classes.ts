/** What the classes of the shipped models mean. */
export const MEANINGS: Record<string, string> = {
  N: 'normal rhythm',
  A: 'atrial fibrillation',
  O: 'other rhythm',
  '~': 'too noisy',
};

/** Said wherever a class is shown. */
export const NOT_A_DEVICE = 'blindbeat is not a medical device: no diagnosis, no treatment by its results.';

/** What of a manifest or model the result needs. */
export interface Classes {
  classes: string[];
  scoreLimit: number;
}

/** Values by the name of their class, `values[i]` for the i-th. */
export function byClass(values: ArrayLike<number>, { classes }: Classes): Record<string, number> {
  return Object.fromEntries(classes.map((name, i) => [name, values[i]]));
}
