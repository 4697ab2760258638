import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { conditionSignal, DEFAULT_PREPROCESSING, prepareSegment } from '../../src/ecg/preprocess.ts';
import { RHYTHMS } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { loadModel } from '../../src/model/files.ts';
import { loadBackend } from '../../training/backend.ts';
import {
  type EpochRecord,
  loadCheckpoint,
  saveCheckpoint,
  type TrainingState,
} from '../../training/checkpoint.ts';
import { loadConfig, type TrainingConfig } from '../../training/config.ts';
import type { Corpus, Parts } from '../../training/data.ts';
import { exportModel } from '../../training/export.ts';
import { initialState, type LoopOptions, runTraining } from '../../training/loop.ts';
import { parameter } from '../../training/network.ts';

const p = { ...DEFAULT_PREPROCESSING, seconds: 7.5, samples: 1024 };
const classes = ['N', 'A', 'O', '~'];

/** Synthetic ECGs of four rhythms, as if they were the data set. */
function syntheticCorpus(records: number): Corpus {
  const made = Array.from({ length: records }, (_, i) => {
    const { rate, leads } = synthesise({ rhythm: RHYTHMS[i % 4], seconds: 7 + (i % 5), rate: 300, seed: i });
    const segment = prepareSegment(leads[0].mv, rate, p).samples;
    return { segment, signal: Float32Array.from(conditionSignal(leads[0].mv, rate, p)) };
  });
  const join = (arrays: Float32Array[]) => Float32Array.from(arrays.flatMap((a) => [...a]));
  let offset = 0;
  return {
    records: made.map(({ signal }, i) => {
      offset += signal.length;
      const at = { offset: offset - signal.length, length: signal.length };
      return { name: `S${i}`, label: classes[i % 4], content: String(i), ...at };
    }),
    signals: join(made.map((m) => m.signal)),
    segments: join(made.map((m) => m.segment)),
    refused: [],
  };
}

let folder: string;
let config: TrainingConfig;
let options: LoopOptions;
const indices = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const parts: Parts = { train: indices(0, 40), validation: indices(40, 52), test: indices(52, 64) };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'blindbeat-training-'));
  await loadBackend('wasm');
  const base = await loadConfig('deepcardio-deg2-plain');
  const { normalised, exact } = base.phases;
  config = {
    ...base,
    architecture: {
      ...base.architecture,
      samples: p.samples,
      channels: [4, 8, 8],
      dilations: [1, 1, 2],
    },
    batch: 8,
    statisticsRecords: 32,
    averageDecay: 0.9,
    phases: {
      normalised: { ...normalised, epochs: 5, peak: 1e-2, last: 5e-3, warmUp: 5 },
      exact: { ...exact, epochs: 2, peak: 1e-3, last: 1e-4, warmUp: 2 },
    },
  };
  options = { corpus: syntheticCorpus(64), parts, preprocessing: p, config };
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The state as it was after `epochs` epochs, through a checkpoint file. */
async function stored(state: TrainingState): Promise<TrainingState> {
  const path = join(folder, 'checkpoint.json');
  await saveCheckpoint(path, state);
  return loadCheckpoint(path);
}

