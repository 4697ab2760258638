import type { TopLevelSpec } from 'vega-lite';
import { CURVE_STYLE, TITLE_STYLE } from '../../src/charts/svg.ts';
import { formatMs } from '../../src/measure/format.ts';
import type { FrontierRow } from './rows.ts';

/** The last is where a point's figure stands: loading takes a little less than evaluating. */
const TIMES: [name: string, colour: string, of: (row: FrontierRow) => number, dy: number][] = [
  ['evaluate, warm', '#1f6fb2', (row) => row.evaluateMs, -10],
  ['load keys from a file', '#c2571a', (row) => row.loadKeysMs, 14],
  ['make keys, client', '#7f93a8', (row) => row.makeKeysMs, -10],
];

/** Milliseconds against the megabytes of evaluation keys, a line for each kind of work. */
export function frontierChart(rows: FrontierRow[], title: { text: string; subtitle: string }): TopLevelSpec {
  const points = TIMES.flatMap(([line, , of]) =>
    rows.map((row) => ({ line, megabytes: row.keyBytes / 1e6, ms: of(row), text: formatMs(of(row)) })),
  );
  return {
    title: { ...title, ...TITLE_STYLE },
    padding: 14,
    width: 520,
    height: 320,
    data: { values: points },
    encoding: {
      x: {
        field: 'megabytes',
        type: 'quantitative',
        title: 'evaluation keys, MB',
        scale: { zero: false, padding: 30 },
        axis: { grid: false },
      },
      y: { field: 'ms', type: 'quantitative', title: 'milliseconds', scale: { zero: true } },
      color: {
        field: 'line',
        type: 'nominal',
        title: null,
        scale: { domain: TIMES.map(([name]) => name), range: TIMES.map(([, colour]) => colour) },
        legend: { orient: 'bottom', labelLimit: 300, symbolStrokeWidth: 3 },
      },
    },
    layer: [
      { mark: { type: 'line', point: { size: 45 }, strokeWidth: 2.2 } },
      ...TIMES.map(([name, , , dy]) => ({
        transform: [{ filter: { field: 'line', equal: name } }],
        mark: { type: 'text' as const, dy, fontSize: 10 },
        encoding: { text: { field: 'text' } },
      })),
    ],
    config: CURVE_STYLE,
  };
}
