import { type Command, InvalidArgumentError, Option } from 'commander';
import { ACTIVATIONS } from '../../approx/activations.ts';
import { type Approximation, isComposite, METHODS, type Method } from '../../approx/approximation.ts';
import { monomials } from '../../approx/chebyshev.ts';
import type { Distribution } from '../../approx/distribution.ts';
import { parseActivation } from '../../approx/expressions.ts';
import { type EvaluationScheme, evaluationScheme } from '../../approx/paterson-stockmeyer.ts';
import { type Curves, curveChart } from '../../charts/approximation.ts';
import { drawSvg } from '../../charts/svg.ts';
import { BlindbeatError } from '../../errors.ts';
import { readTextFile } from '../../files/input.ts';
import { OutputFiles, requireWritable } from '../../files/output.ts';
import { short } from '../../measure/format.ts';
import { examples, number } from '../options.ts';
import { drawCurves } from '../terminal/curve-drawing.ts';
import {
  type Colours,
  coloursOf,
  type Io,
  jsonText,
  printable,
  printJson,
  printLines,
  widthOf,
} from '../terminal/io.ts';
import { table } from '../terminal/table.ts';

/** As many characters of an expression as there is room for in the title of a picture. */
const PICTURE_CHARACTERS = 48;
/** Some million numbers. */
const MOST_SAMPLE_BYTES = 100e6;

interface ApproxOptions {
  degree: number[];
  range?: [number, number];
  method: Method;
  samples?: string;
  mean?: number;
  deviation?: number;
  svg?: string;
  /** A file; true for standard output. */
  json?: string | true;
}

/** `blindbeat approx`: what a polynomial in an activation's place costs, in accuracy and under encryption. */
export function addApprox(program: Command, io: Io): void {
  const command = program
    .command('approx')
    .summary('approximate an activation or an expression by a polynomial')
    .description(
      'Approximate an activation, or any expression of x, by a polynomial: its coefficients, how far it is ' +
        'from the function, and the levels and multiplications that evaluating it on ciphertexts takes.',
    )
    .argument(
      '<activation>',
      `${ACTIVATIONS.join(', ')}; or an expression of x in quotation marks ` +
        '(one that begins with - goes last, after --)',
    )
    .requiredOption('--degree <n>', '1 to 63; for composite the odd degrees of its stages, as 7,15', degrees)
    .option('--range <low,high>', 'inputs for which it is to hold (default: those of --samples)', range)
    .addOption(
      new Option('--method <name>', 'how the polynomial is chosen').choices([...METHODS]).default('minimax'),
    )
    .option('--samples <file>', 'inputs that were seen, as numbers in a text file: they weigh the errors')
    .option(
      '--mean <x>',
      'mean of normally distributed inputs (default: 0, with --deviation)',
      number(-1e9, 1e9),
    )
    .option('--deviation <x>', 'their standard deviation; instead of --samples', number(1e-9, 1e9))
    .option('--svg <file>', 'draw function, approximation and error')
    .option('--json [file]', 'write one JSON object; without a file on standard output')
    .action((name: string, options: ApproxOptions) => approx(name, options, io));
  examples(command, [
    'blindbeat approx relu --degree 7 --range -4,4',
    'blindbeat approx "x / (1 + exp(-1.702 x))" --degree 7 --range -4,4',
    'blindbeat approx gelu --degree 4 --range -6,6 --method least-squares \\\n' +
      '      --deviation 1.5 --svg gelu.svg',
    'blindbeat approx relu --degree 7,15 --range -10,10 --method composite',
    'blindbeat approx silu --degree 8 --samples inputs.txt --json silu.json',
  ]);
}

