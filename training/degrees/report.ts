import { csvFormatRows } from 'd3-dsv';
import type { DegreeRow } from './rows.ts';
import { type Table, tablesOf } from './tables.ts';

/** What a report says beside its cells. */
export interface ReportTexts {
  title: string;
  /** How it was measured, in sentences; Markdown without blocks. */
  method: string[];
  /** What its maker says of it, in Markdown, included as it is. */
  remarks?: string;
  /** The command and the machine, as plain lines. */
  made: string[];
}

const CSV_COLUMNS: [name: string, cell: (row: DegreeRow) => string | number | undefined][] = [
  ['mode', (r) => r.mode],
  ['method', (r) => r.method],
  ['degree', (r) => r.degree],
  ['epochs', (r) => r.clear?.epochs],
  ['range_low', (r) => r.range?.[0]],
  ['range_high', (r) => r.range?.[1]],
  ['records', (r) => r.clear?.records],
  ['cinc_score', (r) => r.clear?.cincScore],
  ['cinc_score_low', (r) => r.clear?.ci95[0]],
  ['cinc_score_high', (r) => r.clear?.ci95[1]],
  ['difference', (r) => r.clear?.difference.cincScore],
  ['difference_low', (r) => r.clear?.difference.ci95[0]],
  ['difference_high', (r) => r.clear?.difference.ci95[1]],
  ['accuracy', (r) => r.clear?.accuracy],
  ['refused', (r) => r.clear?.refused],
  ['left_range', (r) => r.clear?.leftRange],
  ['training_seconds', (r) => r.clear?.seconds],
  ['levels', (r) => r.plan?.levels],
  ['n', (r) => r.plan?.n],
  ['log2_qp', (r) => r.plan?.logQP],
  ['rotations', (r) => r.plan?.rotations],
  ['products', (r) => r.plan?.products],
  ['relinearisations', (r) => r.plan?.relinearisations],
  ['evaluation_key_bytes', (r) => r.plan?.evaluationKeyBytes],
  ['estimate_ms', (r) => r.plan?.estimateMs],
  ['encrypted_records', (r) => r.encrypted?.compared],
  ['same_class', (r) => r.encrypted?.sameClass],
  ['median_ms', (r) => r.encrypted?.medianMs],
  ['least_ms', (r) => r.encrypted?.minMs],
  ['largest_error', (r) => r.encrypted?.maxError],
  ['precision_bits', (r) => r.encrypted?.precisionBits],
  ['problem', (r) => r.problem],
];

/** The cells as CSV, a line each under a line of names; numbers to six digits. */
export function degreesCsv(rows: DegreeRow[]): string {
  const text = (value: string | number | undefined) =>
    typeof value === 'number' ? String(Number(value.toPrecision(6))) : (value ?? '');
  const lines = rows.map((row) => CSV_COLUMNS.map(([, cell]) => text(cell(row))));
  return `${csvFormatRows([CSV_COLUMNS.map(([name]) => name), ...lines])}\n`;
}

/** The report as Markdown; `picture` is the picture's path from there. */
export function degreesMarkdown(rows: DegreeRow[], texts: ReportTexts, picture: string): string {
  return [
    `# ${texts.title}`,
    '',
    ...(texts.remarks ? [texts.remarks.trim(), ''] : []),
    `![CinC score against degree](${picture})`,
    '',
    ...tablesOf(rows).flatMap(markdownTable),
    '## How it was measured',
    '',
    ...texts.method.map((line) => `- ${line}`),
    '',
    ...texts.made.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

function markdownTable({ title, columns, rows }: Table): string[] {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [
    `## ${title}`,
    '',
    line(columns.map((column) => column.title)),
    line(columns.map(({ align }) => (align === 'left' ? '---' : '---:'))),
    ...rows.map((cells) => line(cells.map((text) => text.replaceAll('|', '\\|')))),
    '',
  ];
}
