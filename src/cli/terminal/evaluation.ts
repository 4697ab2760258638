import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import type { Comparison, Difference } from '../../evaluation/compare.ts';
import type { EncryptedEvaluation } from '../../evaluation/encrypted.ts';
import { type Interval, UNNAMED } from '../../evaluation/metrics.ts';
import type { Outcome } from '../../evaluation/outcome.ts';
import type { WorstRanges } from '../../evaluation/ranges.ts';
import type { Evaluation } from '../../evaluation/summary.ts';
import { formatBytes, formatCount, formatMs, formatShare } from '../../measure/format.ts';
import { MEANINGS } from '../../model/classes.ts';
import type { Model } from '../../model/model.ts';
import { type Colours, printable } from './io.ts';
import { describeMemory, describeParameters, describeThreads } from './plan.ts';
import { type Column, fact, heading, right, table } from './table.ts';

/** Reasons that are told one by one; the rest is counted. */
const SHOWN_REASONS = 5;

const FIGURE_COLUMNS: Column[] = ['', '', '95 %', ''].map((title) => ({ title }));

/** Confusion matrix with F1 of each class, then the figures of all classes; each with its 95 % interval. */
export function metricsLines(evaluation: Evaluation, classes: string[], colours: Colours): string[] {
  const { records, confusion, unnamed, f1, cincScore, accuracy, intervals } = evaluation;
  const some = unnamed.some((n) => n > 0);
  const rows = classes.map((c, i) => [
    [c, MEANINGS[c] ?? ''].join('  '),
    ...confusion[i].map((n, j) => (i === j ? colours.bold(formatCount(n)) : formatCount(n))),
    ...(some ? [formatCount(unnamed[i])] : []),
    figure(f1[c]),
    colours.dim(intervalText(intervals.f1[c])),
  ]);
  const named = [...classes, ...(some ? ['none'] : [])].map(right);
  const columns = [{ title: 'labelled \\ named' }, ...named, right('F1'), { title: '95 %' }];
  const figures = [
    ['CinC score', colours.bold(figure(cincScore)), intervalText(intervals.cincScore), 'mean F1 of N, A, O'],
    ['accuracy', figure(accuracy), intervalText(intervals.accuracy), `of ${formatCount(records)} records`],
  ];
  return [...table(columns, rows, colours), '', ...table(FIGURE_COLUMNS, figures, colours)];
}

/** How many records got no class, and why. */
export function unnamedLines(outcomes: Outcome[], colours: Colours): string[] {
  const without = outcomes.filter((o) => o.named === UNNAMED);
  const fact = `  ${colours.dim('not classified')}  ${without.length} of ${formatCount(outcomes.length)}`;
  const rest = without.length - SHOWN_REASONS;
  return [
    without.length > 0 ? `${fact}, counted as misses` : fact,
    ...without.slice(0, SHOWN_REASONS).map(({ id, reason }) => `    ${printable(`${id}: ${reason}`)}`),
    ...(rest > 0 ? [`    and ${rest} more`] : []),
  ];
}

/**
 * The largest scores, and each block's pre-activations against the range that the model was validated for.
 */
export function rangeLines({ scores, blocks }: WorstRanges, scoreLimit: number, colours: Colours): string[] {
  const rows = blocks.map(({ low, high, range, share, id }, i) => [
    `block ${i + 1}`,
    low.toFixed(2),
    high.toFixed(2),
    range.map((x) => x.toPrecision(2)).join(' to '),
    share > 1 ? colours.yellow(formatShare(share)) : formatShare(share),
    id,
  ]);
  const columns = [
    { title: 'pre-activations' },
    right('lowest'),
    right('highest'),
    { title: 'validated' },
    right('used'),
    { title: 'record' },
  ];
  const list = scores.map(({ id, label, score }) => `${Math.abs(score).toPrecision(3)} (${id}, ${label})`);
  return [
    `  ${colours.dim('largest |score|')}  ${list.join(', ')}; limit ${scoreLimit}`,
    '',
    ...table(columns, rows, colours),
  ];
}

/** A second model's figures and the difference to the first's. */
export function comparisonLines(
  { evaluation, difference }: Comparison,
  rival: Model,
  model: Model,
  colours: Colours,
): string[] {
  return [
    heading(rival.name, 'the same records', colours),
    '',
    ...metricsLines(evaluation, rival.classes, colours),
    '',
    ...differenceLines(difference, [model.name, rival.name], colours),
  ];
}

function differenceLines(
  { cincScore, ci95 }: Difference,
  names: [string, string],
  colours: Colours,
): string[] {
  const [first, second] = names.map(printable);
  const what = `CinC score, ${first} minus ${second}, paired`;
  const row = ['difference', colours.bold(figure(cincScore)), intervalText(ci95), what];
  return table(FIGURE_COLUMNS, [row], colours);
}

/** What computed: a backend of this machine, or a service. */
interface Computed {
  backend?: string;
  service?: string;
  manifest: ParsedManifest;
  bytes: { evaluationKeys: number };
}

/** Encrypted results, beside the clear ones, and what they took. */
export function encryptedLines(
  { evaluation, setupMs, peakMemory, ...found }: EncryptedEvaluation,
  { manifest, bytes, backend, service }: Computed,
  colours: Colours,
): string[] {
  const by = service === undefined ? `backend ${backend}` : `computed by ${printable(service)}`;
  const { keygen } = setupMs;
  const made = keygen === undefined ? 'made before' : `made in ${formatMs(keygen)}`;
  const keys = `${formatBytes(bytes.evaluationKeys)}, ${made}`;
  return [
    heading('encrypted', `${found.outcomes.length} of the records, ${by}`, colours),
    `  ${colours.dim(describeParameters(manifest))}`,
    '',
    ...metricsLines(evaluation, manifest.classes, colours),
    '',
    ...agreementLines(found, colours),
    `  keys        ${keys}; memory ${describeMemory(peakMemory)}, at most`,
  ];
}

function agreementLines(
  { agreement, times }: Pick<EncryptedEvaluation, 'agreement' | 'times'>,
  colours: Colours,
): string[] {
  const { compared, sameClass, maxError, precisionBits, different } = agreement;
  if (compared === 0) return ['  No record of these reached the network: nothing to compare.'];
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  const line = (name: string, text: string) => fact(name, text, 12, colours);
  return [
    line('same class', `${sameClass} of ${compared} as in the clear`),
    ...different.map(({ id, clear, encrypted, margin }) => {
      const inTheClear = `${clear ?? 'none'} in the clear, by ${margin.toExponential(1)}`;
      return line('', `${id}: ${inTheClear}; ${encrypted ?? 'none'} encrypted`);
    }),
    line('precision', `${precisionBits.toFixed(1)} bits; largest score error ${maxError.toExponential(1)}`),
    line(
      'server',
      `median ${seconds(times.medianMs)}, least ${seconds(times.minMs)} per record` +
        (times.threads === undefined ? '' : `, ${describeThreads(times.threads)}`),
    ),
  ];
}

/** 0.8118 -> 0.812 */
function figure(x: number): string {
  return x.toFixed(3);
}

/** "0.776 to 0.845" */
function intervalText([low, high]: Interval): string {
  return `${figure(low)} to ${figure(high)}`;
}
