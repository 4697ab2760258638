import type { TopLevelSpec } from 'vega-lite';
import { CURVE_STYLE, TITLE_STYLE } from '../../src/charts/svg.ts';
import { ANSWER_NAMES, ANSWERS } from './answers.ts';
import type { Result } from './judge.ts';

const STUDENTS = { network: 'a network of the same kind', ridge: 'ridge regression' };
const COLOURS = ['#1f6fb2', '#7fb3dd', '#3a8f5c', '#c2571a', '#7f8a96'];

/** Agreement with the network that was asked against the number of questions, a line for each kind of answer. */
export function extractionChart(results: Result[], records: number, model: string): TopLevelSpec {
  const points = results.map(({ student, answers, queries, agreement }) => ({
    student: STUDENTS[student],
    answers: ANSWER_NAMES[answers],
    queries,
    agreement,
  }));
  return {
    title: {
      text: `How much of ${model} a client copies by asking`,
      subtitle: `share of ${records} test records that the copy names as the network does; not a medical device`,
      ...TITLE_STYLE,
    },
    padding: 14,
    data: { values: points },
    facet: { column: { field: 'student', type: 'nominal', title: null, header: { labelFontSize: 12 } } },
    spec: {
      width: 300,
      height: 280,
      mark: { type: 'line', point: { size: 45 }, strokeWidth: 2 },
      encoding: {
        x: {
          field: 'queries',
          type: 'quantitative',
          title: 'questions',
          scale: { type: 'log', domain: [70, 14_000], nice: false },
          axis: { values: [100, 1000, 10_000], format: ',d', grid: false },
        },
        y: {
          field: 'agreement',
          type: 'quantitative',
          title: 'agreement',
          scale: { domain: [0.4, 1], nice: false },
          axis: { format: '.0%' },
        },
        color: {
          field: 'answers',
          type: 'nominal',
          title: 'what is learnt from',
          scale: { domain: ANSWERS.map((kind) => ANSWER_NAMES[kind]), range: COLOURS },
          legend: { labelLimit: 300, symbolStrokeWidth: 3 },
        },
      },
    },
    config: CURVE_STYLE,
  };
}
