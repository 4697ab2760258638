import { keySwitches, multiplications, rotations } from '../../ckks/evaluator/operations.ts';
import type { Plan, StagePlan } from '../../ckks/planner/plan.ts';
import { bitLength } from '../../ckks/ring/primes.ts';
import type { Manifest } from '../../ckks/wire/manifest.ts';
import { bar, formatBytes, formatCount, formatMs, formatShare } from '../../measure/format.ts';
import type { StageTime } from '../../measure/stages.ts';
import type { Colours } from './io.ts';
import { fact, heading, right, table } from './table.ts';

/** "N = 16384, 12 primes + 1, log2 QP = 398.2, 128 bit" */
export function describeParameters({ parameters }: Manifest): string {
  const { n, primes, spare = [], logQP, security } = parameters;
  return `N = ${n}, ${primes.length} primes + ${spare.length + 1}, log2 QP = ${logQP.toFixed(1)}, ${security} bit`;
}

/** Columns that stages have in every table. */
const STAGE_COLUMNS = ['rotations', 'key switches', 'products'].map(right);

function stageCells(stage: StagePlan): string[] {
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
  const columns = [{ title: 'stage' }, right('time'), right('share'), { title: '' }, rotations, products];
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

/** "one thread", "2 threads" */
export function describeThreads(count: number): string {
  return count === 1 ? 'one thread' : `${count} threads`;
}

/** The most memory that each process ever held, in bytes, as far as it is known. */
export interface PeakMemory {
  client?: number;
  server?: number;
}

/** "2.1 GB client, 3.4 GB server" */
export function describeMemory(peak: PeakMemory): string {
  return Object.entries(peak)
    .filter(([, bytes]) => bytes !== undefined)
    .map(([who, bytes]) => `${formatBytes(bytes)} ${who}`)
    .join(', ');
}

/** A plan: its stages, parameters, keys, sizes, memory and time. */
export function planLines(planned: Plan, colours: Colours): string[] {
  const { manifest, bytes, estimate } = planned;
  const { parameters, keys, outputs, samples, planHash } = manifest;
  const { primes, spare = [], special } = parameters;
  const { memory } = estimate;
  const line = (name: string, text: string) => fact(name, text, 14, colours);
  const levels = keys.relinearisation.map(({ limbs }) => limbs).join(', ');
  const about = `${samples} samples, outputs ${outputs}, plan ${planHash.slice(0, 12)}`;
  return [
    '',
    heading(manifest.model.name, about, colours),
    '',
    ...stageLines(planned, colours),
    '',
    line('parameters', `${describeParameters(manifest)} security`),
    line(
      'primes',
      `${primes.map(bitLength).join(' ')} bits, special ${[...spare, special].map(bitLength).join(' ')}`,
    ),
    line('keys', `relinearisation at ${levels} limbs, ${keys.galois.length} rotations (step:limbs)`),
    ...wrap(
      keys.galois.map(({ step, limbs }) => `${step}:${limbs}`),
      62,
    ).map((words) => line('', words)),
    line(
      'client sends',
      `${formatBytes(bytes.evaluationKeys)} evaluation keys once, ${formatBytes(bytes.request)} per ECG`,
    ),
    line('server sends', `${formatBytes(bytes.reply)} per ECG`),
    line(
      'memory',
      `${formatBytes(memory.ciphertexts)} ciphertexts, ${formatBytes(memory.keys)} keys, ` +
        `${formatBytes(memory.weights)} weights`,
    ),
    line('', 'beside about 0.4 GB for Node and SEAL themselves'),
    line('time', `about ${formatMs(estimate.serverMs)} per ECG on one core of the server`),
    line(
      'scores',
      `no class beyond ±${manifest.scoreLimit}; the last prime has room for ` +
        `±${manifest.scoreBound.toFixed(0)}`,
    ),
  ];
}

function stageLines({ stages, operations, estimate }: Plan, colours: Colours): string[] {
  const arrow = ([from, to]: [number, number]) => (from === to ? String(from) : `${from} → ${to}`);
  const rows = stages.map((stage) => [
    stage.name,
    arrow(stage.limbs),
    arrow(stage.ciphertexts),
    stage.amounts === undefined ? '' : formatCount(stage.amounts),
    ...stageCells(stage).slice(1),
    formatMs(stage.estimateMs),
  ]);
  const total = [
    'all',
    '',
    '',
    '',
    formatCount(keySwitches(operations)),
    formatCount(multiplications(operations)),
    formatMs(estimate.serverMs),
  ];
  const columns = [
    { title: 'stage' },
    right('limbs'),
    right('ciphertexts'),
    right('amounts'),
    ...STAGE_COLUMNS.slice(1),
    right('time'),
  ];
  return table(columns, [...rows, total.map((cell) => colours.bold(cell))], colours);
}

/** Words joined by blanks into lines of at most `width` columns. */
function wrap(words: string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
