import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import split from '../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { RHYTHMS } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { loadModel } from '../../src/model/files.ts';
import { loadConfig } from '../../training/config.ts';
import { type Reporter, train } from '../../training/train.ts';
import { type TestRecord, writeDataset } from '../helpers/dataset.ts';

let root: string;
const data = () => join(root, 'data');
/** Not what teachers are trained with. */
const TIGHTER = { ...DEFAULT_PREPROCESSING, scale: { percentile: 1, factor: 1 }, bound: 2 };
const config = (name: string) => join(root, `${name}.json`);

/** Synthetic records in the layout of CinC 2017: eight to train on, four in each other part of the split. */
function writeRecords(): void {
  const names = [...Array.from({ length: 8 }, (_, i) => `S0000${i}`), ...split.validation.slice(0, 4)];
  names.push(...split.test.slice(0, 4));
  const records = names.map((name, i): TestRecord => {
    const { leads } = synthesise({ rhythm: RHYTHMS[i % 4], seconds: 30, rate: 300, seed: i });
    return [name, ['N', 'A', 'O', '~'][i % 4], leads[0].mv];
  });
  writeDataset(data(), records);
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'blindbeat-train-'));
  writeRecords();
  const base = await loadConfig('deepcardio-relu');
  const small = {
    ...base,
    architecture: { ...base.architecture, channels: [2, 3], dilations: [1, 2] },
    batch: 4,
    statisticsRecords: 8,
    phases: { ...base.phases, normalised: { ...base.phases.normalised, epochs: 1 } },
  };
  writeFileSync(config('alone'), JSON.stringify(small));
  const average = { ...small.architecture, channels: [2, 4], pooling: 'average' };
  const phases = { ...small.phases, exact: { ...base.phases.exact, epochs: 1 } };
  writeFileSync(config('plain'), JSON.stringify({ ...small, architecture: average }));
  const helical = { ...average, helix: [0, 1] };
  writeFileSync(config('helical'), JSON.stringify({ ...small, architecture: helical, phases }));
  const teachers = [1, 2].map((seed) => ({ config: config('alone'), seed }));
  writeFileSync(
    config('taught'),
    JSON.stringify({
      ...small,
      preprocessing: TIGHTER,
      distillation: { teachers, share: 0.6, temperature: 2 },
    }),
  );
});

afterAll(() => rmSync(root, { recursive: true }));

test('one command trains the teachers, then the network; resumed, it trains none of them again', async () => {
  const notes: string[] = [];
  const reporter: Reporter = { note: (line) => notes.push(line), work() {}, step() {}, epoch() {} };
  const options = {
    data: data(),
    config: config('taught'),
    out: join(root, 'models/taught'),
    work: join(root, 'runs'),
    backend: 'wasm' as const,
    reporter,
  };
  const { model, metrics } = await train(options);
  expect(model.blocks.map((b) => [b.activation.kind, b.pooling])).toEqual(Array(2).fill(['relu', 'max']));
  expect(await loadModel(options.out)).toEqual(model);
  expect(metrics.test.records).toBe(4);
  expect(metrics.ranges.margins).toBeUndefined(); // there is no plan for ReLU
  expect(notes).toContain('teachers: alone.json-seed1, alone.json-seed2');
  const teacher = join(options.work, 'teachers/alone.json-seed1');
  expect((await loadModel(teacher)).provenance.seed).toBe(1);
  expect((await loadModel(teacher)).preprocessing).toEqual(DEFAULT_PREPROCESSING);
  expect(model.preprocessing).toEqual(TIGHTER);
  for (const path of [join(options.work, 'taught/training.svg'), join(options.out, 'training.svg')]) {
    expect(readFileSync(path, 'utf8')).toMatch(/^<svg[\s\S]*CinC score/);
  }

  const { mtimeMs } = statSync(join(teacher, 'model.json'));
  rmSync(options.out, { recursive: true });
  const again = await train({ ...options, resume: true });
  expect(statSync(join(teacher, 'model.json')).mtimeMs).toBe(mtimeMs);
  expect(again.model.dense).toEqual(model.dense);

  // Given teachers are taken as they are, and the names are part of the command.
  const given = await train({ ...options, out: join(root, 'models/given'), teachers: [teacher] });
  expect(given.model.provenance.command).toContain(`--teachers ${teacher}`);
  expect(existsSync(join(options.work, 'given/checkpoint.json'))).toBe(true);
}, 120_000);

test('teachers without a config that listens to them are refused', async () => {
  const options = { data: data(), config: config('alone'), out: join(root, 'x'), work: join(root, 'runs') };
  await expect(train({ ...options, teachers: ['deepcardio-deg2'] })).rejects.toMatchObject({ code: 'USAGE' });
  await expect(train({ ...options, resume: true })).rejects.toMatchObject({ code: 'FILE' });
});

test('a plain model becomes a helical one, not the other way', async () => {
  const options = { data: data(), work: join(root, 'runs'), backend: 'wasm' as const };
  const [plain, helical] = [join(root, 'models/plain'), join(root, 'models/helical')];
  const { model } = await train({ ...options, config: config('plain'), out: plain });
  expect(model.blocks.map((b) => b.helix)).toEqual([0, 0]);
  const init = { ...options, config: config('helical'), out: helical, init: plain };
  expect((await train(init)).model.blocks.map((b) => b.helix)).toEqual([0, 1]);
  const back = { ...options, config: config('plain'), out: join(root, 'x'), init: helical };
  await expect(train(back)).rejects.toThrow(/has another architecture than the config/);
});

test('a start or a teacher whose inputs are made otherwise is refused', async () => {
  const options = { data: data(), work: join(root, 'runs'), backend: 'wasm' as const };
  const settings = await loadConfig(config('plain'));
  const narrower = { ...TIGHTER, band: { ...TIGHTER.band, high: 30 } };
  const distillation = { teachers: [], share: 0.6, temperature: 2 };
  writeFileSync(config('narrower'), JSON.stringify({ ...settings, preprocessing: narrower, distillation }));
  const other = { ...options, config: config('narrower'), out: join(root, 'x') };
  await expect(train({ ...other, teachers: false, init: 'deepcardio-deg2-plain' })).rejects.toThrow(
    /has another preprocessing than the config/,
  );
  await expect(train({ ...other, teachers: ['deepcardio-relu'] })).rejects.toThrow(
    /cannot teach this config: its segments have another/,
  );
});
