import { keySwitches, multiplications, rotations } from '../../ckks/evaluator/operations.ts';
import type { StagePlan } from '../../ckks/planner/plan.ts';
import type { Manifest } from '../../ckks/wire/manifest.ts';
import { bar, formatBytes, formatCount, formatMs, formatShare } from '../../measure/format.ts';
import type { StageTime } from '../../measure/stages.ts';
import type { Colours } from './io.ts';
import { table } from './table.ts';

export function describeParameters({ parameters }: Manifest): string {
  const { n, primes, logQP, security } = parameters;
  return `N = ${n}, ${primes.length} primes + 1, log2 QP = ${logQP.toFixed(1)}, ${security} bit`;
}

/** Columns that stages have in every table. */
export const STAGE_COLUMNS = [
  { title: 'rotations', align: 'right' as const },
  { title: 'key switches', align: 'right' as const },
  { title: 'products', align: 'right' as const },
];

export function stageCells(stage: StagePlan): string[] {
  const { operations } = stage;
  return [rotations(operations), keySwitches(operations), multiplications(operations)].map(formatCount);
}

/** --profile: time per stage with its share, and what the stage did. */
export function profileLines(stages: StagePlan[], layers: StageTime[], colours: Colours): string[] {
  const total = layers.reduce((sum, layer) => sum + layer.ms, 0);
  const longest = Math.max(...layers.map((layer) => layer.ms));
  const rows = layers.map((layer, i) => [
    layer.name,
    formatMs(layer.ms),
    formatShare(layer.ms / total),
    colours.cyan(bar(layer.ms / longest, 12).padEnd(12)),
    ...stageCells(stages[i]).slice(0, 1),
    ...stageCells(stages[i]).slice(2),
  ]);
  const [rotations, , products] = STAGE_COLUMNS;
  const columns = [
    { title: 'stage' },
    { title: 'time', align: 'right' as const },
    { title: 'share', align: 'right' as const },
    { title: '' },
    rotations,
    products,
  ];
  return table(columns, rows, colours);
}

/** Activations and sums belong to the layer before them: one row per layer of the network. */
export function mergeLayers(stages: StagePlan[], layers: StageTime[]): StageTime[] {
  const merged: StageTime[] = [];
  layers.forEach((layer, i) => {
    if (stages[i].kind === 'linear' || merged.length === 0) merged.push({ ...layer });
    else merged[merged.length - 1].ms += layer.ms;
  });
  return merged;
}

export function describeThreads(count: number): string {
  return count === 1 ? 'one thread' : `${count} threads`;
}

/** "2.1 GB client, 3.4 GB server" */
export function describeMemory(peak: { client?: number; server?: number }): string {
  return Object.entries(peak)
    .map(([who, bytes]) => `${formatBytes(bytes)} ${who}`)
    .join(', ');
}
