import pc from 'picocolors';

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

/** Functions that colour a text, or leave it as it is. */
export type Colours = ReturnType<typeof pc.createColors>;

/** Colours on a terminal unless NO_COLOR is set; none elsewhere. */
export function coloursOf(output: Output): Colours {
  return pc.createColors(output.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb');
}

/** Columns to fill: the terminal's, at most 80. */
export function widthOf(output: Output): number {
  return Math.max(40, Math.min(80, output.columns ?? 80));
}

/** One object on standard output, as `jsonText` writes it. */
export function printJson(io: Io, value: object): void {
  io.stdout.write(jsonText(value));
}

/** JSON with lists of numbers on one line each, and a line break at the end. */
export function jsonText(value: object): string {
  const text = JSON.stringify(value, null, 2); // a line break in it is never part of a string
  const compact = text.replace(/\[\n[-+.\deE,\s]+\]/g, (list) =>
    list.replace(/\s+/g, '').replaceAll(',', ', '),
  );
  return `${compact}\n`;
}

/** Lines on one of the streams. */
export function printLines(output: Output, lines: string[]): void {
  output.write(`${lines.join('\n')}\n`);
}

/** A text of which parts come from files, with control characters (a terminal's commands) replaced by "?". */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, '?');
}

/** Sentences that do not stop a command, on standard error. */
export function warn(io: Io, sentences: string[], kind: 'warning' | 'note' = 'warning'): void {
  const label = coloursOf(io.stderr).yellow(`${kind}:`);
  for (const sentence of sentences) io.stderr.write(`${label} ${printable(sentence)}\n`);
}
