import { zipSync } from 'fflate';
import { describe, expect, test } from 'vitest';
import { unzip, ZipError } from '../../src/dataset/zip.ts';
import { Random } from '../../src/ecg/random.ts';
import { SOON } from '../helpers/odd-files.ts';

const LIMITS = { file: 1e6, all: 3e6 };
const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
const encode = (words: string) => new TextEncoder().encode(words);
const noise = (size: number) => {
  const random = new Random(size);
  return Uint8Array.from({ length: size }, () => 256 * random.next());
};

const FILES = { 'a/x.hea': encode('hello'), 'a/y.mat': noise(5000), 'z.txt': encode('not wanted') };
const ZIP = zipSync(FILES);
const WANTED = /\.(hea|mat)$/;

/** A copy with some bytes changed, at the k-th entry of the directory. */
function edited(zip: Uint8Array, k: number, edit: (entry: DataView, all: Uint8Array) => void): Uint8Array {
  const copy = Uint8Array.from(zip);
  const view = new DataView(copy.buffer);
  let at = view.getUint32(copy.length - 22 + 16, true);
  for (let i = 0; i < k; i++)
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  edit(new DataView(copy.buffer, at), copy);
  return copy;
}

/** What is wrong with it, said soon. */
function refusal(zip: Uint8Array, limits = LIMITS): string {
  const started = performance.now();
  try {
    unzip(zip, WANTED, limits);
    return 'nothing';
  } catch (error) {
    expect(error).toBeInstanceOf(ZipError);
    return (error as Error).message;
  } finally {
    expect(performance.now() - started).toBeLessThan(SOON);
  }
}

describe('unzip', () => {
  test.each([0, 6])('when a zip is packed at level %i, then the wanted files are as they were', (level) => {
    const found = unzip(zipSync(FILES, { level: level as 0 | 6 }), WANTED, LIMITS);
    expect([...found.keys()]).toEqual(['a/x.hea', 'a/y.mat']);
    expect(text(found.get('a/x.hea'))).toBe('hello');
    expect(found.get('a/y.mat')).toEqual(FILES['a/y.mat']);
    expect(unzip(zipSync({ 'e.mat': new Uint8Array() }), WANTED, LIMITS).get('e.mat')).toHaveLength(0);
  });

  test('when it ends with a comment, then its directory is found', () => {
    const zip = new Uint8Array(ZIP.length + 5);
    zip.set(ZIP);
    zip[ZIP.length - 2] = 5;
    expect(unzip(zip, WANTED, LIMITS).size).toBe(2);
  });

  const bomb = (size: number) => zipSync({ 'b.mat': new Uint8Array(size) }, { level: 9 });
  const attacks: [string, () => Uint8Array, string][] = [
    ['a file is larger than it may be', () => bomb(1e6 + 1), '1000001 bytes of one file are too many'],
    [
      'all files together are',
      () => zipSync(Object.fromEntries(['a', 'b', 'c', 'd'].map((n) => [`${n}.mat`, new Uint8Array(9e5)]))),
      'its files have 3600000 bytes',
    ],
    [
      'a file of 100 MB claims to have 10 bytes',
      () => edited(bomb(1e8), 0, (entry) => entry.setUint32(24, 10, true)),
      'another size than its directory says',
    ],
    [
      'a file claims to be larger than it is',
      () => edited(ZIP, 0, (entry) => entry.setUint32(24, 6, true)),
      'a/x.hea in it is damaged',
    ],
    [
      'all entries are one file',
      () => {
        const names = Array.from({ length: 400 }, (_, i) => `${String(i).padStart(5, '0')}.mat`);
        const zip = zipSync(Object.fromEntries(names.map((name) => [name, noise(1000)])), { level: 0 });
        for (let k = 1; k < names.length; k++)
          zip.set(
            edited(zip, k, (entry) => {
              entry.setUint32(20, 1000, true);
              entry.setUint32(42, 0, true);
            }),
          );
        // The same directory around one file: so much shorter is it.
        const directory = new DataView(zip.buffer).getUint32(zip.length - 6, true);
        const short = new Uint8Array([...zip.subarray(0, 1100), ...zip.subarray(directory)]);
        new DataView(short.buffer).setUint32(short.length - 6, 1100, true);
        return short;
      },
      'its files overlap',
    ],
    ['its content is changed', () => edited(ZIP, 0, (_, all) => all.fill(all[39] ^ 1, 39, 40)), 'damaged'],
    ['its checksum is', () => edited(ZIP, 0, (entry) => entry.setUint32(16, 7, true)), 'is damaged'],
    ['it is encrypted', () => edited(ZIP, 0, (entry) => entry.setUint16(8, 1, true)), 'encrypted'],
    ['it is packed otherwise', () => edited(ZIP, 0, (entry) => entry.setUint16(10, 99, true)), 'method 99'],
    [
      'an entry leads outside',
      () => edited(ZIP, 0, (entry) => entry.setUint32(42, 2 ** 32 - 1, true)),
      'fit',
    ],
    ['an entry leads into another', () => edited(ZIP, 0, (entry) => entry.setUint32(42, 3, true)), 'not fit'],
    ['a name goes beyond the end', () => edited(ZIP, 2, (entry) => entry.setUint16(28, 65535, true)), 'cut'],
    [
      'it has fewer entries than it says',
      () => edited(ZIP, 0, (_, all) => all.fill(255, all.length - 12, all.length - 10)),
      'does not fit',
    ],
    ['it is cut off', () => ZIP.slice(0, -30), 'no directory'],
    ['it is empty', () => new Uint8Array(), 'no directory'],
    ['it is something else', () => noise(100_000), 'no directory'],
  ];
  test.each(attacks)('when %s, then it is refused at once', (_, make, words) => {
    expect(refusal(make())).toContain(words);
  });

  test('when bytes of it are changed anywhere, then it is refused or still what it was', () => {
    const random = new Random(16);
    const draw = (n: number) => random.below(n);
    let refused = 0;
    for (let k = 0; k < 3000; k++) {
      const changed = Uint8Array.from(ZIP);
      for (let edits = 1 + draw(3); edits > 0; edits--) changed[draw(ZIP.length)] = draw(256);
      let found = new Map<string, Uint8Array>();
      try {
        found = unzip(changed, WANTED, LIMITS);
      } catch (error) {
        expect(error).toBeInstanceOf(ZipError);
        refused++;
      }
      for (const [name, bytes] of found)
        if (name in FILES) expect(bytes).toEqual(FILES[name as keyof typeof FILES]);
    }
    expect(refused).toBeGreaterThan(1000);
  });
});
