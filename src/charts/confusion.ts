import type { TopLevelSpec } from 'vega-lite';
import type { Evaluation } from '../evaluation/summary.ts';
import { MEANINGS } from '../model/classes.ts';
import { TITLE_STYLE } from './svg.ts';

const NONE = 'none';
const CELL = 72;

/** What the title of a confusion matrix says beside the figures. */
export interface PictureTitle {
  model: string;
  /** Which records, such as "833 records of the test part". */
  records: string;
}

/**
 * The confusion matrix as a Vega-Lite chart: counts and row shares, coloured by row share; beside it F1 of
 * each class with its 95 % bootstrap interval. Records without a class have a column of their own, if there
 * are any.
 */
export function confusionChart(evaluation: Evaluation, classes: string[], title: PictureTitle): TopLevelSpec {
  const { confusion, unnamed, f1, intervals, cincScore, ci95, accuracy } = evaluation;
  const columns = unnamed.some((n) => n > 0) ? [...classes, NONE] : classes;
  const words = (c: string) => (MEANINGS[c] ? `${c}  ${MEANINGS[c]}` : c);
  const cells = classes.flatMap((label, i) => {
    const counts = [...confusion[i], unnamed[i]];
    const all = counts.reduce((a, b) => a + b, 0);
    return columns.map((named, j) => {
      const share = all > 0 ? counts[j] / all : 0;
      return {
        label: words(label),
        named,
        count: counts[j],
        share,
        percent: `${(100 * share).toFixed(1)} %`,
      };
    });
  });
  const scores = classes.map((c) => {
    const [low, high] = intervals.f1[c];
    const text = `${f1[c].toFixed(3)}  (${low.toFixed(3)} – ${high.toFixed(3)})`;
    return { label: words(c), f1: f1[c], low, high, text };
  });
  const interval = ci95.map((x) => x.toFixed(3)).join(' – ');
  const rows = { field: 'label', type: 'nominal', sort: null, title: null } as const;
  const ink = { condition: { test: 'datum.share > 0.5', value: 'white' }, value: '#1f2933' } as const;
  return {
    title: {
      text: `${title.model}: CinC score ${cincScore.toFixed(3)}, 95 % ${interval}`,
      subtitle:
        `${title.records}; accuracy ${accuracy.toFixed(3)}; intervals by bootstrap. ` +
        'Not a medical device.',
      ...TITLE_STYLE,
      offset: 16,
    },
    padding: 14,
    spacing: 28,
    hconcat: [
      {
        width: CELL * columns.length,
        height: CELL * classes.length,
        data: { values: cells },
        encoding: {
          x: {
            field: 'named',
            type: 'nominal',
            sort: null,
            title: 'named',
            axis: { orient: 'top', labelAngle: 0, labelFontSize: 12, domain: false, ticks: false },
          },
          y: {
            ...rows,
            title: 'labelled',
            axis: { labelFontSize: 12, labelLimit: 0, titleX: -160, domain: false, ticks: false },
          },
        },
        layer: [
          {
            mark: { type: 'rect', stroke: 'white', strokeWidth: 2 },
            encoding: {
              color: {
                field: 'share',
                type: 'quantitative',
                scale: { domain: [0, 1], range: ['#eef3f8', '#08427e'] },
                legend: null,
              },
            },
          },
          {
            mark: { type: 'text', fontSize: 17, fontWeight: 600, dy: -6 },
            encoding: { text: { field: 'count', type: 'quantitative' }, color: ink },
          },
          {
            mark: { type: 'text', fontSize: 11, dy: 13 },
            encoding: { text: { field: 'percent', type: 'nominal' }, color: ink },
          },
        ],
      },
      {
        width: 240,
        height: CELL * classes.length,
        data: { values: scores },
        encoding: {
          y: { ...rows, axis: null },
          x: {
            type: 'quantitative',
            scale: { domain: [0, 1] },
            axis: {
              orient: 'top',
              title: 'F1 and its 95 % interval',
              values: [0, 0.2, 0.4, 0.6, 0.8, 1],
              format: '.1f',
              grid: true,
            },
          },
        },
        layer: [
          {
            mark: { type: 'rule', strokeWidth: 3, color: '#08427e', opacity: 0.45 },
            encoding: { x: { field: 'low' }, x2: { field: 'high' } },
          },
          {
            mark: { type: 'point', filled: true, size: 90, color: '#08427e', opacity: 1 },
            encoding: { x: { field: 'f1' } },
          },
          {
            mark: { type: 'text', dy: 22, fontSize: 11, align: 'right', color: '#1f2933' },
            encoding: { x: { datum: 1 }, text: { field: 'text', type: 'nominal' } },
          },
        ],
      },
    ],
    config: {
      view: { stroke: null },
      font: 'Helvetica, Arial, sans-serif',
      axis: { titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e3e8ee', domainColor: '#c4ccd4' },
    },
  };
}
