import pc from 'picocolors';
import { replaceInvisible } from '../../schema.ts';

/** Where a command writes; the process's own streams, or a test's. */
export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** The streams of a command. */
export interface Io {
  /** Results. With --json one object and nothing else. */
  stdout: Output;
  /** Progress, warnings, errors. */
  stderr: Output;
}

const COLOURS = ['bold', 'dim', 'red', 'green', 'yellow', 'cyan'] as const;
/** Functions that colour a text, or leave it as it is. */
export type Colours = Record<(typeof COLOURS)[number], (text: string) => string>;

/** Colours on a terminal unless NO_COLOR is set; none elsewhere. */
export function coloursOf(output: Output): Colours {
  const on = output.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  const codes = pc.createColors(on);
  const coloured = COLOURS.map((name) => [
    name,
    (text: string) => withOurColours(codes[name](forTerminal(text))),
  ]);
  return Object.fromEntries(coloured) as Colours;
}

/**
 * Until they are printed, our colour codes carry a number that no text from outside can know: `ESC [ 1 ; XXXX
 * ; XXXX m`. What does not carry it is not ours, and does not reach a terminal.
 */
const MARK = Array.from(crypto.getRandomValues(new Uint16Array(2)), (x) => 1000 + (x % 9000)).join(';');
const ESCAPE = '\u001b';
const MARKED = new RegExp(`${ESCAPE}\\[(\\d+);${MARK}m`, 'g');
const USUAL = new RegExp(`${ESCAPE}\\[(\\d+)m`, 'g');

/**
 * Makes colours of the usual codes in a text that holds no others than ours: one that `forTerminal` gave, and
 * what was done to it since.
 */
export function withOurColours(text: string): string {
  return text.replace(USUAL, `${ESCAPE}[$1;${MARK}m`);
}

/** Columns to fill: the terminal's, at most 80. */
export function widthOf(output: Output): number {
  return Math.max(40, Math.min(80, output.columns ?? 80));
}

/** One object on standard output, as `jsonText` writes it. */
export function printJson(io: Io, value: object): void {
  io.stdout.write(jsonText(value));
}

/**
 * JSON with lists of numbers on one line each, and a line break at the end. What a terminal would obey or not
 * show is escaped: it is always part of a string.
 */
export function jsonText(value: object): string {
  const text = replaceInvisible(JSON.stringify(value, null, 2), jsonEscape, '\n');
  const compact = text.replace(/\[\n[-+.\deE,\s]+\]/g, (list) =>
    list.replace(/\s+/g, '').replaceAll(',', ', '),
  );
  return `${compact}\n`;
}

function jsonEscape(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}

/** Lines on one of the streams, each on one line whatever it holds. */
export function printLines(output: Output, lines: string[]): void {
  print(output, `${lines.map((line) => line.replaceAll('\n', '?')).join('\n')}\n`);
}

/** A text on one of the streams: what is neither visible, nor a line break, nor a colour of ours, is replaced. */
export function print(output: Output, text: string): void {
  output.write(forTerminal(text));
}

/** A text as `print` writes it. */
export function forTerminal(text: string): string {
  return printable(text).replace(MARKED, `${ESCAPE}[$1m`);
}

/**
 * A text of which parts come from outside, with "?" for what a terminal would obey (controls, escape
 * sequences), reorder or not show; colours of ours and line breaks stay.
 */
export function printable(text: string): string {
  let out = '';
  let from = 0;
  for (const { 0: mark, index } of text.matchAll(MARKED)) {
    out += replaceInvisible(text.slice(from, index), () => '?', '\n') + mark;
    from = index + mark.length;
  }
  return out + replaceInvisible(text.slice(from), () => '?', '\n');
}

/** Sentences that do not stop a command, on standard error. */
export function warn(io: Io, sentences: string[], kind: 'warning' | 'note' = 'warning'): void {
  const label = coloursOf(io.stderr).yellow(`${kind}:`);
  for (const sentence of sentences) print(io.stderr, `${label} ${sentence}\n`);
}