test('the loss falls, a resumed training ends with the same weights, and the export loads', async () => {
  const records: EpochRecord[] = [];
  let middle: TrainingState | undefined;
  const whole = await runTraining(initialState('test', config, 3), {
    ...options,
    onEpoch: async (record, state) => {
      records.push(record);
      if (record.epoch === 4) middle = await stored(state);
    },
  });
  expect(records.map((r) => r.phase)).toEqual([...Array(5).fill('normalised'), ...Array(2).fill('exact')]);
  expect(records[4].loss).toBeLessThan(records[0].loss - 0.1);
  expect(records[5].loss).toBeLessThan(records[0].loss); // folding batch norm away does not undo it
  for (const r of records) expect(Object.values(r).every((v) => typeof v === 'string' || v >= 0)).toBe(true);

  const resumed = await runTraining(middle as TrainingState, options);
  expect(resumed.network.parameters).toEqual(whole.network.parameters);
  expect(resumed.average).toEqual(whole.average);
  const { seconds: _, ...last } = resumed.history[6];
  expect(whole.history[6]).toMatchObject(last);

  // So short a training may escape.
  if (!whole.best) whole.best = { network: whole.network, score: 0, crossEntropy: 9, epoch: 7 };
  const out = join(folder, 'tiny');
  const exported = {
    state: whole,
    corpus: options.corpus,
    parts,
    preprocessing: p,
    scoreLimit: 32,
    preActivationLimit: 1e9,
    out,
    name: 'tiny',
    command: 'a test',
    backend: 'wasm',
    machine: 'test',
  };
  const scale = (name: string, factor: number) => {
    const { values } = parameter(whole.best!.network, name);
    for (const k of values.keys()) values[k] *= factor;
  };
  await expect(exportModel(exported)).rejects.toThrow(/largest \|score\| .*, at most 32 allowed/);
  scale('dense/weights', 1 / 20); // as a longer training does by its penalties
  scale('block3/conv', 2 ** 8);
  scale('dense/weights', 2 ** -16);
  await expect(exportModel(exported)).rejects.toThrow(/of what wraps around under encryption/);
  expect(existsSync(join(out, 'model.json'))).toBe(false);
  scale('block3/conv', 2 ** -8);
  scale('dense/weights', 2 ** 16);
  const { model, metrics } = await exportModel(exported);
  expect(
    Math.min(metrics.ranges.margins?.scores ?? 0, ...(metrics.ranges.margins?.squares ?? [])),
  ).toBeGreaterThan(16);
  expect(readFileSync(join(out, 'training.svg'), 'utf8')).toContain('learning rate');
  expect(await loadModel(out)).toEqual(model);
  expect(metrics.test.records).toBe(12);
  expect(model.provenance.metrics.cincScore).toBe(metrics.test.cincScore);
});

test('a plain normalised phase leads to a helical exact one, also from a checkpoint', async () => {
  const { normalised, exact } = config.phases;
  const architecture = { ...config.architecture, helix: [0, 2, 4] };
  const phases = { normalised: { ...normalised, epochs: 1, plain: true }, exact: { ...exact, epochs: 1 } };
  const helical = { ...options, config: { ...config, architecture, phases } };
  const kinds: unknown[] = [];
  let middle: TrainingState | undefined;
  const state = await runTraining(initialState('test', helical.config, 3), {
    ...helical,
    onEpoch: async (record, now) => {
      kinds.push([record.phase, now.network.architecture.helix]);
      middle ??= await stored(now);
    },
  });
  expect(kinds).toEqual([
    ['normalised', undefined],
    ['exact', [0, 2, 4]],
  ]);
  expect(state.average?.architecture.helix).toEqual([0, 2, 4]);
  expect((await stored(state)).network).toEqual(state.network);
  const resumed = await runTraining(middle as TrainingState, helical);
  expect(resumed.network).toEqual(state.network);
});

test('an aborted training says INTERRUPTED and leaves the last epoch to resume from', async () => {
  const abort = new AbortController();
  const state = initialState('test', config, 3);
  const run = runTraining(state, {
    ...options,
    signal: abort.signal,
    onStep: ({ epoch, step }) => {
      if (epoch === 2 && step === 2) abort.abort();
    },
  });
  await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(state.epoch).toBe(1);
});

test('a file that is no checkpoint is refused', () => {
  const path = join(folder, 'other.json');
  writeFileSync(path, '{"format": "blindbeat-model"}');
  expect(() => loadCheckpoint(path)).toThrow(expect.objectContaining({ code: 'FILE' }));
  expect(() => loadCheckpoint(join(folder, 'none.json'))).toThrow(expect.objectContaining({ code: 'FILE' }));
});

test('unknown and incomplete configs are refused', async () => {
  await expect(loadConfig('no-such-config')).rejects.toMatchObject({ code: 'USAGE' });
  const path = join(folder, 'config.json');
  writeFileSync(path, '{"batch": 32}');
  await expect(loadConfig(path)).rejects.toMatchObject({ code: 'USAGE' });
  await expect(loadConfig(path)).rejects.toThrow(
    /architecture: expected an object, got nothing\n.*phases: expected an object, got nothing/,
  );
  writeFileSync(path, '{"batch": 32');
  await expect(loadConfig(path)).rejects.toMatchObject({ code: 'USAGE' });
});
