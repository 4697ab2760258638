import { CommanderError } from 'commander';
import { BlindbeatError, ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { coloursOf, type Io, print, printJson } from './io.ts';

/**
 * Tells an error and gives the exit code of the one error table: in words on standard error, or with --json
 * as `{ error: { code, message } }` on standard output, so that there is always exactly one object.
 */
export function reportError(error: unknown, args: string[], io: Io): number {
  if (error instanceof CommanderError && error.exitCode === 0) return 0; // --help, --version
  const json = wantsObject(args);
  const { code, message } = describe(error);
  if (json) printJson(io, { error: { code, message } });
  else if (!(error instanceof CommanderError)) {
    print(io.stderr, `${coloursOf(io.stderr).red('error:')} ${message}\n`);
  }
  if (code === 'INTERNAL') print(io.stderr, `${coloursOf(io.stderr).dim(stackOf(error))}\n`);
  return ERROR_CODES[code].exit;
}

/**
 * Whether standard output is to get one object; not if --json names a file for it, as some commands allow.
 */
function wantsObject(args: string[]): boolean {
  const at = args.indexOf('--json');
  const next = args[at + 1] ?? '-';
  return at >= 0 && (!JSON_TO_FILE.includes(args[0]) || next.startsWith('-'));
}

const JSON_TO_FILE = ['approx', 'evaluate'];

function describe(error: unknown): { code: ErrorCode; message: string } {
  if (error instanceof BlindbeatError) return { code: error.code, message: error.message };
  if (error instanceof CommanderError) {
    return { code: 'USAGE', message: error.message.replace(/^error: /, '') };
  }
  return {
    code: 'INTERNAL',
    message:
      `${firstLine(error)}\nThis is a fault of blindbeat, not yours. Please report it with the command ` +
      'and the lines on standard error.',
  };
}

function firstLine(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? '').split('\n').slice(1).join('\n') : '';
}
