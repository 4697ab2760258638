import type { Colours } from './io.ts';

/** Dots of a braille character by column and row (Unicode 2800 + the sum of the bits). */
const DOTS = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
];
const STRIP_SECONDS = 10;
const STRIP_ROWS = 4;

/** Where in the segment the evidence is: one number per window, windows evenly spaced over the segment. */
export interface Evidence {
  label: string;
  /** From 0 (none) to 1. */
  strength: number[];
}

/**
 * A signal as lines of braille dots, strips of about 10 s below each other as on paper, each `width` columns
 * wide. All strips share one vertical scale, from the lowest to the highest sample. With `evidence`, a line
 * of blocks under each strip.
 */
export function drawTrace(
  samples: ArrayLike<number>,
  seconds: number,
  width: number,
  colours: Colours,
  evidence?: Evidence,
): string[] {
  const strips = Math.max(1, Math.round(seconds / STRIP_SECONDS));
  const margin = 7;
  const columns = width - margin;
  const all = Array.from(samples);
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  const lines: string[] = [];
  for (let strip = 0; strip < strips; strip++) {
    const from = Math.floor((strip * all.length) / strips);
    const to = Math.floor(((strip + 1) * all.length) / strips);
    const drawn = drawStrip(all.slice(from, to), columns, low, high);
    const start = `${Math.round((strip * seconds) / strips)} s`.padStart(margin - 1);
    drawn.forEach((line, row) => {
      lines.push(`${row === STRIP_ROWS - 1 ? colours.dim(start) : ' '.repeat(margin - 1)} ${line.trimEnd()}`);
    });
    if (evidence) {
      const label = strip === 0 ? evidence.label.padStart(margin - 1) : ' '.repeat(margin - 1);
      const blocks = drawEvidence(evidence, strip / strips, (strip + 1) / strips, columns);
      lines.push(`${label} ${colours.yellow(blocks)}`);
    }
  }
  return lines;
}

/**
 * One strip: in every dot column a line from the least to the largest sample there, joined to the column
 * before.
 */
export function drawStrip(
  samples: number[],
  columns: number,
  low: number,
  high: number,
  rows = STRIP_ROWS,
): string[] {
  const dots = 4 * rows;
  const row = (value: number) => Math.round(((high - value) / (high - low || 1)) * (dots - 1));
  const cells = Array.from({ length: rows }, () => new Uint8Array(columns));
  let last: number | undefined;
  for (let x = 0; x < 2 * columns; x++) {
    const from = Math.floor((x * samples.length) / (2 * columns));
    const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / (2 * columns)));
    const part = samples.slice(from, to);
    if (part.length === 0) break;
    let top = row(Math.max(...part));
    let bottom = row(Math.min(...part));
    if (last !== undefined) {
      top = Math.min(top, last);
      bottom = Math.max(bottom, last);
    }
    for (let y = top; y <= bottom; y++) cells[y >> 2][x >> 1] |= DOTS[x & 1][y & 3];
    last = row(part[part.length - 1]);
  }
  return cells.map((line) =>
    Array.from(line, (bits) => (bits === 0 ? ' ' : String.fromCodePoint(0x2800 + bits))).join(''),
  );
}

/** The evidence from one share of the segment to another as a line of blocks, `columns` wide. */
export function drawEvidence({ strength }: Evidence, from: number, to: number, columns: number): string {
  const blocks = Array.from({ length: columns }, (_, c) => {
    const share = from + ((to - from) * (c + 0.5)) / columns;
    const window = Math.min(strength.length - 1, Math.floor(share * strength.length));
    return ' ▁▂▃▄▅▆▇█'[Math.round(8 * Math.max(0, Math.min(1, strength[window])))];
  });
  return blocks.join('').trimEnd();
}
