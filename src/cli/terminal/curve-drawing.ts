import type { Curves } from '../../charts/approximation.ts';
import { short } from '../../measure/format.ts';
import type { Colours } from './io.ts';
import { drawStrip } from './trace-drawing.ts';

const ROWS = 9;
const ERROR_ROWS = 4;
const MARGIN = 11;
const DOTS_PER_COLUMN = 8;

/**
 * A function, its approximation over it and their difference below, in lines of braille dots `width` columns
 * wide.
 */
export function drawCurves(
  { range, exact, approximation, maxError }: Curves,
  width: number,
  colours: Colours,
) {
  const columns = width - MARGIN;
  const [from, to] = range;
  const count = DOTS_PER_COLUMN * columns;
  const x = Array.from({ length: count + 1 }, (_, i) => Math.min(to, from + ((to - from) * i) / count));
  const wanted = x.map(exact);
  const got = x.map(approximation);
  const low = Math.min(...wanted, ...got);
  const high = Math.max(...wanted, ...got);
  const under = drawStrip(wanted, columns, low, high, ROWS);
  const over = drawStrip(got, columns, low, high, ROWS);
  const difference = drawStrip(
    x.map((_, i) => got[i] - wanted[i]),
    columns,
    -maxError,
    maxError,
    ERROR_ROWS,
  );
  const both = under.map((line, row) => overlay(line, over[row], colours));
  return [
    ...labelled(both, [short(high), short(low)], colours),
    '',
    ...labelled(
      difference.map((line) => colours.yellow(line.trimEnd())),
      [`+${short(maxError)}`, `-${short(maxError)}`],
      colours,
    ),
    colours.dim(`${' '.repeat(MARGIN)}${short(from)}${short(to).padStart(columns - short(from).length)}`),
  ];
}

/** Dots of both, in the second's colour where it has any. */
function overlay(first: string, second: string, colours: Colours): string {
  return Array.from(first, (a, i) => {
    const b = second[i];
    if (b === ' ') return a === ' ' ? ' ' : colours.dim(a);
    return colours.cyan(
      a === ' ' ? b : String.fromCodePoint((a.codePointAt(0) ?? 0) | (b.codePointAt(0) ?? 0)),
    );
  })
    .join('')
    .trimEnd();
}

function labelled(lines: string[], [top, bottom]: [string, string], colours: Colours): string[] {
  return lines.map((line, row) => {
    const label = row === 0 ? top : row === lines.length - 1 ? bottom : '';
    return `${colours.dim(label.padStart(MARGIN - 1))} ${line}`.trimEnd();
  });
}
