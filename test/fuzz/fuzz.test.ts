import { expect, test } from 'vitest';
import { watch } from '../../fuzz/watch.ts';

/** Enough for the directed attacks, of evaluation keys for half of them, and some cases at random. */
const COUNTS: [string, number][] = [
  ['requests', 120],
  ['keys', 140],
  ['manifests', 300],
  ['replies', 150],
  ['models', 250],
  ['ecg', 300],
];

test.each(COUNTS)(
  'when %s are attacked in %i ways, then each is refused, or accepted by the rules, and nothing leaks',
  async (name, count) => {
    const { formats, violations, controls } = await watch({ name, seed: 1, from: 0, to: count }, () => {});
    expect(violations).toEqual([]);
    expect(controls).toBeGreaterThan(1);
    const rows = Object.values(formats);
    expect(rows.reduce((sum, { cases }) => sum + cases, 0)).toBe(count);
    for (const { refused } of rows) expect(Object.keys(refused)).not.toEqual([]);
  },
  120_000,
);
