import { appendFileSync, existsSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { readManifest } from '../../src/cli/files/input.ts';
import { readRecording } from '../../src/ecg/files.ts';
import { isFile, readHead, readPieces, readWhole, readWholeNow } from '../../src/files/input.ts';
import { loadModel } from '../../src/model/files.ts';
import { blindbeat, saveSmallModel, temporaryFolder } from '../cli/helpers.ts';
import { ODD_FILES, type OddFile, putOdd, SOON } from '../helpers/odd-files.ts';

const folder = temporaryFolder();
let count = 0;
/** A path that nothing is at. */
const at = (name: string) => join(folder, `${count++}-${name}`);
afterEach(() => vi.restoreAllMocks());

const KINDS = Object.entries(ODD_FILES) as [OddFile, string][];
const what = 'a thing';

/** A file that is read piece by piece. */
async function inPieces(path: string, options: { what: string; limit: number }): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of readPieces(path, options)) pieces.push(piece.slice());
  return pieces;
}

/** What a call throws, and that it does so soon. */
async function refusal(call: () => unknown): Promise<unknown> {
  const started = performance.now();
  try {
    return [await call()];
  } catch (error) {
    return error;
  } finally {
    expect(performance.now() - started).toBeLessThan(SOON);
  }
}

function fileError(words: string, code = 'FILE') {
  return expect.objectContaining({ code, message: expect.stringContaining(words) });
}

describe('a file that is read', () => {
  test('when it is an ordinary one, then all of it comes, or its beginning', async () => {
    const path = at('file');
    await writeFile(path, 'hello');
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    for (const limit of [5, 6, 1e9]) {
      expect(text(await readWhole(path, { what, limit }))).toBe('hello');
      expect(text(readWholeNow(path, { what, limit }))).toBe('hello');
    }
    const head = await readHead(path, 3, { what });
    expect([text(head.bytes), head.size]).toEqual(['hel', 5]);
    expect(text((await readHead(path, 9, { what })).bytes)).toBe('hello');
    await writeFile(path, '');
    expect(await readWhole(path, { what, limit: 0 })).toEqual(new Uint8Array());
    expect(isFile(path)).toBe(true);
  });

  test('when it is larger than it may be, then nothing of it is read', async () => {
    const path = at('file');
    await writeFile(path, 'hello');
    const options = { what, limit: 4, tooLarge: 'ECG' } as const;
    const error = fileError('a thing of at most 4 B at', 'ECG');
    expect(await refusal(() => readWhole(path, options))).toEqual(error);
    expect(await refusal(() => readWholeNow(path, options))).toEqual(error);
    expect(await refusal(() => inPieces(path, options))).toEqual(error);
  });

  test('when it is read piece by piece, then all of it comes in order, and few at once', async () => {
    const path = at('file');
    for (const size of [0, 1, 1 << 20, (1 << 20) + 1, 3_500_000]) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 2654435761) >>> 24);
      await writeFile(path, bytes);
      const pieces = await inPieces(path, { what, limit: size });
      expect(Buffer.compare(Buffer.concat(pieces), bytes)).toBe(0);
      expect(Math.max(0, ...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(1 << 20);
    }
  });

  test('when it is cut or added to between its pieces, then that is said', async () => {
    const path = at('file');
    const changes = [() => truncateSync(path, 2_000_000), () => appendFileSync(path, 'more')];
    for (const change of changes) {
      await writeFile(path, new Uint8Array(5_000_000));
      const read = async () => {
        let first = true;
        for await (const _ of readPieces(path, { what, limit: 1e9 })) {
          if (first) change();
          first = false;
        }
      };
      expect(await refusal(read)).toEqual(fileError('changed while'));
    }
  });

  test.each(KINDS)('when %s has its name, then it is refused at once: %s', async (kind, words) => {
    const path = at('odd');
    await putOdd(kind, path);
    expect(await refusal(() => readWhole(path, { what, limit: 1e9 }))).toEqual(fileError(words));
    expect(await refusal(() => readWholeNow(path, { what, limit: 1e9 }))).toEqual(fileError(words));
    expect(await refusal(() => inPieces(path, { what, limit: 1e9 }))).toEqual(fileError(words));
    if (kind === 'a file of 10 TB') return;
    expect(await refusal(() => readHead(path, 10, { what }))).toEqual(fileError(words));
    expect(isFile(path)).toBe(false);
  });

  test('when a pipe takes the place of a file that was looked at, then nobody waits for it', async () => {
    const path = at('pipe');
    await putOdd('a pipe', path);
    const { isFile } = (await import('node:fs')).Stats.prototype;
    const seen = vi.spyOn((await import('node:fs')).Stats.prototype, 'isFile');
    seen
      .mockImplementationOnce(() => true)
      .mockImplementation(function (this: never) {
        return isFile.call(this);
      });
    expect(await refusal(() => readWhole(path, { what, limit: 1e9 }))).toEqual(fileError('a pipe'));
    seen.mockImplementationOnce(() => true);
    expect(await refusal(() => readWholeNow(path, { what, limit: 1e9 }))).toEqual(fileError('a pipe'));
  });

  test.each<[string, (path: string) => void]>([
    ['grows', (path) => appendFileSync(path, 'more')],
    ['shrinks', (path) => truncateSync(path, 10)],
  ])('when it %s while it is read, then that is said and no more is read', async (_, change) => {
    const path = at('alive');
    await writeFile(path, new Uint8Array(1000));
    const handle = await open(path);
    const prototype = Object.getPrototypeOf(handle);
    await handle.close();
    const { read } = prototype;
    vi.spyOn(prototype, 'read').mockImplementationOnce(function (this: unknown, ...args: unknown[]) {
      change(path);
      return read.apply(this, args);
    });
    expect(await refusal(() => readWhole(path, { what, limit: 1e6 }))).toEqual(fileError('changed while'));
  });

  test.skipIf(!existsSync('/proc/self/status'))(
    'when the system makes its content up, then it is none',
    async () => {
      const path = '/proc/self/status';
      expect(await refusal(() => readWhole(path, { what, limit: 1e6 }))).toEqual(fileError('changed'));
      expect(await refusal(() => readWholeNow(path, { what, limit: 1e6 }))).toEqual(fileError('changed'));
    },
  );

  test.each(['a\0b', 'x'.repeat(5000)])('when no file can have the name, then that is said', async (name) => {
    expect(await refusal(() => readWhole(join(folder, name), { what, limit: 9 }))).toEqual(fileError('name'));
    expect(await refusal(() => readWholeNow(join(folder, name), { what, limit: 9 }))).toEqual(
      fileError('name'),
    );
    expect(isFile(join(folder, name))).toBe(false);
  });
});

