import { writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { BlindbeatError } from '../../src/errors.ts';
import { formatMs } from '../../src/measure/format.ts';
import { environment, ROOT } from './environment.ts';

/** Of everything random that needs not be secret. */
export const SEED = 1;

/** What every benchmark can be asked for, as options of `parseArgs`. */
export const OUTPUT_OPTIONS = {
  /** The result as JSON in place of tables. */
  json: { type: 'boolean', default: false },
  /** A file for the JSON, beside what is printed. */
  out: { type: 'string' },
} as const;

/** What the file of every benchmark begins with. */
export interface Head {
  machine: ReturnType<typeof environment>;
  command: string;
  seed: number;
  data: string;
}

const started = performance.now();

/** Runs a benchmark: an error that has words for it is told by them alone. */
export async function runBenchmark(measure: () => Promise<void>): Promise<void> {
  try {
    await measure();
  } catch (error) {
    if (!(error instanceof BlindbeatError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = error.exitCode;
  }
}

/** Says on stderr how far a benchmark is. */
export function note(what: string): void {
  console.error(`${formatMs(performance.now() - started).padStart(12)}  ${what}`);
}

/** @param data what was evaluated */
export function head(data: string): Head {
  return { machine: environment(), command: commandLine(process.argv), seed: SEED, data };
}

/** The command that a file says it came from: without the options that say where it goes. */
export function commandLine([, script, ...args]: string[]): string {
  const isWhere = (arg: string | undefined) => arg === '--out' || arg === '--svg';
  const kept = args.filter((arg, i) => arg !== '--json' && !isWhere(arg) && !isWhere(args[i - 1]));
  return ['node', relative(ROOT, script), ...kept].join(' ');
}

/** Prints the result as it was asked for, by `show` if not as JSON, and writes it where it was asked for. */
export async function publish(
  result: Head & object,
  { json, out }: { json: boolean; out?: string },
  show: () => void,
): Promise<void> {
  const text = JSON.stringify(result, null, 2);
  if (out !== undefined) await writeFile(out, `${text}\n`);
  if (json) {
    console.log(text);
    return;
  }
  const { machine, command, data, seed } = result;
  for (const line of ['', command, ...machineLines(machine), `${data}; seed ${seed}`]) console.log(line);
  show();
}

/** Machine, load and versions in words. */
export function machineLines(machine: Head['machine']): string[] {
  const { cpu, cores, memoryGiB, date, load, commit = 'unknown', blindbeat, node, nodeSeal } = machine;
  return [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB, load ${load.before} before, ${load.after} after; ${date}`,
    `blindbeat ${blindbeat} (commit ${commit}), Node ${node}, node-seal ${nodeSeal}`,
  ];
}

/**
 * One of the texts that an option can have.
 *
 * @throws BlindbeatError USAGE for any other
 */
export function oneOf<T extends string>(option: string, value: string, texts: readonly T[]): T {
  if ((texts as readonly string[]).includes(value)) return value as T;
  throw new BlindbeatError('USAGE', `--${option}: expected ${texts.join(', ')}, got "${value}"`);
}

/**
 * A whole number that an option has.
 *
 * @throws BlindbeatError USAGE for anything else, or less than `least`
 */
export function whole(option: string, value: string, least = 1): number {
  const number = Number(value);
  if (/^\d+$/.test(value) && Number.isSafeInteger(number) && number >= least) return number;
  throw new BlindbeatError(
    'USAGE',
    `--${option}: expected a whole number of at least ${least}, got "${value}"`,
  );
}
