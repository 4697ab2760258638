import { type Command, InvalidArgumentError, Option } from 'commander';
import { BACKENDS } from '../ckks/evaluator/backend.ts';
import { MOST_THREADS } from '../ckks/evaluator/fast/kernels/threads.ts';
import { KEY_SWITCHINGS, type KeySwitching } from '../ckks/keyswitch/gadget.ts';
import type { PlanOptions } from '../ckks/planner/compile.ts';
import type { Outputs } from '../ckks/wire/manifest.ts';
import { readCosts } from './files/input.ts';

/** The model that commands take when none is named. */
const DEFAULT_MODEL = 'deepcardio-deg2';

export function modelOption(): Option {
  return new Option('-m, --model <name|dir>', 'name of a shipped model, or a folder with one').default(
    DEFAULT_MODEL,
  );
}

export function jsonOption(): Option {
  return new Option('--json', 'print one JSON object on standard output, errors included');
}

export function outputsOption(): Option {
  return new Option('--outputs <what>', 'what the reply carries: the scores, or also where the evidence is')
    .choices(['scores', 'scores+map'] satisfies Outputs[])
    .default('scores');
}

/** What the user may choose about rotations and their keys. It makes another plan, so all commands of a plan need the same. */
export interface ScheduleOptions {
  keyBudget?: number;
  keySwitching?: KeySwitching;
  scheduleCosts?: string;
}

export function keyBudgetOption(): Option {
  return new Option(
    '--key-budget <MB>',
    'evaluation keys at most, in megabytes; fewer are slower. Default: 64, or as few as the network allows',
  ).argParser(number(1, 1000));
}

export function keySwitchingOption(): Option {
  return new Option(
    '--key-switching <kind>',
    "keys with several primes to a digit, or SEAL's; another plan, the same option for all its commands. Default: grouped, for the backend seal its own",
  ).choices([...KEY_SWITCHINGS]);
}

export function scheduleCostsOption(): Option {
  return new Option(
    '--schedule-costs <file>',
    'choose rotations by costs measured with bench --calibrate: another plan, the same option for all its commands',
  );
}

/** The part of a plan's options that is about rotations. */
export async function scheduleChoice({
  keyBudget,
  keySwitching,
  scheduleCosts,
}: ScheduleOptions): Promise<Pick<PlanOptions, 'keyBudget' | 'keySwitching' | 'costs'>> {
  return {
    ...(keySwitching !== undefined && { keySwitching }),
    ...(keyBudget !== undefined && { keyBudget: 1e6 * keyBudget }),
    ...(scheduleCosts !== undefined && { costs: await readCosts(scheduleCosts) }),
  };
}

export function backendOption(): Option {
  return new Option(
    '--backend <name>',
    "what computes on ciphertexts: blindbeat's own kernels, or node-seal; the same results with the same --key-switching",
  )
    .choices([...BACKENDS])
    .default('fast');
}

export function threadsOption(): Option {
  return new Option('--threads <n>', 'how many threads compute (default: one for every core)').argParser(
    wholeNumber(1, MOST_THREADS),
  );
}

export function exactOption(): Option {
  return new Option(
    '--exact',
    'print scores unrounded. Never publish them or send them back: their noise tells about the secret key',
  );
}

/** Text after a command's options. */
export function examples(command: Command, lines: string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}

export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a whole number${range(low, high)}.`);
  };
}

export function number(low: number, high = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number${range(low, high)}.`);
  };
}

function range(low: number, high: number): string {
  if (high < Number.MAX_SAFE_INTEGER) return ` from ${low} to ${high}`;
  return low > Number.MIN_SAFE_INTEGER ? ` of at least ${low}` : '';
}
