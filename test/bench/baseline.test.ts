import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkOut } from '../../bench/baseline/checkout.ts';
import { compare } from '../../bench/baseline/compare.ts';
import { git } from '../../bench/shared/environment.ts';
import { temporaryFolder } from '../cli/helpers.ts';
import { fakeProbe } from './probes.ts';

const folder = temporaryFolder();
const ROOT = join(import.meta.dirname, '../..');

describe('compare', () => {
  test('when the machine slows down from run to run then ratios are those of runs in turn', () => {
    const { figures, stages } = compare([
      { before: fakeProbe([100, 1000, 8000]), now: fakeProbe([50, 600, 4000]) },
      { before: fakeProbe([3000, 400]), now: fakeProbe([900, 200]) },
    ]);
    const row = (what: string) => figures.find((figure) => figure.what === what);
    expect(row('evaluate, warm')).toEqual({
      what: 'evaluate, warm',
      unit: 'ms',
      before: 1000,
      now: 600,
      ratio: 0.5,
    });
    expect(row('processor time of one')).toMatchObject({ before: 2000, now: 1200, ratio: 0.5 });
    expect(row('cold: both together')).toMatchObject({ before: 1200, now: 1200, ratio: 1 });
    expect(stages.map(({ what, now }) => [what, now])).toEqual([
      ['block 1', 450],
      ['dense', 150],
    ]);
  });

  test('when releases have other stages then those of both are compared', () => {
    const now = fakeProbe([100]);
    now.server.runs[0].stages = [
      { name: 'start', ms: 1 },
      { name: 'dense', ms: 50 },
    ];
    const { stages } = compare([{ before: fakeProbe([100]), now }]);
    expect(stages).toEqual([{ what: 'dense', unit: 'ms', before: 25, now: 50, ratio: 2 }]);
  });

  test('when classes and scores differ then it is told how many and how far', () => {
    const before = fakeProbe([1]);
    const comparison = compare([
      { before, now: fakeProbe([1], { scores: [1.25, 0, 0, -0.5] }) },
      { before, now: fakeProbe([1], { class: 'A', scores: [1, 0, 0, 0] }) },
    ]);
    expect(comparison).toMatchObject({ sameClass: 1, largestDifference: 0.5 });
  });
});

/** Without a clone there is nothing to check out; with packages that HEAD has not, they would be installed. */
function hasPackagesOfHead(): boolean {
  try {
    return git('diff', '--name-only', 'HEAD', '--', 'package-lock.json') === '';
  } catch {
    return false;
  }
}

describe('checkOut', () => {
  test.runIf(hasPackagesOfHead())(
    'when a commit is checked out then its files and our packages are there, and once is enough',
    async () => {
      const cache = join(folder, 'releases');
      const first = await checkOut('HEAD', cache);
      expect(existsSync(join(first, 'src/index.ts'))).toBe(true);
      expect(existsSync(join(first, 'models/deepcardio-deg2/weights.bin'))).toBe(true);
      expect(existsSync(join(first, 'prebuilds/linux-x64/kernels.node'))).toBe(true);
      expect(realpathSync(join(first, 'node_modules'))).toBe(realpathSync(join(ROOT, 'node_modules')));
      expect(await checkOut('HEAD', cache)).toBe(first);
    },
  );

  test.each(['0000000', 'no-such-branch', '--help'])(
    'when git has no commit %s then the error says what is needed',
    async (commit) => {
      await expect(checkOut(commit, join(folder, 'none'))).rejects.toMatchObject({
        code: 'ENVIRONMENT',
        message: expect.stringMatching(/git does not have here.*clone with its history/),
      });
      expect(existsSync(join(folder, 'none'))).toBe(false);
    },
  );

  test('when the release before is read then it names a whole commit', () => {
    const release = JSON.parse(readFileSync(join(ROOT, 'bench/baseline/release.json'), 'utf8'));
    expect(release).toEqual({ name: expect.any(String), commit: expect.stringMatching(/^[0-9a-f]{40}$/) });
  });
});
