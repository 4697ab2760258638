import { formatBytes, formatMs } from '../../src/measure/format.ts';
import type { Row } from '../baseline/compare.ts';

/** For console.table, which makes the key of a row its first column. */
export function comparisonTable(rows: Row[]) {
  return Object.fromEntries(
    rows.map(({ what, unit, before, now, ratio }) => {
      const format = unit === 'ms' ? formatMs : formatBytes;
      return [what, { before: format(before), now: format(now), ratio: ratio.toFixed(2) }];
    }),
  );
}
