import { existsSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readManifest } from '../../src/cli/files/input.ts';
import { readRecording } from '../../src/ecg/files.ts';
import { isReadableByOthers } from '../../src/files/input.ts';
import { OutputFiles, requireDistinct, writeOutput } from '../../src/files/output.ts';
import { temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

describe('writeOutput', () => {
  test('when pieces are written then the file has them all and no other file is left', async () => {
    await writeOutput(at('pieces'), [Uint8Array.of(1, 2), Uint8Array.of(3)]);
    expect([...(await readFile(at('pieces')))]).toEqual([1, 2, 3]);
    expect(await readdir(folder)).toEqual(['pieces']);
  });

  test('when the source fails half way then the old file stays and nothing is left over', async () => {
    await writeFile(at('old'), 'old');
    const fails = (function* () {
      yield Uint8Array.of(1);
      throw new Error('no more');
    })();
    await expect(writeOutput(at('old'), fails)).rejects.toThrow('no more');
    expect(await readFile(at('old'), 'utf8')).toBe('old');
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('when it is interrupted then it says so and nothing is left over', async () => {
    const writing = writeOutput(at('never'), [Uint8Array.of(1)], { signal: AbortSignal.abort() });
    await expect(writing).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(existsSync(at('never'))).toBe(false);
  });

  test('when a mode is asked for then an older file does not keep its own', async () => {
    await writeFile(at('mode'), '', { mode: 0o644 });
    await writeOutput(at('mode'), 'x', { mode: 0o600 });
    expect(statSync(at('mode')).mode & 0o777).toBe(0o600);
    expect(await isReadableByOthers(at('mode'))).toBe(false);
  });

  test.each([
    ['its folder does not exist', 'no/file'],
    ['a part of the path is no folder', 'pieces/file'],
    ['there is a folder of this name', 'folder'],
  ])('when %s then it says so', async (words, name) => {
    await mkdir(at('folder'), { recursive: true });
    const writing = writeOutput(at(name), 'x');
    await expect(writing).rejects.toMatchObject({ code: 'FILE', message: expect.stringContaining(words) });
  });
});

describe('OutputFiles', () => {
  test('when there is no commit then no file appears', async () => {
    {
      await using files = new OutputFiles();
      await files.write(at('a'), 'a');
      await files.write(at('b'), 'b');
    }
    expect(existsSync(at('a')) || existsSync(at('b'))).toBe(false);
  });
});

describe('requireDistinct', () => {
  test('when the output is the input by another path then it is refused', () => {
    expect(() => requireDistinct(at('x'), at('y/../x'))).toThrow('another file of the same command');
    requireDistinct(at('x'), at('y'));
    requireDistinct(at('x'), undefined);
  });
});

describe('files that are too large', () => {
  test('when an ECG file is larger than any ECG then it is not read', async () => {
    await writeFile(at('huge.csv'), '');
    await truncate(at('huge.csv'), 600e6);
    await expect(readRecording(at('huge.csv'))).rejects.toMatchObject({
      code: 'ECG',
      message: expect.stringContaining('600 MB'),
    });
  });

  test('when a manifest is larger than any manifest then it is not read', async () => {
    await writeFile(at('huge.json'), '');
    await truncate(at('huge.json'), 2e6);
    await expect(readManifest(at('huge.json'))).rejects.toMatchObject({ code: 'FORMAT' });
  });
});