async function approx(name: string, options: ApproxOptions, io: Io): Promise<void> {
  const { json, svg } = options;
  const jsonFile = typeof json === 'string' ? json : undefined;
  for (const file of [jsonFile, svg]) if (file !== undefined) await requireWritable(file);
  const target = await parseActivation(name);
  // Loaded here: what it solves equations with takes 11 ms, which other commands should not pay.
  const { approximate, evaluateApproximation } = await import('../../approx/approximate.ts');
  const samples = options.samples === undefined ? undefined : await readSamples(options.samples);
  const found = approximate(target, {
    range: rangeOf(options, samples),
    degree: options.degree,
    method: options.method,
    distribution: distributionOf(options, samples),
  });
  const scheme = evaluationScheme(found);
  const curves: Curves = {
    range: found.range,
    exact: target.f,
    approximation: (x) => evaluateApproximation(found, x),
    maxError: found.maxError,
  };
  await using files = new OutputFiles();
  if (jsonFile !== undefined) await files.write(jsonFile, jsonText({ ...found, scheme }));
  if (svg !== undefined) await files.write(svg, await drawSvg(curveChart(curves, namesOf(found, scheme))));
  await files.commit();
  if (json === true) {
    printJson(io, { ...found, scheme });
    return;
  }
  const colours = coloursOf(io.stdout);
  const width = widthOf(io.stdout);
  printLines(io.stdout, [
    '',
    titleLine(found, width, colours),
    '',
    ...drawCurves(curves, width, colours),
    '',
    ...figureLines(found, scheme, weightedBy(options), colours),
    '',
    ...coefficientLines(found, colours),
    ...[jsonFile, svg].flatMap((file) => (file === undefined ? [] : [`  written: ${printable(file)}`])),
  ]);
}

/** What is approximated, how and where, on one line. */
function titleLine(found: Approximation, width: number, colours: Colours): string {
  const how = methodOf(found);
  const where = ` on [${found.range.join(', ')}]`;
  const left = width - `   by ${how}${where}`.length;
  return `  ${colours.bold(clipped(found.activation, left))} by ${colours.bold(how)}${where}`;
}

function methodOf(found: Approximation): string {
  return isComposite(found)
    ? `${found.method}, stages of degree ${found.degrees.join(', ')}`
    : `${found.method}, degree ${found.degree}`;
}

/** At most so many characters of a text, at least 20 of a longer one. */
function clipped(text: string, most: number): string {
  const shown = printable(text);
  return shown.length <= most ? shown : `${shown.slice(0, Math.max(20, most) - 1)}…`;
}

/** The names in a picture: of the two curves, and of what they are. */
function namesOf(found: Approximation, scheme: EvaluationScheme) {
  return {
    exact: clipped(found.activation, PICTURE_CHARACTERS),
    method: found.method,
    approximation: methodOf(found),
    subtitle:
      `[${found.range.join(', ')}]; largest error ${short(found.maxError)}, ` +
      `rms ${short(found.rmsError)}; ${costOf(scheme)}`,
  };
}

function costOf({ levels, multiplications, scalarMultiplications }: EvaluationScheme): string {
  const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
  const products = count(multiplications, 'multiplication');
  return `${count(levels, 'level')}, ${products}, ${scalarMultiplications} by numbers`;
}

function figureLines(
  found: Approximation,
  scheme: EvaluationScheme,
  weighted: string,
  colours: Colours,
): string[] {
  const fact = (name: string, text: string) => `  ${colours.dim(name.padEnd(15))}${text}`;
  const lines = [
    fact('largest error', `${found.maxError.toPrecision(6)} at ${short(found.maxErrorAt)}`),
    fact('rms error', `${found.rmsError.toPrecision(6)} over ${weighted}`),
    fact('encrypted', costOf(scheme)),
  ];
  if (scheme.factor !== 1)
    lines.push(fact('', `times ${short(scheme.factor)}, left to the next layer's weights`));
  if (isComposite(found)) lines.push(fact('whole degree', String(found.degree)));
  else if (found.minimax)
    lines.push(
      fact('no polynomial', `of this degree has an error below ${found.minimax.lowerBound.toPrecision(6)}`),
    );
  return lines;
}

