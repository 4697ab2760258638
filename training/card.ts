import { degreeOf, type Model } from '../src/model/model.ts';
import type { ModelMetrics } from './model-metrics.ts';

const NAMES: Record<string, string> = {
  N: 'normal rhythm',
  A: 'atrial fibrillation',
  O: 'other rhythm',
  '~': 'too noisy',
};

/** README.md of a model folder: what it is, what it is not, how good it is and how to make it again. */
export function modelCard(model: Model, metrics: ModelMetrics): string {
  const { test } = metrics;
  const channels = model.blocks.map((b) => b.outChannels).join(', ');
  const dilations = model.blocks.map((b) => b.dilation).join(', ');
  const helix = model.blocks.some((b) => b.helix > 0)
    ? `, helices ${model.blocks.map((b) => b.helix).join(', ')}`
    : '';
  const parameters = model.blocks.reduce(
    (sum, { weights, bias, activation }) =>
      sum + weights.length + bias.length + (activation.kind === 'relu' ? 0 : activation.coefficients.length),
    model.dense.weights.length + model.dense.bias.length,
  );
  const [block] = model.blocks;
  const activation =
    block.activation.kind === 'relu' ? 'ReLU' : `polynomial of degree ${degreeOf(block.activation)}`;
  const facts = table([
    ['', ''],
    ['Input', `${model.samples} samples (${model.preprocessing.seconds} s), prepared as model.json says`],
    [
      'Network',
      `${model.blocks.length} x [circular convolution of ${block.kernel} taps, ${activation}, ${block.pooling}-pooling by ${block.pool}], channels ${channels}, dilations ${dilations}${helix}; mean over time; dense`,
    ],
    ['Output', `scores of ${model.classes.join(', ')}`],
    ['Parameters', `${parameters}`],
    ['Data', model.provenance.data],
    ['Made by', `\`${model.provenance.command}\`, seed ${model.provenance.seed}, ${metrics.backend}`],
    [
      'Made on',
      `${model.provenance.createdAt.slice(0, 10)}, ${metrics.epochs} epochs, ${metrics.hours.toFixed(2)} hours`,
    ],
  ]);
  const confusion = table([
    ['labelled', ...model.classes.map((c) => `named ${c}`), 'F1'],
    ...model.classes.map((c, i) => [
      `${c} ${NAMES[c] ?? ''}`,
      ...test.confusion[i].map(String),
      test.f1[c].toFixed(3),
    ]),
  ]);
  return `# ${model.name}

**Not a medical device.** A research model: no diagnosis, no treatment decision may rest on it.

${
  block.activation.kind === 'relu'
    ? `The plaintext baseline: a convolutional network for single-lead ECGs of 30 s that cannot be evaluated on
ciphertexts, to compare those with that can.`
    : `A convolutional network for single-lead ECGs of 30 s in which every operation is an addition or a
multiplication, so that it can be evaluated on CKKS ciphertexts.`
}

${facts}

## How good it is

On ${test.records} records of the split's test part, not trained on, one segment per record, through
\`src/model/forward.ts\`:

CinC score (mean F1 of N, A, O) **${test.cincScore.toFixed(3)}**, 95 % bootstrap interval
${test.ci95[0].toFixed(3)} to ${test.ci95[1].toFixed(3)}; accuracy ${test.accuracy.toFixed(3)}. On the ${metrics.validation.records} validation records,
by which the epoch was chosen, ${metrics.validation.cincScore.toFixed(3)}. The data name no patients, so people may occur on
both sides of the split.

${confusion}
${(metrics.remarks ?? []).map((remark) => `\n${remark}\n`).join('')}
## Its range

Largest |score| over all ${metrics.ranges.records.inputs / 2} records and their negatives ${metrics.ranges.records.largestScore.toFixed(1)}, over ${metrics.ranges.hostile.inputs} hostile
inputs within the client's bounds (noise, steps, square waves, sines, spikes, constants, motion, lead off, saturation)
${metrics.ranges.hostile.largestScore.toFixed(1)}; beyond ${model.scoreLimit} no class is named.
${marginsOf(metrics)}
![Training curves](training.svg)

## What it is not for

Records of other devices, leads, ages and diseases than those of the CinC 2017 set (a handheld single-lead
device) were not examined. "Other rhythm" is a collection of everything that is neither normal nor atrial
fibrillation. The labels themselves are disputed in a good part of the records.
`;
}

/** What there is to say of a network with a plan. */
function marginsOf({ ranges: { margins, ascent } }: ModelMetrics): string {
  if (!margins || !ascent) return '';
  const squares = Math.floor(Math.log2(Math.min(...margins.squares)));
  return `
Under encryption scores would wrap around at ${margins.scores.toFixed(0)} times the largest of these, the blocks' squares at 2^${squares} times
or more. Gradient ascent with the weights in hand, within the client's bounds, reaches a |score| of ${ascent.largestScore.toPrecision(3)} from ${ascent.starts}
starts in ${ascent.steps} steps; a client has no weights and would fool only itself.
`;
}

/** A Markdown table with aligned columns, the first row its head: what the formatter would make of it. */
function table(rows: string[][]): string {
  const widths = rows[0].map((_, c) => Math.max(3, ...rows.map((row) => row[c].length)));
  const line = (cells: string[]) => `| ${cells.map((cell, c) => cell.padEnd(widths[c])).join(' | ')} |`;
  const [head, ...body] = rows;
  return [line(head), line(widths.map((w) => '-'.repeat(w))), ...body.map(line)].join('\n');
}
