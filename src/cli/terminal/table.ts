import Table from 'cli-table3';
import { type Colours, forTerminal, withOurColours } from './io.ts';

/** A column of a table. */
export interface Column {
  title: string;
  align?: 'left' | 'right';
}

/** A column of numbers. */
export function right(title: string): Column {
  return { title, align: 'right' };
}

/** What a passage is about, in bold, and what belongs to it, dimmed. */
export function heading(title: string, text: string, colours: Colours): string {
  return `  ${colours.bold(title)}  ${colours.dim(text)}`;
}

/** The name of a fact, dimmed and padded to `width` columns, and the fact. */
export function fact(name: string, text: string, width: number, colours: Colours): string {
  return `  ${colours.dim(name.padEnd(width))}${text}`;
}

/** A table under its title in bold, and an empty line. */
export function titledTable(
  { title, columns, rows }: { title: string; columns: Column[]; rows: string[][] },
  colours: Colours,
): string[] {
  return [`  ${colours.bold(title)}`, ...table(columns, rows, colours), ''];
}

/** Rows under dimmed titles, columns two blanks apart, indented by two, without lines. */
export function table(columns: Column[], rows: string[][], colours: Colours): string[] {
  const none = Object.fromEntries(EDGES.map((edge) => [edge, '']));
  // A cell is one line of one width, or what follows it would move.
  const clean = (cells: string[]) => cells.map((cell) => forTerminal(cell).replaceAll('\n', '?'));
  const drawn = new Table({
    head: columns.some((c) => c.title !== '') ? clean(columns.map((c) => colours.dim(c.title))) : [],
    colAligns: columns.map((c) => c.align ?? 'left'),
    chars: { ...none, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
  });
  drawn.push(...rows.map(clean));
  return withOurColours(drawn.toString())
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
