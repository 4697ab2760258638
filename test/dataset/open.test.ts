import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { afterAll, describe, expect, test } from 'vitest';
import { CINC_CLASSES, parseReference } from '../../src/dataset/cinc2017.ts';
import { openDataset } from '../../src/dataset/open.ts';
import { ODD_FILES, type OddFile, putOdd } from '../helpers/odd-files.ts';

const root = mkdtempSync(join(tmpdir(), 'blindbeat-dataset-'));
afterAll(() => rmSync(root, { recursive: true }));

const REFERENCE = 'A00002,A\nA00001,N\r\nA00003,~\n';

/** Two records of the official layout, 300 Hz, with the samples 1000 k and -1000 k. */
function files(): Record<string, Uint8Array> {
  const out: Record<string, Uint8Array> = {};
  for (const [id, sign] of [
    ['A00001', 1],
    ['A00002', -1],
  ] as const) {
    const mat = new Uint8Array(24 + 2 * 3);
    const view = new DataView(mat.buffer);
    [30, 1, 3, 0, 4].forEach((v, i) => {
      view.setInt32(4 * i, v, true);
    });
    mat.set(new TextEncoder().encode('val'), 20);
    for (let k = 0; k < 3; k++) view.setInt16(24 + 2 * k, 1000 * sign * k, true);
    const header = `${id} 1 300 3 05:05:15 1/05/2000 \n${id}.mat 16+24 1000/mV 16 0 -127 0 0 ECG \n`;
    out[`${id}.hea`] = new TextEncoder().encode(header);
    out[`${id}.mat`] = mat;
  }
  return out;
}

function folder(name: string, entries: Record<string, Uint8Array | string>): string {
  const path = join(root, name);
  for (const [file, bytes] of Object.entries(entries)) {
    mkdirSync(join(path, file, '..'), { recursive: true });
    writeFileSync(join(path, file), bytes);
  }
  mkdirSync(path, { recursive: true });
  return path;
}

const inFolder = Object.fromEntries(Object.entries(files()).map(([name, b]) => [`training2017/${name}`, b]));
const zip = zipSync(inFolder);
const zipWithLabels = zipSync({
  ...inFolder,
  'training2017/REFERENCE-v3.csv': new TextEncoder().encode(REFERENCE),
});

describe('openDataset', () => {
  const layouts: [string, string][] = [
    [
      'a folder with a zip and the labels',
      folder('a', { 'training2017.zip': zip, 'REFERENCE-v3.csv': REFERENCE }),
    ],
    ['a zip with the labels beside', join(root, 'a/training2017.zip')],
    ['a zip with the labels inside', join(folder('b', { 'x.zip': zipWithLabels }), 'x.zip')],
    [
      'a folder of records with the labels inside',
      folder('c', { ...files(), 'REFERENCE-v3.csv': REFERENCE }),
    ],
    ['a folder that holds the unpacked one', folder('d', { ...inFolder, 'REFERENCE-v3.csv': REFERENCE })],
    ['the unpacked folder with the labels beside', join(root, 'd/training2017')],
  ];
  for (const [name, path] of layouts) {
    test(`when it is ${name} then the records are listed by id and read`, () => {
      const { records, missing } = openDataset(path);
      expect(records.map((r) => [r.id, r.label])).toEqual([
        ['A00001', 'N'],
        ['A00002', 'A'],
      ]);
      expect(missing).toEqual(['A00003']);
      const recording = records[1].recording();
      expect([recording.name, recording.rate, recording.leads[0].name]).toEqual(['A00002', 300, 'ECG']);
      expect(recording.leads[0].mv).toEqual(Float64Array.of(0, -1, -2));
    });
  }

  const broken: [string, string, string][] = [
    ['nothing', join(root, 'nowhere'), 'There is no CinC 2017 data set at'],
    ['an empty folder', folder('e', {}), 'Looked for: a zip file, *.hea in it, training2017/*.hea'],
    ['no labels', folder('f', { 'training2017.zip': zip }), 'The labels REFERENCE-v3.csv are neither inside'],
    [
      'no zip',
      join(folder('g', { 'x.zip': 'PK?', 'REFERENCE-v3.csv': REFERENCE }), 'x.zip'),
      'cannot be unpacked',
    ],
    ['other records', folder('h', { ...files(), 'REFERENCE-v3.csv': 'B1,N\n' }), 'holds none of the records'],
    [
      'odd labels',
      folder('i', { ...files(), 'REFERENCE-v3.csv': 'A00001,N\nA00002,X\n' }),
      'line 2: expected a record',
    ],
  ];
  for (const [name, path, message] of broken) {
    test(`when there is ${name} then it says "${message}"`, () => {
      expect(() => openDataset(path)).toThrow(message);
    });
  }
});

describe('a data set with parts that are no files', () => {
  test.each(Object.keys(ODD_FILES) as OddFile[])(
    'when %s stands for them, then no part is read',
    async (kind) => {
      const at = folder(`odd ${kind.replace('/', ' ')}`.replace('/', ' '), {
        ...files(),
        'REFERENCE-v3.csv': REFERENCE,
      });
      rmSync(join(at, 'A00001.mat'));
      await putOdd(kind, join(at, 'A00001.mat'));
      const { records, missing } = openDataset(at);
      if (kind === 'a file of 10 TB') expect(() => records[0].recording()).toThrow(ODD_FILES[kind]);
      else expect([records.map((r) => r.id), missing]).toEqual([['A00002'], ['A00001', 'A00003']]);
      rmSync(join(at, 'REFERENCE-v3.csv'));
      await putOdd(kind, join(at, 'REFERENCE-v3.csv'));
      const words = kind === 'a file of 10 TB' ? ODD_FILES[kind] : 'are neither inside';
      expect(() => openDataset(at)).toThrow(words);
      const zipAt = folder(`zip ${kind}`.replaceAll('/', ' '), {});
      await putOdd(kind, join(zipAt, 'training2017.zip'));
      expect(() => openDataset(zipAt)).toThrow(
        kind === 'a file of 10 TB' ? ODD_FILES[kind] : 'There is no CinC 2017 data set',
      );
    },
  );

  test('when a zip is a bomb, then it is not unpacked', () => {
    const bomb = zipSync({ 'A00001.mat': new Uint8Array(101e6), 'A00001.hea': new Uint8Array(1) });
    const at = folder('bomb', { 'training2017.zip': bomb, 'REFERENCE-v3.csv': REFERENCE });
    expect(() => openDataset(at)).toThrow(
      expect.objectContaining({ code: 'ENVIRONMENT', message: expect.stringContaining('are too many') }),
    );
  });
});

const SHARED = join(import.meta.dirname, '../../../shared/data/cinc2017');

describe.skipIf(!existsSync(SHARED))('the labels in ../shared (skipped where it is missing)', () => {
  test('when the reference is parsed then the classes are those that its README counts', () => {
    const labels = [...parseReference(readFileSync(join(SHARED, 'REFERENCE-v3.csv'), 'utf8')).values()];
    const count = (label: string) => labels.filter((l) => l === label).length;
    expect(CINC_CLASSES.map(count)).toEqual([4315, 644, 2053, 237]);
  });
});
