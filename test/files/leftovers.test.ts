import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, link, mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { removeLeftovers, temporaryName } from '../../src/files/leftovers.ts';
import { writeOutput } from '../../src/files/output.ts';
import { saveSmallModel, temporaryFolder } from '../cli/helpers.ts';

const folder = temporaryFolder();
/** Older than this process and an hour. */
const OLD = new Date(Date.now() - 86_400_000);
/** No process has this number: Linux stops at 2^22, others at 99999. */
const NOBODY = 2 ** 22 + 1;

async function put(at: string, name: string, time = OLD): Promise<string> {
  await mkdir(at, { recursive: true });
  await writeFile(join(at, name), 'x');
  await utimes(join(at, name), time, time);
  return join(at, name);
}

describe('removeLeftovers', () => {
  test('when files look exactly like ours and their process is gone, then they alone are removed', async () => {
    const at = join(folder, 'exact');
    const ours = [
      temporaryName('secret.key', '0123abcd', NOBODY),
      temporaryName('request.bin', 'ffffffff', NOBODY),
      '.secret.key.0123abcd.tmp',
    ];
    const others = [
      'secret.key',
      '.secret.key',
      'secret.key.0123abcd.5.tmp',
      '.secret.key.0123ABCD.tmp',
      '.secret.key.0123abc.tmp',
      '.secret.key.0123abcd.x.tmp',
      '.secret.key.0123abcd.05.tmp',
      '.secret.key.0123abcd.tmp~',
      '.secret.key.0123abcd.tmp\n',
      '..0123abcd.tmp',
    ];
    for (const name of [...ours, ...others]) await put(at, name);
    const { removed, kept } = await removeLeftovers(at);
    expect(removed.sort()).toEqual(ours.map((name) => join(at, name)).sort());
    expect(kept).toEqual([]);
    expect((await readdir(at)).sort()).toEqual(others.sort());
  });

  test('when one may be in use or is something else, then it stays and the reason is said', async () => {
    const at = join(folder, 'kept');
    const name = (random: string, pid = NOBODY) => temporaryName('secret.key', random, pid);
    await put(at, name('00000001', process.pid));
    await put(at, name('00000002', 1)); // not ours to signal, but alive
    await put(at, name('00000003'), new Date());
    await put(at, '.secret.key.00000004.tmp', new Date(Date.now() - 1_800_000));
    const precious = await put(at, 'precious');
    await symlink(precious, join(at, name('00000005')));
    await link(precious, join(at, name('00000006')));
    await mkdir(join(at, name('00000007')));
    const { removed, kept } = await removeLeftovers(at);
    expect(removed).toEqual([]);
    const reasons = Object.fromEntries(kept.map(({ path, why }) => [/0000000\d/.exec(path)?.[0], why]));
    expect(reasons).toEqual({
      '00000001': `process ${process.pid}, which may be writing it, is running`,
      '00000002': 'process 1, which may be writing it, is running',
      '00000003': 'it is too new to be left over',
      '00000004': 'it is too new to be left over',
      '00000005': 'it is no ordinary file',
      '00000006': 'it has a second name',
      '00000007': 'it is no ordinary file',
    });
    expect(await readdir(at)).toHaveLength(8);
  });

  test('when it belongs to somebody else, then it stays', async () => {
    const at = join(folder, 'foreign');
    await put(at, temporaryName('secret.key', '00000001', NOBODY));
    vi.spyOn(process, 'getuid').mockReturnValue((process.getuid?.() ?? 0) + 1);
    expect(await removeLeftovers(at)).toMatchObject({
      removed: [],
      kept: [{ why: 'it belongs to somebody else' }],
    });
    vi.restoreAllMocks();
  });

  test('when there is no such folder, or it is a file, then there is nothing', async () => {
    for (const path of [join(folder, 'nowhere'), await put(folder, 'file')])
      expect(await removeLeftovers(path)).toEqual({ removed: [], kept: [] });
  });

  test('when a file is written, then its temporary name is one of these', async () => {
    const at = join(folder, 'written');
    await mkdir(at);
    let seen: string[] = [];
    const pieces = (function* () {
      yield Uint8Array.of(1);
    })();
    const { next } = pieces;
    vi.spyOn(pieces, 'next').mockImplementation(() => {
      seen = seen.concat(process.getBuiltinModule('node:fs').readdirSync(at));
      return next.call(pieces);
    });
    await writeOutput(join(at, 'x.bin'), pieces);
    expect(seen[0]).toMatch(new RegExp(`^\\.x\\.bin\\.[0-9a-f]{8}\\.${process.pid}\\.tmp$`));
  });
});

describe('a keygen that is killed', () => {
  const model = join(folder, 'small');
  beforeAll(async () => {
    await saveSmallModel(model, { channels: [4] });
  });

  /** Runs the launcher; `onStderr` sees what it says. */
  async function keygen(out: string, onStderr: (text: string, child: ReturnType<typeof spawn>) => void) {
    const child = spawn(process.execPath, ['bin/blindbeat.js', 'keygen', '--model', model, '--out', out]);
    let stderr = '';
    child.stderr.on('data', (data) => {
      stderr += data;
      onStderr(stderr, child);
    });
    const [code, signal] = await once(child, 'close');
    return { code, signal, stderr };
  }

  test('when the next one starts in its folder, then the secret key that it left is named and removed', async () => {
    const out = join(folder, 'keys');
    const killed = await keygen(out, (text, child) => {
      if (text.includes('making evaluation keys')) child.kill('SIGKILL');
    });
    expect(killed.signal).toBe('SIGKILL');
    const left = await readdir(out);
    const secret = left.find((name) => name.startsWith('.secret.key.'));
    expect(secret).toMatch(/^\.secret\.key\.[0-9a-f]{8}\.\d+\.tmp$/);
    const { code, stderr } = await keygen(out, () => {});
    expect(code).toBe(0);
    for (const name of left)
      expect(stderr).toContain(`note: ${join(out, name)} was left by a run that was killed: removed`);
    expect((await readdir(out)).sort()).toEqual(['evaluation.keys', 'manifest.json', 'secret.key']);
  });

  test('when a leftover cannot be judged, then it is named and stays', async () => {
    const out = join(folder, 'busy');
    const busy = await put(out, temporaryName('secret.key', '00000001', process.pid));
    await chmod(busy, 0o600);
    const { code, stderr } = await keygen(out, () => {});
    expect(code).toBe(0);
    expect(stderr).toContain(
      `warning: ${busy} looks like a file of a run that was killed, but stays: process`,
    );
    expect(await readdir(out)).toHaveLength(4);
  });
});
