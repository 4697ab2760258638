import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BlindbeatError } from '../../src/errors.ts';
import { git, ROOT } from '../shared/environment.ts';

/** Where releases are kept; git ignores it. */
const CACHE = join(ROOT, 'runs/baseline');

/**
 * The folder of a release, ready to be used: its files as git has them, and its packages, which are this
 * clone's where both want the same. Made once, and kept.
 *
 * @param commit as git names it
 * @param cache where releases are kept
 * @throws BlindbeatError ENVIRONMENT where there is no git, no clone or no such commit, or its packages
 * cannot be installed
 */
export async function checkOut(commit: string, cache = CACHE): Promise<string> {
  const full = resolveCommit(commit);
  const folder = join(cache, full);
  if (existsSync(folder)) return folder;
  const part = `${folder}.part`;
  await rm(part, { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  const archive = join(part, 'archive.tar');
  git('archive', '--format=tar', `--output=${archive}`, full);
  run('tar', ['-xf', archive, '-C', part]);
  await rm(archive);
  await installPackages(part);
  await rename(part, folder);
  return folder;
}

/** @throws BlindbeatError ENVIRONMENT */
function resolveCommit(commit: string): string {
  try {
    return git('rev-parse', '--verify', '--quiet', '--end-of-options', `${commit}^{commit}`).trim();
  } catch (cause) {
    throw new BlindbeatError(
      'ENVIRONMENT',
      `the release to compare with is commit ${commit}, which git does not have here: the comparison needs a ` +
        'clone with its history (git fetch --unshallow), not a published package',
      { cause },
    );
  }
}

async function installPackages(folder: string): Promise<void> {
  const [theirs, ours] = await Promise.all(
    [folder, ROOT].map((root) => readFile(join(root, 'package-lock.json'), 'utf8')),
  );
  if (theirs === ours) await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'junction');
  else run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], folder);
}

/** @throws BlindbeatError ENVIRONMENT with what the program said */
function run(program: string, args: string[], cwd?: string): void {
  try {
    execFileSync(program, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (cause) {
    const said = String((cause as { stderr?: Buffer }).stderr ?? cause).trim();
    throw new BlindbeatError('ENVIRONMENT', `the release cannot be made ready: ${program} failed\n${said}`, {
      cause,
    });
  }
}
