import type { TopLevelSpec } from 'vega-lite';
import { formatMs } from '../measure/format.ts';
import type { StageTime } from '../measure/stages.ts';

/** What the title of a profile says. */
export interface ProfileTitle {
  model: string;
  /** How it was computed, such as "backend fast, 2 threads". */
  how: string;
  /** Of all stages together. */
  ms: number;
}

/**
 * Milliseconds of every stage as a Vega-Lite bar chart, in the order in which they run; activations have
 * their colour.
 */
export function profileChart(layers: StageTime[], title: ProfileTitle): TopLevelSpec {
  const activations = layers.some(({ name }) => name.startsWith('polynomial')) ? 'polynomials' : 'squares';
  const rows = layers.map(({ name, ms }) => ({
    name,
    ms,
    kind: /^(square|polynomial)/.test(name) ? activations : 'rotations and weights',
    text: `${formatMs(ms)}  (${((100 * ms) / title.ms).toFixed(1)} %)`,
  }));
  const stage = { field: 'name', type: 'nominal', sort: null, title: null } as const;
  const longest = Math.max(...layers.map((layer) => layer.ms));
  const time = { field: 'ms', type: 'quantitative', title: 'milliseconds' } as const;
  return {
    title: {
      text: `${title.model}: ${formatMs(title.ms)} per encrypted ECG`,
      subtitle: title.how,
      anchor: 'start',
      offset: 12,
    },
    padding: 14,
    width: 420,
    height: { step: 22 },
    data: { values: rows },
    encoding: { y: stage, x: { ...time, scale: { domain: [0, 1.35 * longest] } } },
    layer: [
      {
        mark: { type: 'bar', height: 14 },
        encoding: {
          color: {
            field: 'kind',
            type: 'nominal',
            title: null,
            scale: { domain: ['rotations and weights', activations], range: ['#0072b2', '#d55e00'] },
            legend: { orient: 'bottom', labelLimit: 300 },
          },
        },
      },
      {
        mark: { type: 'text', align: 'left', dx: 5, fontSize: 10 },
        encoding: { text: { field: 'text' } },
      },
    ],
  };
}
