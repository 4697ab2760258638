import type { TopLevelSpec } from 'vega-lite';
import { CURVE_STYLE, TITLE_STYLE } from '../../src/charts/svg.ts';
import { ANSWER_NAMES, ANSWERS } from './answers.ts';
import type { Result } from './judge.ts';

const STUDENTS = { network: 'a network of the same kind', ridge: 'ridge regression' };
const COLOURS = ['#1f6fb2', '#7fb3dd', '#3a8f5c', '#c2571a', '#7f8a96'];

/**
 * Agreement with the network that was asked against the number of questions, a line for each kind of answer,
 * and what asks nothing as dashed lines.
 */
export function extractionChart(
  results: Result[],
  references: { name: string; agreement: number }[],
  records: number,
  model: string,
): TopLevelSpec {
  const agreement = {
    field: 'agreement',
    type: 'quantitative',
    title: 'agreement',
    scale: { domain: [0.6, 1] as number[], nice: false },
    axis: { format: '.0%' },
  } as const;
  const points = results.map(({ student, answers, ...point }) => ({
    ...point,
    student: STUDENTS[student],
    answers: ANSWER_NAMES[answers],
  }));
  const lines = Object.values(STUDENTS).flatMap((student) => references.map((r) => ({ ...r, student })));
  return {
    title: {
      text: `How much of ${model} a client copies by asking`,
      subtitle: `share of ${records} test records that the copy names as the network does; not a medical device`,
      ...TITLE_STYLE,
    },
    padding: 14,
    data: { values: [...points, ...lines] },
    facet: { column: { field: 'student', type: 'nominal', title: null, header: { labelFontSize: 12 } } },
    spec: {
      width: 320,
      height: 300,
      layer: [
        {
          transform: [{ filter: 'isValid(datum.name)' }],
          mark: { type: 'rule', strokeDash: [5, 4], color: '#7f8a96' },
          encoding: { y: agreement },
        },
        {
          transform: [{ filter: 'isValid(datum.name)' }],
          mark: {
            type: 'text',
            align: 'left',
            baseline: 'bottom',
            dx: 4,
            dy: -2,
            fontSize: 10,
            color: '#52606d',
          },
          encoding: { y: agreement, text: { field: 'name' }, x: { value: 0 } },
        },
        {
          transform: [{ filter: 'isValid(datum.queries)' }],
          mark: { type: 'line', point: { size: 45 }, strokeWidth: 2 },
          encoding: {
            x: {
              field: 'queries',
              type: 'quantitative',
              title: 'questions',
              scale: { type: 'log', domain: [70, 14_000], nice: false },
              axis: { values: [100, 1000, 10_000], format: ',d', grid: false },
            },
            y: agreement,
            color: {
              field: 'answers',
              type: 'nominal',
              title: 'what is learnt from',
              scale: { domain: ANSWERS.map((kind) => ANSWER_NAMES[kind]), range: COLOURS },
              legend: { labelLimit: 300, symbolStrokeWidth: 3 },
            },
          },
        },
      ],
    },
    config: CURVE_STYLE,
  };
}