describe('inputs of commands that are no files', () => {
  const kinds = KINDS.filter(([kind]) => kind !== 'a link to nowhere');

  test.each(kinds)('when %s is given for an ECG, then it is refused at once', async (kind, words) => {
    const code = kind === 'a file of 10 TB' ? 'ECG' : 'FILE';
    for (const extension of ['csv', 'TXT', 'hea']) {
      const path = at(`ecg.${extension}`);
      await putOdd(kind, path);
      expect(await refusal(() => readRecording(path))).toEqual(fileError(words, code));
    }
    const record = at('record');
    const signal = `${record.split('/').at(-1)}.dat`;
    await putOdd(kind, `${record}.dat`);
    writeFileSync(`${record}.hea`, `record 1 300 9000\n${signal} 16 200 16 0 0 0 0 I\n`);
    for (const path of [record, `${record}.hea`])
      expect(await refusal(() => readRecording(path))).toEqual(fileError(words, code));
    if (kind !== 'a file of 10 TB')
      expect(await refusal(() => readRecording(`${record}.dat`))).toEqual(fileError(words));
  });

  test.each(kinds)('when %s is given for a part of a model, then it is refused', async (kind, words) => {
    const code = kind === 'a file of 10 TB' ? 'MODEL' : 'FILE';
    for (const part of ['model.json', 'weights.bin']) {
      const model = await saveSmallModel(at('model'), { channels: [4] });
      await rm(join(model, part));
      await putOdd(kind, join(model, part));
      const missing = kind === 'a circle of links' && part === 'model.json';
      const error = missing ? fileError('There is no model') : fileError(words, code);
      expect(await refusal(() => loadModel(model))).toEqual(error);
    }
  });

  test.each(kinds)('when %s is given to a command, then it ends at once with words', async (kind, words) => {
    const odd = at('odd');
    await putOdd(kind, odd);
    const keys = at('keys');
    await mkdir(keys);
    await putOdd(kind, join(keys, 'manifest.json'));
    const commands: [string[], number][] = [
      [['keygen', '--manifest', odd, '--out', at('out')], 6],
      [['plan', '--costs', odd], 6],
      [['decrypt', 'reply.bin', '--keys', keys], 6],
      [['infer', odd, '--keys', odd, '--out', at('reply')], 6],
      [['approx', 'relu', '--degree', '3', '--samples', odd], 8],
    ];
    for (const [args, tooLarge] of commands) {
      const started = performance.now();
      const { code, stderr } = await blindbeat(...args);
      expect([args[0], code]).toEqual([args[0], kind === 'a file of 10 TB' ? tooLarge : 8]);
      if (args[0] !== 'infer' || code === 8) expect(stderr).toContain(words);
      expect(performance.now() - started).toBeLessThan(2 * SOON);
    }
    const { code, stderr } = await blindbeat('evaluate', '--data', odd);
    expect([kind, code]).toEqual([kind, kind === 'a file of 10 TB' ? 8 : 10]);
    expect(stderr).toMatch(/no CinC 2017 data set at|at most 2.00 GB/);
  });

  test('when a manifest grows beyond its limit, then the code is that of a foreign file', async () => {
    const path = at('manifest.json');
    await writeFile(path, 'x'.repeat(2 << 20));
    expect(await refusal(() => readManifest(path))).toEqual(fileError('of at most 1.05 MB', 'FORMAT'));
  });
});

test.each([
  '../secret.dat',
  '/etc/passwd',
  '..\\secret.dat',
  'C:secret.dat',
  '~root',
  '.',
  '..',
  '-',
  'a\0.dat',
  'a\u202e.dat',
  'a*.dat',
])('when a header names %j as its signal file, then it is not looked for', async (name) => {
  const path = at('trick.hea');
  await writeFile(path, `trick 1 300 10\n${name} 16 200 16 0 0 0 0 I\n`);
  expect(await refusal(() => readRecording(path))).toEqual(
    fileError('expected a signal file beside the header', 'ECG'),
  );
});

test('when a header has more signals than any recorder, then it is refused at once', async () => {
  const path = at('many.hea');
  await writeFile(path, `many 600 300 0\n${'a 16\n'.repeat(600)}`);
  expect(await refusal(() => readRecording(path))).toEqual(fileError('1 to 512 signals', 'ECG'));
  await writeFile(path, `many 60000 300 0\n${'a 16\n'.repeat(60_000)}`);
  expect(await refusal(() => readRecording(path))).toEqual(fileError('at most 100 kB', 'ECG'));
});
