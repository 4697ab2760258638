import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING as p, prepareSegment } from '../../src/ecg/preprocess.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { loadCorpus, rowsOf } from '../../training/data.ts';
import { train } from '../../training/train.ts';
import { quantised, writeDataset } from '../helpers/dataset.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'blindbeat-data-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function ecg(seed: number, seconds: number): Float64Array {
  return synthesise({ rhythm: 'normal', seconds, rate: 300, seed }).leads[0].mv;
}

test('a corpus holds what the client makes of each record, and comes back from its cache unchanged', async () => {
  const data = join(folder, 'set');
  const mv = ecg(1, 12);
  writeDataset(data, [
    ['A00001', 'N', mv],
    ['A00002', 'A', ecg(2, 31)],
    ['A00003', 'O', mv],
    ['A00004', '~', new Float64Array(9000)],
  ]);
  const cache = join(folder, 'cache');
  const corpus = await loadCorpus(data, p, cache);
  expect(corpus.records.map((r) => [r.name, r.label])).toEqual([
    ['A00001', 'N'],
    ['A00002', 'A'],
    ['A00003', 'O'],
  ]);
  expect(corpus.refused).toMatchObject([{ name: 'A00004' }]); // flat: the client refuses it too
  expect(corpus.records[0].content).toBe(corpus.records[2].content);
  expect(corpus.records[0].content).not.toBe(corpus.records[1].content);
  expect(rowsOf(corpus.segments, [2], p.samples)).toEqual(prepareSegment(quantised(mv), 300, p).samples);
  expect(corpus.records[1]).toMatchObject({ offset: corpus.records[0].length, length: 4232 });
  expect(readdirSync(cache)).toHaveLength(3);
  expect(await loadCorpus(data, p, cache)).toEqual(corpus);
});

test('training without data says what is missing', async () => {
  const run = train({
    data: join(folder, 'none'),
    config: 'deepcardio-deg2',
    out: join(folder, 'out'),
    work: folder,
    backend: 'wasm',
  });
  await expect(run).rejects.toMatchObject({ code: 'ENVIRONMENT' });
});
