import { BlindbeatError } from '../errors.ts';
import type { Lead, Recording } from './recording.ts';

/** What a table of numbers does not say. */
export interface CsvOptions {
  /** Name of the recording, for messages. */
  name?: string;
  /** Samples per second; needed if there is no time column. */
  rate?: number;
}

/** Larger numbers are none of an ECG, in whatever unit. */
const LARGEST = 1e30;
/** Characters of a column's title that are looked at. */
const LONGEST_TITLE = 200;
/** Leading lines that may be titles or units instead of numbers. */
const TITLE_LINES = 10;
/** A time column may differ from even steps by this much before it counts as having gaps (seconds). */
const JITTER_SECONDS = 0.005;
/** mV per unit, by what a column's title says; no unit means mV. */
const UNITS: Record<string, number> = { mv: 1, uv: 1e-3, µv: 1e-3, μv: 1e-3, v: 1e3 };

/**
 * Reads columns of numbers, separated by commas, semicolons, tabs or blanks; lines that start with # and
 * titles at the top are skipped. One column is a lead in mV and needs `rate`; with more, the first is the
 * time in seconds or the sample's number, the others are leads in mV. Titles may name other units, in
 * brackets or in a second title line: "time [ms]", "II (uV)". If semicolons or tabs separate, a decimal comma
 * is understood. NaN marks a missing sample.
 *
 * @throws BlindbeatError ECG with the number of the line that does not fit
 */
export function parseCsv(text: string, options: CsvOptions = {}): Recording {
  const name = options.name ?? 'ECG';
  const { titles, rows, lines } = readRows(text, name);
  if (rows.length < 2) fail(name, `expected at least two lines of numbers, got ${rows.length}`);
  const width = rows[0].length;
  const columns = Array.from({ length: width }, (_, c) => Float64Array.from(rows, (row) => row[c]));
  if (width === 1) {
    if (options.rate === undefined) {
      fail(name, 'one column without times needs the sampling rate: give it with --rate (in Hz)');
    }
    return { name, rate: options.rate, leads: [toLead(columns[0], readTitle(titles, 0), 1)] };
  }
  const clock = readClock(columns[0], readTitle(titles, 0).unit, lines, name, options.rate);
  const first = clock.isTime ? 1 : 0;
  const leads = columns.slice(first).map((c, i) => toLead(c, readTitle(titles, first + i), i + 1));
  return { name, rate: clock.rate, leads };
}

interface Title {
  name: string;
  /** In lower case; empty if not said. */
  unit: string;
}

/** A column's name, and its unit: in brackets behind the name or in the second line of titles. */
function readTitle(titles: string[][], column: number): Title {
  const title = (titles[0]?.[column] ?? '').slice(0, LONGEST_TITLE);
  const bracket = /^(.*?)\s*[[(]\s*([^\])]*?)\s*[\])]$/.exec(title);
  const unit = bracket?.[2] ?? (titles[1]?.[column] ?? '').replace(/[[\]()]/g, '');
  return { name: bracket?.[1] ?? title, unit: unit.toLowerCase() };
}

function toLead(values: Float64Array, title: Title, number: number): Lead {
  const factor = UNITS[title.unit] ?? 1;
  return { name: title.name || `lead ${number}`, mv: factor === 1 ? values : values.map((v) => v * factor) };
}

interface Rows {
  /** Fields of the lines before the first numbers. */
  titles: string[][];
  rows: number[][];
  /** Line number of each row. */
  lines: number[];
}

