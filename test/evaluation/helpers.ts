import { UNNAMED } from '../../src/evaluation/metrics.ts';
import type { Outcome } from '../../src/evaluation/outcome.ts';

export const CLASSES = ['N', 'A', 'O', '~'];

/** A record of class `label` that was named `named`, or got no class. */
export function outcome(id: string, label: string, named: string | null, scores?: number[]): Outcome {
  return { id, label, named: named === null ? UNNAMED : CLASSES.indexOf(named), scores };
}
