import type { Agreement, Evaluation, Outcome, WorstRanges } from '../../evaluation/evaluate.ts';
import { type Interval, UNNAMED } from '../../evaluation/metrics.ts';
import { formatCount, formatShare } from '../../measure/format.ts';
import { MEANINGS } from '../../model/classes.ts';
import { type Colours, printable } from './io.ts';
import { describeThreads } from './plan.ts';
import { type Column, table } from './table.ts';

/** Reasons that are told one by one; the rest is counted. */
const SHOWN_REASONS = 5;

const right = (title: string): Column => ({ title, align: 'right' });

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
  return [
    ...table(columns, rows, colours),
    '',
    ...table(
      ['', '', '95 %', ''].map((title) => ({ title })),
      figures,
      colours,
    ),
  ];
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

/** The largest scores, and each block's pre-activations against the range that the model was validated for. */
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

/** Encrypted results beside the clear ones, and the server's time per record. */
export function agreementLines(
  agreement: Agreement,
  times: { medianMs: number; minMs: number; threads: number },
  colours: Colours,
): string[] {
  const { compared, sameClass, maxError, precisionBits, different } = agreement;
  if (compared === 0) return ['  No record of these reached the network: nothing to compare.'];
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  const fact = (name: string, text: string) => `  ${colours.dim(name.padEnd(11))} ${text}`;
  return [
    fact('same class', `${sameClass} of ${compared} as in the clear`),
    ...different.map(({ id, clear, encrypted, margin }) =>
      fact(
        '',
        `${id}: ${clear ?? 'none'} in the clear, by ${margin.toExponential(1)}; ${encrypted ?? 'none'} encrypted`,
      ),
    ),
    fact('precision', `${precisionBits.toFixed(1)} bits; largest score error ${maxError.toExponential(1)}`),
    fact(
      'server',
      `median ${seconds(times.medianMs)}, least ${seconds(times.minMs)} per record, ${describeThreads(times.threads)}`,
    ),
  ];
}

/** The difference of two models' scores. */
export function differenceLines(
  { cincScore, ci95 }: { cincScore: number; ci95: Interval },
  [first, second]: [string, string],
  colours: Colours,
): string[] {
  const what = `CinC score, ${printable(first)} minus ${printable(second)}, paired`;
  const row = ['difference', colours.bold(figure(cincScore)), intervalText(ci95), what];
  return table(FIGURE_COLUMNS, [row], colours);
}

/** 0.8118 -> 0.812 */
function figure(x: number): string {
  return x.toFixed(3);
}

/** "0.776 to 0.845" */
function intervalText([low, high]: Interval): string {
  return `${figure(low)} to ${figure(high)}`;
}
