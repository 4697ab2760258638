import { type Command, InvalidArgumentError, Option } from 'commander';
import { BACKENDS, type BackendName } from '../ckks/evaluator/backend.ts';
import { MOST_THREADS } from '../ckks/evaluator/fast/kernels/threads.ts';
import { KEY_SWITCHINGS, type KeySwitching } from '../ckks/keyswitch/gadget.ts';
import type { CompileOptions } from '../ckks/planner/compile.ts';
import type { Outputs } from '../ckks/wire/manifest.ts';
import { DISCLOSURE } from '../model/disclose.ts';
import { readCosts } from './files/input.ts';
import { type Io, warn } from './terminal/io.ts';

/** `--model`; by default the shipped one. */
export function modelOption(): Option {
  return new Option('-m, --model <name|dir>', 'name of a shipped model, or a folder with one').default(
    'deepcardio-deg2',
  );
}

/** `--json`, for commands that print one object. */
export function jsonOption(): Option {
  return new Option('--json', 'print one JSON object on standard output, errors included');
}

/** What the user may choose about a plan. Another choice is another plan: all its commands need the same. */
export interface PlanChoice {
  model: string;
  outputs: Outputs;
  keyBudget?: number;
  keySwitching?: KeySwitching;
  scheduleCosts?: string;
}

/**
 * Adds the options of `PlanChoice`.
 *
 * @param without those that the command has not
 * @param conflict name of an option that cannot be given with any of them
 */
export function planOptions(
  command: Command,
  io: Io,
  { without = [], conflict }: { without?: (keyof PlanChoice)[]; conflict?: string } = {},
): Command {
  const options: Record<keyof PlanChoice, Option> = {
    model: modelOption(),
    outputs: new Option(
      '--outputs <what>',
      'what the reply carries: the scores, or also where the evidence is',
    )
      .choices(['scores', 'scores+map'] satisfies Outputs[])
      .default('scores'),
    keyBudget: new Option(
      '--key-budget <MB>',
      'evaluation keys at most, in megabytes; fewer are slower. Default: 48, per-prime keys 64, or as few as the network allows',
    ).argParser(number(1, 1000)),
    keySwitching: new Option(
      '--key-switching <kind>',
      'hybrid keys, with several primes to a digit, or per-prime ones, as SEAL has them; another plan, ' +
        'the same option for all its commands. Default: hybrid, for the backend seal per-prime',
    )
      .choices([...KEY_SWITCHINGS])
      .argParser((word) => keySwitchingNamed(word, io)),
    scheduleCosts: new Option(
      '--schedule-costs <file>',
      'choose rotations by costs measured with bench --calibrate: another plan, the same option for all ' +
        'its commands',
    ),
  };
  for (const [name, option] of Object.entries(options)) {
    if (without.includes(name as keyof PlanChoice)) continue;
    command.addOption(conflict === undefined ? option : option.conflicts(conflict));
  }
  return command;
}

/** Words of the last release, and today's. */
const OLD_WORDS = new Map<string, KeySwitching>([
  ['grouped', 'hybrid'],
  ['seal', 'per-prime'],
]);

/** The kind that a word of --key-switching names. An old word is taken with a note on standard error. */
function keySwitchingNamed(word: string, io: Io): KeySwitching {
  const now = OLD_WORDS.get(word);
  if (now !== undefined)
    warn(io, [`${word} is now called ${now}; the old word goes with the next release`], 'note');
  const known = now ?? KEY_SWITCHINGS.find((kind) => kind === word);
  if (known === undefined)
    throw new InvalidArgumentError(`Allowed choices are ${KEY_SWITCHINGS.join(', ')}.`);
  return known;
}

/** What was chosen about a plan and the backend, as `compile` takes it. */
export async function compileOptions({
  outputs,
  backend,
  keyBudget,
  keySwitching,
  scheduleCosts,
}: Partial<PlanChoice & BackendChoice>): Promise<CompileOptions> {
  return {
    ...(outputs !== undefined && { outputs }),
    ...(backend !== undefined && { backend }),
    ...(keySwitching !== undefined && { keySwitching }),
    ...(keyBudget !== undefined && { keyBudget: 1e6 * keyBudget }),
    ...(scheduleCosts !== undefined && { costs: await readCosts(scheduleCosts) }),
  };
}

/** What computes on ciphertexts. */
export interface BackendChoice {
  backend: BackendName;
  threads?: number;
}

/** Adds the options of `BackendChoice`. */
export function backendOptions(command: Command): Command {
  const backend = new Option(
    '--backend <name>',
    "what computes on ciphertexts: blindbeat's own kernels, or node-seal; the same results with the same " +
      '--key-switching',
  );
  return command.addOption(backend.choices([...BACKENDS]).default('fast')).addOption(threadsOption());
}

/** `--threads` of the computation. */
export function threadsOption(): Option {
  return new Option('--threads <n>', 'how many threads compute (default: one for every core)').argParser(
    wholeNumber(1, MOST_THREADS),
  );
}

/** `--exact`: scores with all their digits. */
export function exactOption(): Option {
  return new Option(
    '--exact',
    'print scores unrounded. Never publish them or send them back: their noise tells about the secret key',
  );
}

/** `--disclose`: only what may be told to others. */
export function discloseOption(): Option {
  const { noise, step, answers } = DISCLOSURE;
  return new Option(
    '--disclose',
    `for reports to others: only the class and its probability in steps of ${step}, after noise of ${noise} on ` +
      `every score, new in each run. At most ${answers} reports with one key, then make new keys`,
  ).conflicts('exact');
}

/** Adds command lines to a command's help, after its options. */
export function examples(command: Command, lines: string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}

/** Parses a whole number within bounds. */
export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a whole number${range(low, high)}.`);
  };
}

/** Parses a number within bounds. */
export function number(low: number, high = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number${range(low, high)}.`);
  };
}

/** Parses one of some words, with a message for lists of them. */
export function oneOf<T extends string>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((c) => c === text);
    if (found === undefined) throw new InvalidArgumentError(`Expected some of ${choices.join(', ')}.`);
    return found;
  };
}

/** An option that takes a list between commas, each item once. */
export function listOption<T>(
  flags: string,
  description: string,
  parse: (text: string) => T,
  preset?: readonly T[],
): Option {
  const option = new Option(flags, description).argParser((text: string) => [
    ...new Set(text.split(',').map((part) => parse(part.trim()))),
  ]);
  return preset === undefined ? option : option.default([...preset], preset.join());
}

function range(low: number, high: number): string {
  if (high < Number.MAX_SAFE_INTEGER) return ` from ${low} to ${high}`;
  return low > Number.MIN_SAFE_INTEGER ? ` of at least ${low}` : '';
}
