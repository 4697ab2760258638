import type { TopLevelSpec } from 'vega-lite';
import { short } from '../measure/format.ts';
import { CURVE_STYLE, TITLE_STYLE } from './svg.ts';

const POINTS = 1200;
const EXACT = '#9aa5b1';
const APPROXIMATION = '#1f6fb2';
const ERROR = '#c2571a';

/**
 * The function and its approximation, and below on the same axis the difference between its largest values.
 *
 * @param names of the two curves (exact, method), and for the title; the function's may be an expression
 */
export function curveChart(
  curves: Curves,
  names: { exact: string; approximation: string; method: string; subtitle: string },
): TopLevelSpec {
  const { range, exact, approximation, maxError } = curves;
  const values = Array.from({ length: POINTS + 1 }, (_, i) => {
    const x = Math.min(range[1], range[0] + ((range[1] - range[0]) * i) / POINTS);
    return { x, exact: exact(x), approximation: approximation(x), error: approximation(x) - exact(x) };
  });
  const x = (title: string | null) =>
    ({
      field: 'x',
      type: 'quantitative',
      title,
      scale: { domain: [range[0], range[1]] as number[], nice: false },
    }) as const;
  const colour = {
    field: 'curve',
    type: 'nominal',
    scale: {
      domain: [names.exact, names.method] as string[],
      range: [EXACT, APPROXIMATION] as string[],
    },
    legend: {
      title: null,
      orient: 'top-left',
      offset: 8,
      symbolStrokeWidth: 3,
      labelFontSize: 12,
      labelLimit: 300,
    },
  } as const;
  const line = (field: string, curve: string, width: number) => ({
    transform: [{ calculate: JSON.stringify(curve), as: 'curve' }],
    mark: { type: 'line' as const, strokeWidth: width },
    encoding: {
      x: x(null),
      y: { field, type: 'quantitative' as const, title: 'value', scale: { zero: false } },
      color: colour,
    },
  });
  const limits = [{ limit: maxError }, { limit: -maxError }];
  return {
    title: {
      text: `${names.exact} by ${names.approximation}`,
      subtitle: names.subtitle,
      ...TITLE_STYLE,
    },
    padding: 14,
    spacing: 14,
    data: { values },
    vconcat: [
      {
        width: 620,
        height: 300,
        layer: [line('exact', names.exact, 4), line('approximation', names.method, 1.6)],
      },
      {
        width: 620,
        height: 120,
        layer: [
          {
            data: { values: limits },
            mark: { type: 'rule', color: '#9aa5b1', strokeDash: [4, 4] },
            encoding: { y: { field: 'limit', type: 'quantitative' } },
          },
          {
            mark: { type: 'line', strokeWidth: 1.4, color: ERROR },
            encoding: {
              x: x('x'),
              y: {
                field: 'error',
                type: 'quantitative',
                title: 'error',
                axis: { format: '.2~g', tickCount: 4 },
                scale: { domain: [-1.4 * maxError, 1.4 * maxError], nice: false },
              },
            },
          },
          {
            data: { values: [{ x: range[1], limit: maxError, text: `largest ${short(maxError)}` }] },
            mark: {
              type: 'text',
              align: 'right',
              baseline: 'bottom',
              dy: -3,
              dx: -4,
              color: '#52606d',
              fontSize: 11,
            },
            encoding: {
              x: x('x'),
              y: { field: 'limit', type: 'quantitative' },
              text: { field: 'text' },
            },
          },
        ],
      },
    ],
    config: CURVE_STYLE,
  };
}

/** Two functions on a range, and how far they are apart. */
export interface Curves {
  range: readonly [number, number];
  exact: (x: number) => number;
  approximation: (x: number) => number;
  maxError: number;
}
