import { execFileSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { resolve } from 'node:path';
import { machine } from '../../src/measure/machine.ts';

/** The repository. */
export const ROOT = resolve(import.meta.dirname, '../..');

const before = load();

/**
 * What a benchmark was measured on: machine and versions, how busy the machine was in the minute before the
 * benchmark and in its last one, and which code it was.
 */
export function environment() {
  return { ...machine(), load: { before, after: load() }, commit: commit() };
}

/** Processes that ran or waited in the last minute; on Windows 0. */
function load(): number {
  return Number(loadavg()[0].toFixed(2));
}

/**
 * The commit that is checked out, and whether files of it were changed, results aside; nothing where there is no
 * git.
 */
function commit(): string | undefined {
  try {
    const head = git('rev-parse', '--short=7', 'HEAD').trim();
    return git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!bench/results') === ''
      ? head
      : `${head}, changed`;
  } catch {
    return undefined;
  }
}

/**
 * What git prints; of this repository.
 *
 * @throws Error when there is no git, no repository, or git fails
 */
export function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
