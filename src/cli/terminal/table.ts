import Table from 'cli-table3';
import type { Colours } from './io.ts';

export interface Column {
  title: string;
  align?: 'left' | 'right';
}

/** Rows under dimmed titles, columns two blanks apart, indented by two, without lines. */
export function table(columns: Column[], rows: string[][], colours: Colours): string[] {
  const none = Object.fromEntries(EDGES.map((edge) => [edge, '']));
  const drawn = new Table({
    head: columns.some((c) => c.title !== '') ? columns.map((c) => colours.dim(c.title)) : [],
    colAligns: columns.map((c) => c.align ?? 'left'),
    chars: { ...none, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
  });
  drawn.push(...rows);
  return drawn
    .toString()
    .split('\n')
    .map((line) => `  ${line.trimEnd()}`);
}

const EDGES = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
  'left',
  'left-mid',
  'mid',
  'mid-mid',
  'right',
  'right-mid',
] as const;
