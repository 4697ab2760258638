import type { TopLevelSpec } from 'vega-lite';
import type { EpochRecord } from './checkpoint.ts';

/** One point of one curve. */
interface Point {
  epoch: number;
  curve: string;
  value: number;
}

type Figure = Exclude<keyof EpochRecord, 'phase'>;

const TRAINING = 'training batches';
const VALIDATION = 'validation';
const AVERAGED = 'validation, averaged weights';

/**
 * A training as a Vega-Lite chart: score, cross-entropy, largest |score| and learning rate by epoch.
 *
 * @param chosenEpoch is marked as the exported one
 */
export function trainingCurves(history: EpochRecord[], title: string, chosenEpoch?: number): TopLevelSpec {
  const points = (curve: string, figure: Figure): Point[] =>
    history.flatMap((record) => {
      const value = record[figure];
      return value === undefined ? [] : [{ epoch: record.epoch, curve, value }];
    });
  const three = (training: Figure, validation: Figure, averaged: Figure) => [
    ...points(TRAINING, training),
    ...points(VALIDATION, validation),
    ...points(AVERAGED, averaged),
  ];
  const second = history.find((r) => r.phase === 'exact' && r.epoch > 1)?.epoch;
  const marks = [
    ...(second === undefined ? [] : [{ epoch: second, what: 'exact phase begins' }]),
    ...(chosenEpoch === undefined ? [] : [{ epoch: chosenEpoch, what: 'exported' }]),
  ];
  const panel = (title: string, values: Point[], scale: object, tickCount?: number) => ({
    title: { text: title, anchor: 'start' as const, fontSize: 11, fontWeight: 'normal' as const },
    width: 300,
    height: 190,
    layer: [
      {
        data: { values: marks },
        mark: { type: 'rule' as const, strokeDash: [3, 3], color: '#888' },
        encoding: { x: { field: 'epoch', type: 'quantitative' as const } },
      },
      {
        data: { values: marks },
        mark: {
          type: 'text' as const,
          angle: 270,
          align: 'right' as const,
          dy: -5,
          y: 4,
          fontSize: 9,
          color: '#666',
        },
        encoding: {
          x: { field: 'epoch', type: 'quantitative' as const },
          text: { field: 'what' },
        },
      },
      {
        data: { values },
        mark: { type: 'line' as const, clip: true },
        encoding: {
          x: { field: 'epoch', type: 'quantitative' as const, title: 'epoch', axis: { tickMinStep: 1 } },
          y: { field: 'value', type: 'quantitative' as const, title: null, scale, axis: { tickCount } },
          color: {
            field: 'curve',
            type: 'nominal' as const,
            title: null,
            scale: { domain: [TRAINING, VALIDATION, AVERAGED], range: ['#999999', '#0072b2', '#d55e00'] },
            legend: { orient: 'bottom' as const, labelLimit: 300 },
          },
        },
      },
    ],
  });
  return {
    title: { text: title, anchor: 'start' },
    columns: 2,
    concat: [
      panel('CinC score', three('trainScore', 'validationScore', 'averageScore'), { domain: [0.5, 1] }),
      panel(
        'cross-entropy (of training batches: with class weights and teachers)',
        three('loss', 'validationCrossEntropy', 'averageCrossEntropy'),
        { domain: [0.3, 2] },
      ),
      panel(
        'largest |score|',
        three('trainLargest', 'validationLargest', 'averageLargest'),
        { type: 'log', domain: [1, 1e6] },
        6,
      ),
      panel('learning rate', points(TRAINING, 'learningRate'), { type: 'log' }, 5),
    ],
  };
}
