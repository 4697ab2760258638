import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** What killed runs left in a folder. */
export interface Leftovers {
  /** Paths of files that are gone now. */
  removed: string[];
  /** Of those that had to stay, with the reason in words. */
  kept: { path: string; why: string }[];
}

/** The name of a file of `OutputFiles` before it gets its own: NAME, a random part, the process that writes it. */
export function temporaryName(name: string, random: string, pid = process.pid): string {
  return `.${name}.${random}.${pid}.tmp`;
}

/** Names without the process are of runs that did not write it. */
const TEMPORARY = /^\..+\.[0-9a-f]{8}(?:\.([1-9]\d{0,9}))?\.tmp$/;
/** Whether a run that its name does not tell still writes a file cannot be known: in an hour it is done. */
const SURELY_OLD_MS = 3_600_000;

/**
 * Removes from a folder the temporary files of `OutputFiles` whose process is no more: ordinary files of this
 * user, with no second name, older than this process. Nothing else is touched, and no link is followed. A
 * folder that is not there or cannot be listed has none.
 */
export async function removeLeftovers(folder: string): Promise<Leftovers> {
  const left: Leftovers = { removed: [], kept: [] };
  for (const name of await readdir(folder).catch(() => [])) {
    const temporary = TEMPORARY.exec(name);
    if (!temporary) continue;
    const path = join(folder, name);
    const why = await reasonToKeep(path, temporary[1] === undefined ? null : Number(temporary[1]));
    if (why === null) left.removed.push(path);
    else left.kept.push({ path, why });
  }
  return left;
}

/** Removes a file, or says why not. */
async function reasonToKeep(path: string, pid: number | null): Promise<string | null> {
  try {
    const found = await lstat(path);
    if (!found.isFile()) return 'it is no ordinary file';
    if (found.nlink > 1) return 'it has a second name';
    if (process.getuid && found.uid !== process.getuid()) return 'it belongs to somebody else';
    if (pid !== null && isRunning(pid)) return `process ${pid}, which may be writing it, is running`;
    const old = pid === null ? Date.now() - SURELY_OLD_MS : performance.timeOrigin;
    if (!(found.mtimeMs < old)) return 'it is too new to be left over';
    await rm(path);
    return null;
  } catch (cause) {
    return `it cannot be removed (${(cause as NodeJS.ErrnoException).code})`;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // asks only
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
