import type { Colours } from '../../src/cli/terminal/io.ts';
import { table } from '../../src/cli/terminal/table.ts';
import type { Interval } from '../../src/evaluation/metrics.ts';
import { formatCount } from '../../src/measure/format.ts';
import type { DegreeRow } from './rows.ts';

/** What a report says beside its cells. */
export interface ReportTexts {
  title: string;
  /** How it was measured, in sentences. */
  method: string[];
  /** What its maker says of it, Markdown of paragraphs and lists, included as it is. */
  remarks?: string;
  /** The command and the machine. */
  made: string[];
}

interface Table {
  title: string;
  columns: string[];
  rows: string[][];
}

/** One line per cell. */
export function degreesCsv(rows: DegreeRow[]): string {
  const columns: [string, (row: DegreeRow) => string | number | undefined][] = [
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
  const text = (value: string | number | undefined) => {
    if (value === undefined) return '';
    if (typeof value === 'number') return String(Number(value.toPrecision(6)));
    return /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  };
  const lines = rows.map((row) => columns.map(([, of]) => text(of(row))).join(','));
  return `${[columns.map(([name]) => name).join(','), ...lines].join('\n')}\n`;
}

/** The report as Markdown; `picture` is the picture's path from there. */
export function degreesMarkdown(rows: DegreeRow[], texts: ReportTexts, picture: string): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const tableLines = ({ title, columns, rows: body }: Table) => [
    `## ${title}`,
    '',
    `| ${columns.join(' | ')} |`,
    `| ${columns.map((_, i) => (i < TEXT_COLUMNS ? '---' : '---:')).join(' | ')} |`,
    ...body.map((line) => `| ${line.map(cell).join(' | ')} |`),
    '',
  ];
  return [
    `# ${texts.title}`,
    '',
    ...(texts.remarks ? [texts.remarks.trim(), ''] : []),
    `![CinC score against degree](${picture})`,
    '',
    ...tablesOf(rows).flatMap(tableLines),
    '## How it was measured',
    '',
    ...texts.method.map((line) => `- ${line}`),
    '',
    ...texts.made.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

/** The report as one HTML page without anything from outside; `svg` is the picture itself. */
export function degreesHtml(rows: DegreeRow[], texts: ReportTexts, svg: string): string {
  const element = (name: string, content: string) => `<${name}>${content}</${name}>`;
  const line = (name: string, cells: string[]) =>
    element(
      'tr',
      cells
        .map((c, i) => `<${name}${i < TEXT_COLUMNS ? ' class="text"' : ''}>${escaped(c)}</${name}>`)
        .join(''),
    );
  const body = [
    element('h1', escaped(texts.title)),
    ...(texts.remarks ? [htmlOf(texts.remarks)] : []),
    svg.replace(/^<\?xml[^>]*>\s*/, ''),
    ...tablesOf(rows).map(
      ({ title, columns, rows: lines }) =>
        `${element('h2', escaped(title))}\n<table>\n${line('th', columns)}\n${lines.map((l) => line('td', l)).join('\n')}\n</table>`,
    ),
    element('h2', 'How it was measured'),
    element('ul', texts.method.map((text) => element('li', inline(text))).join('\n')),
    element('pre', escaped(texts.made.join('\n'))),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(texts.title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1280px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #e4e8ed; white-space: nowrap; }
th { color: #52606d; font-weight: 600; }
.text { text-align: left; }
svg { max-width: 100%; height: auto; }
pre { background: #f5f7f9; padding: 0.8rem; overflow-x: auto; }
</style>
</head>
<body>
${body.join('\n')}
</body>
</html>
`;
}

/** The cells on a terminal. */
export function degreesLines(rows: DegreeRow[], colours: Colours): string[] {
  return tablesOf(rows).flatMap(({ title, columns, rows: body }) => [
    `  ${colours.bold(title)}`,
    ...table(
      columns.map((column, i) => ({ title: column, align: i < TEXT_COLUMNS ? 'left' : 'right' })),
      body,
      colours,
    ),
    '',
  ]);
}

/** Columns that hold words: mode, method. */
const TEXT_COLUMNS = 2;

function tablesOf(rows: DegreeRow[]): Table[] {
  const measured = rows.filter((r) => r.encrypted);
  const problems = rows.filter((r) => r.problem !== undefined);
  const name = (r: DegreeRow) => [r.mode, r.method, String(r.degree)];
  const accuracy: Table = {
    title: 'Accuracy, in the clear',
    columns: [
      'mode',
      'method',
      'degree',
      'range',
      'CinC score',
      '95 %',
      'minus ReLU',
      '95 %, paired',
      'accuracy',
      'refused',
      'left range',
      'epochs',
      'seconds',
    ],
    rows: rows.flatMap((r) =>
      r.clear && r.range
        ? [
            [
              ...name(r),
              r.range.map((x) => x.toFixed(1)).join(' to '),
              r.clear.cincScore.toFixed(3),
              interval(r.clear.ci95),
              signed(r.clear.difference.cincScore),
              interval(r.clear.difference.ci95, signed),
              r.clear.accuracy.toFixed(3),
              String(r.clear.refused),
              String(r.clear.leftRange),
              String(r.clear.epochs),
              r.clear.seconds.toFixed(0),
            ],
          ]
        : [],
    ),
  };
  const plans: Table = {
    title: 'Under encryption, planned',
    columns: [
      'mode',
      'method',
      'degree',
      'levels',
      'N',
      'log2 QP',
      'rotations',
      'products',
      'relinearisations',
      'keys, MB',
      'one core, s',
    ],
    rows: rows.flatMap((r) =>
      r.plan
        ? [
            [
              ...name(r),
              String(r.plan.levels),
              String(r.plan.n),
              r.plan.logQP.toFixed(0),
              formatCount(r.plan.rotations),
              formatCount(r.plan.products),
              formatCount(r.plan.relinearisations),
              (r.plan.evaluationKeyBytes / 1e6).toFixed(0),
              (r.plan.estimateMs / 1000).toFixed(1),
            ],
          ]
        : [],
    ),
  };
  const encrypted: Table = {
    title: 'Under encryption, measured',
    columns: [
      'mode',
      'method',
      'degree',
      'same class',
      'median s',
      'least s',
      'threads',
      'largest error',
      'bits',
    ],
    rows: measured.flatMap((r) =>
      r.encrypted
        ? [
            [
              ...name(r),
              `${r.encrypted.sameClass} of ${r.encrypted.compared}`,
              (r.encrypted.medianMs / 1000).toFixed(1),
              (r.encrypted.minMs / 1000).toFixed(1),
              String(r.encrypted.threads),
              r.encrypted.maxError.toExponential(1),
              r.encrypted.precisionBits.toFixed(1),
            ],
          ]
        : [],
    ),
  };
  const without: Table = {
    title: 'What could not be done',
    columns: ['mode', 'method', 'degree', 'reason'],
    rows: problems.map((r) => [...name(r), r.problem ?? '']),
  };
  return [accuracy, encrypted, plans, without].filter((t) => t.rows.length > 0);
}

function signed(x: number): string {
  return `${x < 0 ? '-' : '+'}${Math.abs(x).toFixed(3)}`;
}

function interval([low, high]: Interval, of = (x: number) => x.toFixed(3)): string {
  return `${of(low)} to ${of(high)}`;
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** Paragraphs and lists; code in backticks, bold in pairs of asterisks. */
function htmlOf(markdown: string): string {
  return markdown
    .trim()
    .split(/\n\s*\n/)
    .map((block) => {
      const items = block.split(/\n(?=- )/);
      if (!items.every((item) => item.startsWith('- '))) return `<p>${inline(block)}</p>`;
      return `<ul>\n${items.map((item) => `<li>${inline(item.slice(2))}</li>`).join('\n')}\n</ul>`;
    })
    .join('\n');
}

function inline(text: string): string {
  return escaped(text)
    .replace(/`([^`]+)`/g, '<code>$1</code>')
    .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>');
}