function readRows(text: string, name: string): Rows {
  const titles: string[] = [];
  const rows: number[][] = [];
  const lines: number[] = [];
  const all = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
  let split: ((line: string) => string[]) | undefined;
  for (let i = 0; i < all.length; i++) {
    const line = all[i].trim();
    if (line === '' || line.startsWith('#')) continue;
    split ??= splitter(line);
    const row = split(line).map(toNumber);
    if (rows.length === 0 && titles.length < TITLE_LINES && isTitle(line, row)) {
      titles.push(line);
      split = undefined; // titles may be separated otherwise than the numbers
      continue;
    }
    const wrong = row.indexOf(undefined);
    if (wrong >= 0) {
      fail(
        name,
        `line ${i + 1}, column ${wrong + 1}: expected a number with a decimal point (decimal commas need semicolons between columns)`,
      );
    }
    if (rows.length > 0 && row.length !== rows[0].length) {
      fail(
        name,
        `line ${i + 1}: expected ${rows[0].length} columns as in the lines before, got ${row.length}`,
      );
    }
    rows.push(row as number[]);
    lines.push(i + 1);
  }
  const single = rows[0]?.length === 1; // then a blank belongs to the title
  return { titles: titles.map((t) => (single ? [unquote(t)] : splitter(t)(t))), rows, lines };
}

/** No field is a number; between blanks it is enough that the first is none ("Lead 1"). */
function isTitle(line: string, row: (number | undefined)[]): boolean {
  return /[,;\t]/.test(line) ? row.every((v) => v === undefined) : row[0] === undefined;
}

function unquote(field: string): string {
  return field.trim().replace(/^(["'])(.*)\1$/, '$2');
}

/** How a line like this one is separated. */
function splitter(line: string): (line: string) => string[] {
  if (line.includes(';') || line.includes('\t')) {
    const mark = line.includes(';') ? ';' : '\t';
    return (l) =>
      l
        .replace(/;$/, '')
        .split(mark)
        .map((f) => unquote(f).replace(/^([-+]?\d*),(\d+)$/, '$1.$2'));
  }
  if (line.includes(',')) return (l) => l.replace(/,$/, '').split(',').map(unquote);
  return (l) => l.split(/\s+/).map(unquote);
}

/** A decimal number or NaN; undefined for anything else, also for 045: the tail of a decimal comma, 0,045. */
function toNumber(field: string): number | undefined {
  if (/^[-+]?nan$/i.test(field)) return Number.NaN;
  if (/^[-+]?0\d/.test(field)) return undefined;
  if (!/^[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/i.test(field)) return undefined;
  const value = Number(field);
  return Math.abs(value) <= LARGEST ? value : undefined;
}

/** The rate by the first column, or by `given`; `isTime` false if the first column is a lead. */
function readClock(
  column: Float64Array,
  timeUnit: string,
  lines: number[],
  name: string,
  given: number | undefined,
): { rate: number; isTime: boolean } {
  const n = column.length;
  const step = (column[n - 1] - column[0]) / (n - 1);
  const inOrder = step > 0 && column.every((t, i) => i === 0 || t >= column[i - 1]);
  if (!inOrder) {
    if (given !== undefined) return { rate: given, isTime: false };
    fail(name, 'the first of several columns must be the time in rising order, or give the rate with --rate');
  }
  if (step === 1 && given !== undefined) return { rate: given, isTime: true }; // sample numbers
  const unit = /^(ms|msec|milliseconds?)$/.test(timeUnit) ? 1e-3 : 1;
  const tolerance = Math.max(2 * step, JITTER_SECONDS / unit);
  const gap = column.findIndex((t, i) => Math.abs(t - column[0] - i * step) > tolerance);
  if (gap >= 0) fail(name, `line ${lines[gap]}: the times are not evenly spaced. Export it without gaps`);
  const exact = 1 / (step * unit);
  // Times with few decimals: 29.997 s / 8999 is 300 Hz.
  const rate = Math.abs(exact - Math.round(exact)) < 1e-4 * exact ? Math.round(exact) : exact;
  if (given !== undefined && Math.abs(given - rate) > 0.005 * rate) {
    fail(
      name,
      `the time column says ${rate.toFixed(2)} Hz, but the rate given is ${given} Hz. Leave one out`,
    );
  }
  if (rate < 10) {
    fail(
      name,
      `the time column says ${rate.toPrecision(3)} Hz: expected seconds. If it is in ms, title it "ms"; if it is a sample number, give the rate with --rate`,
    );
  }
  return { rate, isTime: true };
}

function fail(name: string, problem: string): never {
  throw new BlindbeatError('ECG', `${name}: ${problem}.`);
}
