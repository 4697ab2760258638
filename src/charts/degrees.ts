import type { TopLevelSpec } from 'vega-lite';
import type { Interval } from '../evaluation/metrics.ts';
import { CURVE_STYLE, TITLE_STYLE } from './svg.ts';

const COLOURS = ['#b8c4d0', '#7f93a8', '#4b5f73', '#1f6fb2', '#c2571a', '#3a8f5c'];
const BASELINE = '#52606d';

/** A CinC score and its 95 % interval. */
interface Score {
  cincScore: number;
  ci95: Interval;
}

/** A network whose activations are polynomials of one degree, and what was measured of it. */
export interface DegreePoint {
  /** How it was trained, and how its polynomials were chosen. */
  mode: string;
  method: string;
  degree: number;
  clear?: Score;
  /** Median milliseconds of the server's work on one record. */
  encrypted?: { medianMs: number };
}

/**
 * CinC score with its 95 % interval against the polynomials' degree, a line for each mode and method, and the
 * ReLU network's score; below, if records were encrypted, the server's median time.
 *
 * @param baseline the ReLU network's score
 * @param records how many the scores are of
 */
export function degreesChart(rows: DegreePoint[], baseline: Score, records: number): TopLevelSpec {
  const points = rows.flatMap((row) => {
    if (!row.clear) return [];
    const { cincScore, ci95 } = row.clear;
    return [{ degree: row.degree, line: lineOf(row, rows), score: cincScore, low: ci95[0], high: ci95[1] }];
  });
  const times = rows.flatMap((row) =>
    row.encrypted
      ? [{ degree: row.degree, line: lineOf(row, rows), seconds: row.encrypted.medianMs / 1000 }]
      : [],
  );
  const lines = [...new Set(points.map((p) => p.line))];
  const degrees = [...new Set(rows.map((r) => r.degree))].sort((a, b) => a - b);
  const x = (title: string | null) =>
    ({
      field: 'degree',
      type: 'quantitative',
      title,
      scale: { domain: [degrees[0] - 0.5, degrees[degrees.length - 1] + 0.5] as number[], nice: false },
      axis: { values: degrees, format: 'd', grid: false },
    }) as const;
  const color = {
    field: 'line',
    type: 'nominal',
    title: null,
    scale: { domain: lines, range: COLOURS.slice(-lines.length) },
    legend: { orient: 'right', labelFontSize: 12, symbolStrokeWidth: 3, symbolOpacity: 1, labelLimit: 300 },
  } as const;
  const reference = { score: baseline.cincScore, low: baseline.ci95[0], high: baseline.ci95[1] };
  const first = degrees[0] - 0.5;
  const y = { type: 'quantitative', scale: { domain: [0, 0.9] as number[], nice: false } } as const;
  return {
    title: {
      text: 'CinC score against the degree of the polynomials in place of ReLU',
      subtitle:
        `${records} records of the test part, in the clear; bars: 95 % by bootstrap. ` +
        'Not a medical device.',
      ...TITLE_STYLE,
    },
    padding: 14,
    spacing: 18,
    vconcat: [
      {
        width: 620,
        height: 380,
        layer: [
          {
            data: { values: [reference] },
            mark: { type: 'rect', color: BASELINE, opacity: 0.08 },
            encoding: { y: { field: 'low', ...y }, y2: { field: 'high' } },
          },
          {
            data: { values: [reference] },
            mark: { type: 'rule', color: BASELINE, strokeDash: [5, 4], strokeWidth: 1.5 },
            encoding: { y: { field: 'score', ...y } },
          },
          {
            data: {
              values: [{ ...reference, degree: first, text: `ReLU ${baseline.cincScore.toFixed(3)}` }],
            },
            mark: { type: 'text', align: 'left', baseline: 'bottom', dx: 4, dy: -3, color: BASELINE },
            encoding: { x: x('degree'), y: { field: 'score', ...y }, text: { field: 'text' } },
          },
          {
            data: { values: points },
            mark: { type: 'rule', opacity: 0.45 },
            encoding: { x: x('degree'), y: { field: 'low', ...y }, y2: { field: 'high' }, color },
          },
          {
            data: { values: points },
            mark: { type: 'line', point: { size: 45 }, strokeWidth: 2.2 },
            encoding: { x: x('degree'), y: { field: 'score', ...y, title: 'CinC score' }, color },
          },
        ],
      },
      ...(times.length > 0 ? [timesPanel(times, x, color)] : []),
    ],
    config: CURVE_STYLE,
  };
}

/** Name of a network's line: the mode, and of a mode that was tried by several methods also the method. */
function lineOf({ mode, method }: DegreePoint, rows: DegreePoint[]): string {
  const methods = new Set(rows.filter((r) => r.mode === mode).map((r) => r.method));
  return methods.size > 1 ? `${mode}, ${method}` : mode;
}

function timesPanel<X, C>(times: object[], x: (title: string) => X, color: C) {
  const y = {
    field: 'seconds',
    type: 'quantitative',
    title: 'server, s per ECG',
    scale: { zero: true },
  } as const;
  return {
    width: 620,
    height: 150,
    data: { values: times },
    layer: [
      {
        mark: { type: 'line' as const, point: { size: 45 }, strokeWidth: 2.2 },
        encoding: { x: x('degree'), y, color },
      },
    ],
  };
}
