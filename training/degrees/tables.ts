import type { Interval } from '../../src/evaluation/metrics.ts';
import { formatCount } from '../../src/measure/format.ts';
import type { DegreeRow } from './rows.ts';

/** A table of the report, as data. */
export interface Table {
  title: string;
  columns: { title: string; align: 'left' | 'right' }[];
  /** [rows][columns] */
  rows: string[][];
}

/** A column's title, and its cell of a row that has what the table is of. */
type Column<T> = [title: string, cell: (part: T) => string];

/**
 * The tables of a report: accuracy, what encryption took, what it was planned to take, what could not be
 * done.
 */
export function tablesOf(rows: DegreeRow[]): Table[] {
  return [
    tableOf('Accuracy, in the clear', rows, accuracyOf, ACCURACY),
    tableOf('Under encryption, measured', rows, (r) => r.encrypted, ENCRYPTED),
    tableOf('Under encryption, planned', rows, (r) => r.plan, PLANNED),
    tableOf('What could not be done', rows, (r) => r.problem, [['reason', (problem) => problem]]),
  ].filter((table) => table.rows.length > 0);
}

function accuracyOf({ clear, range }: DegreeRow) {
  return clear && range && { ...clear, range };
}

const ACCURACY: Column<NonNullable<ReturnType<typeof accuracyOf>>>[] = [
  ['range', (c) => c.range.map((x) => x.toFixed(1)).join(' to ')],
  ['CinC score', (c) => c.cincScore.toFixed(3)],
  ['95 %', (c) => interval(c.ci95)],
  ['minus ReLU', (c) => signed(c.difference.cincScore)],
  ['95 %, paired', (c) => interval(c.difference.ci95, signed)],
  ['accuracy', (c) => c.accuracy.toFixed(3)],
  ['refused', (c) => String(c.refused)],
  ['left range', (c) => String(c.leftRange)],
  ['epochs', (c) => String(c.epochs)],
  ['seconds', (c) => c.seconds.toFixed(0)],
];

const ENCRYPTED: Column<NonNullable<DegreeRow['encrypted']>>[] = [
  ['same class', (e) => `${e.sameClass} of ${e.compared}`],
  ['median s', (e) => (e.medianMs / 1000).toFixed(1)],
  ['least s', (e) => (e.minMs / 1000).toFixed(1)],
  ['threads', (e) => String(e.threads ?? '')],
  ['largest error', (e) => e.maxError.toExponential(1)],
  ['bits', (e) => e.precisionBits.toFixed(1)],
];

const PLANNED: Column<NonNullable<DegreeRow['plan']>>[] = [
  ['levels', (p) => String(p.levels)],
  ['N', (p) => String(p.n)],
  ['log2 QP', (p) => p.logQP.toFixed(0)],
  ['rotations', (p) => formatCount(p.rotations)],
  ['products', (p) => formatCount(p.products)],
  ['relinearisations', (p) => formatCount(p.relinearisations)],
  ['keys, MB', (p) => (p.evaluationKeyBytes / 1e6).toFixed(0)],
  ['one core, s', (p) => (p.estimateMs / 1000).toFixed(1)],
];

/** The rows that have what `partOf` gives, each after the name of its cell. */
function tableOf<T>(
  title: string,
  rows: DegreeRow[],
  partOf: (row: DegreeRow) => T | undefined,
  columns: Column<T>[],
): Table {
  return {
    title,
    columns: [
      ...(['mode', 'method'] as const).map((title) => ({ title, align: 'left' as const })),
      ...['degree', ...columns.map(([title]) => title)].map((title) => ({ title, align: 'right' as const })),
    ],
    rows: rows.flatMap((row) => {
      const part = partOf(row);
      if (part === undefined) return [];
      return [[row.mode, row.method, String(row.degree), ...columns.map(([, cell]) => cell(part))]];
    }),
  };
}

function signed(x: number): string {
  return `${x < 0 ? '-' : '+'}${Math.abs(x).toFixed(3)}`;
}

function interval([low, high]: Interval, text = (x: number) => x.toFixed(3)): string {
  return `${text(low)} to ${text(high)}`;
}
