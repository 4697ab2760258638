import { formatBytes, formatCount, formatMs } from '../src/measure/format.ts';
import type { FormatResult, RunResult } from './run.ts';

/** Rules that the table lists of each format; a file has them all. */
const RULES_LISTED = 8;
const VIOLATIONS_LISTED = 200;

/** What all classes gave, as text. */
export function report(results: Record<string, RunResult>): string {
  const rows = Object.entries(results).flatMap(([name, { formats }]) =>
    Object.entries(formats).map(([format, row]) => tableRow(name, format, row)),
  );
  const head = [
    'class',
    'format',
    'cases',
    'refused',
    'rules',
    'accepted',
    'violations',
    'uncaught',
    'slowest',
  ];
  return [
    ...aligned([head, ...rows]),
    '',
    ...Object.entries(results).flatMap(([name, result]) => details(name, result)),
  ].join('\n');
}

function tableRow(name: string, format: string, row: FormatResult): string[] {
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
  return [
    name,
    format,
    formatCount(row.cases),
    formatCount(sum(row.refused)),
    String(Object.keys(row.refused).length),
    formatCount(sum(row.accepted)),
    formatCount(row.violations),
    String(row.uncaught),
    formatMs(row.slowestMs),
  ];
}

function details(name: string, { formats, violations, memory, controls }: RunResult): string[] {
  const listed = Object.entries(formats).flatMap(([format, row]) => [
    `${name}: ${format}, slowest: ${row.slowest}`,
    ...most(row.refused).map((line) => `  refused  ${line}`),
    ...most(row.accepted).map((line) => `  accepted ${line}`),
  ]);
  const grown = memory
    ? [
        `${name}: SEAL objects ${memory.before.handles} -> ${memory.after.handles}, ` +
          `kernels ${formatBytes(memory.before.kernelBytes)} -> ${formatBytes(memory.after.kernelBytes)}, ` +
          `heap ${formatBytes(memory.before.heapBytes)} -> ${formatBytes(memory.after.heapBytes)}, ` +
          `process ${formatBytes(memory.before.rssBytes)} -> ${formatBytes(memory.after.rssBytes)}`,
      ]
    : [];
  const wrong = violations
    .toSorted((a, b) => b.count - a.count)
    .slice(0, VIOLATIONS_LISTED)
    .map(
      (v) =>
        `  VIOLATION ${v.count} x ${v.format}, ${shortened(v.attack)}: ${v.what} (--class ${name} --only ${v.index})`,
    );
  return [...listed, `${name}: ${formatCount(controls)} good ones in between`, ...grown, ...wrong, ''];
}

function most(counts: Record<string, number>): string[] {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const lines = sorted
    .slice(0, RULES_LISTED)
    .map(([name, count]) => `${formatCount(count).padStart(7)}  ${name}`);
  const left = sorted.slice(RULES_LISTED);
  if (left.length === 0) return lines;
  const rest = left.reduce((sum, [, count]) => sum + count, 0);
  return [...lines, `${formatCount(rest).padStart(7)}  by ${left.length} others`];
}

function shortened(text: string): string {
  const visible = text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '?');
  return visible.length > 100 ? `${visible.slice(0, 97)}...` : visible;
}

/** Rows with their columns in line; the first two are names, the others numbers. */
function aligned(rows: string[][]): string[] {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((row) => row[c].length)));
  return rows.map((row) =>
    row.map((cell, c) => (c < 2 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join('  '),
  );
}