function coefficientLines(found: Approximation, colours: Colours): string[] {
  const right = (title: string) => ({ title, align: 'right' as const });
  const digits = (v: number | undefined) => (v === undefined ? '' : v.toExponential(9));
  if (isComposite(found)) {
    const longest = Math.max(...found.degrees);
    const rows = Array.from({ length: (longest + 1) / 2 }, (_, i) => [
      `T${2 * i + 1}`,
      ...found.stages.map((stage) => digits(stage.coefficients[2 * i + 1])),
    ]);
    const shown = found.stages.slice(0, 4);
    return [
      ...table(
        [right(''), ...shown.map((_, i) => right(`stage ${i + 1}`))],
        rows.map((row) => row.slice(0, 5)),
        colours,
      ),
      ...(found.stages.length > 4 ? [`  ${colours.dim('and more stages: see --json')}`] : []),
    ];
  }
  const powers = powersOf(found);
  const rows = found.coefficients.map((c, k) => [
    String(k),
    digits(c),
    ...(Array.isArray(powers) ? [digits(powers[k])] : []),
    ...(found.hermite ? [digits(found.hermite.coefficients[k])] : []),
  ]);
  const columns = [
    right('k'),
    right('of T_k'),
    ...(Array.isArray(powers) ? [right('of x^k')] : []),
    ...(found.hermite ? [right('of h_k')] : []),
  ];
  return [
    ...table(columns, rows, colours),
    ...(Array.isArray(powers) ? [] : ['', `  ${colours.dim(powers)}`]),
  ];
}

/** Coefficients of powers, or why there are none. */
function powersOf(found: Approximation & { method: Exclude<Method, 'composite'> }): number[] | string {
  try {
    return monomials(found).coefficients;
  } catch (error) {
    if (error instanceof BlindbeatError)
      return 'No powers of x: more than 6 of 16 digits would be lost in them.';
    throw error;
  }
}

function weightedBy({ samples, mean = 0, deviation, range: given }: ApproxOptions): string {
  if (samples !== undefined) return `the inputs of ${printable(samples)}`;
  if (deviation !== undefined) return `a Gaussian of mean ${mean} and deviation ${deviation}`;
  return `[${given?.join(', ')}] evenly`;
}

function distributionOf({ mean = 0, deviation }: ApproxOptions, samples?: number[]): Distribution {
  if (samples !== undefined) return { kind: 'samples', values: samples };
  return deviation === undefined ? { kind: 'uniform' } : { kind: 'normal', mean, deviation };
}

function rangeOf(options: ApproxOptions, samples?: number[]): [number, number] {
  if (samples !== undefined && options.deviation !== undefined)
    throw new BlindbeatError('USAGE', 'Give --samples or --deviation, not both.');
  if (options.mean !== undefined && options.deviation === undefined)
    throw new BlindbeatError('USAGE', 'A --mean needs a --deviation.');
  if (options.range) return options.range;
  if (samples === undefined)
    throw new BlindbeatError('USAGE', 'Give the inputs for which it is to hold: --range -4,4 for example.');
  return [samples.reduce((a, b) => Math.min(a, b)), samples.reduce((a, b) => Math.max(a, b))];
}

/** Numbers between blanks, line breaks, commas or semicolons. */
async function readSamples(path: string): Promise<number[]> {
  const text = await readTextFile(path, 'numbers', MOST_SAMPLE_BYTES);
  const words = text.split(/[\s,;]+/).filter((word) => word !== '');
  const samples = words.map(Number);
  const wrong = samples.findIndex((v) => !Number.isFinite(v));
  if (samples.length > 0 && wrong < 0) return samples;
  const got = samples.length === 0 ? 'none' : `"${words[wrong].slice(0, 20)}" as number ${wrong + 1}`;
  throw new BlindbeatError(
    'USAGE',
    `${path}: expected numbers between blanks, commas or line breaks, got ${got}.`,
  );
}

function degrees(text: string): number[] {
  const list = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (list.every((d) => d >= 1 && d <= 63)) return list;
  throw new InvalidArgumentError('Expected a whole number from 1 to 63, or for composite several, as 7,15.');
}

function range(text: string): [number, number] {
  const ends = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (ends.length === 2 && ends.every(Number.isFinite)) {
    if (ends[0] < ends[1]) return [ends[0], ends[1]];
    throw new InvalidArgumentError('The first number must be the lower one, as in -4,4.');
  }
  throw new InvalidArgumentError('Expected two numbers with a comma, as -4,4.');
}
