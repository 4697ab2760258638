import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import split from '../../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { DEFAULT_PREPROCESSING } from '../../../src/ecg/preprocess.ts';
import { Random } from '../../../src/ecg/random.ts';
import { RHYTHMS } from '../../../src/ecg/rhythm.ts';
import { synthesise } from '../../../src/ecg/synth.ts';
import { loadModel, saveModel } from '../../../src/model/files.ts';
import type { Model } from '../../../src/model/model.ts';
import { loadBackend } from '../../../training/backend.ts';
import { loadConfig } from '../../../training/config.ts';
import { toModel } from '../../../training/convert.ts';
import type { Cell } from '../../../training/degrees/cells.ts';
import { planFigures } from '../../../training/degrees/rows.ts';
import { type StudyOptions, studyDegrees } from '../../../training/degrees/study.ts';
import { batchStatistics, createNetwork, foldBatchNorm } from '../../../training/network.ts';
import { blindbeat, blindbeatJson } from '../../cli/helpers.ts';
import { type TestRecord, writeDataset } from '../../helpers/dataset.ts';
import { randomModel } from '../../helpers/random-model.ts';

let root: string;
let baseline: Model;
const at = (name: string) => join(root, name);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'blindbeat-degrees-'));
  const names = [...Array.from({ length: 8 }, (_, i) => `S0000${i}`), ...split.validation.slice(0, 4)];
  names.push(...split.test.slice(0, 8));
  const records = names.map((name, i): TestRecord => {
    const { leads } = synthesise({ rhythm: RHYTHMS[i % 4], seconds: 30, rate: 300, seed: i });
    return [name, ['N', 'A', 'O', '~'][i % 4], leads[0].mv];
  });
  writeDataset(at('data'), records);
  await loadBackend('wasm');
  const base = await loadConfig('deepcardio-relu-average');
  const architecture = { ...base.architecture, channels: [2, 3], dilations: [1, 2] };
  writeFileSync(at('config.json'), JSON.stringify({ ...base, architecture, batch: 4, statisticsRecords: 8 }));
  const random = new Random(3);
  const noise = Float32Array.from({ length: 4 * 4096 }, () => 0.6 * random.normal());
  const made = createNetwork(architecture, new Random(1));
  baseline = toModel(foldBatchNorm(made, batchStatistics(made, noise)), {
    name: 'relu',
    preprocessing: DEFAULT_PREPROCESSING,
    scoreLimit: 32,
    ranges: architecture.channels.map(() => [-9, 9]),
    provenance: { data: 'none', seed: 1, command: 'none', createdAt: '2026-01-01', metrics: {} },
  });
  await saveModel(baseline, at('relu'));
});

afterAll(() => rmSync(root, { recursive: true }));

const command = (out: string, ...args: string[]) => [
  'evaluate-degrees',
  ...['--data', at('data'), '--model', at('relu'), '--config', at('config.json'), '--work', at('runs')],
  ...['--training-backend', 'wasm', '--epochs', '2', '--out', at(out), ...args],
];

test('one command fills table, picture and report; a second one takes finished cells as they are', async () => {
  writeFileSync(at('remarks.md'), 'Degree **4** & `replace`.\n\n- first\n- second <b>\n');
  const grid = ['--degrees', '2,4', '--methods', 'minimax,least-squares', '--remarks', at('remarks.md')];
  const { code, stderr, json } = await blindbeatJson(...command('first', ...grid));
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const { cells } = json;
  const names = cells.map((c: Cell) => `${c.mode} ${c.method} ${c.degree}`);
  expect(names).toEqual([
    'replace minimax 2',
    'replace minimax 4',
    'replace least-squares 2',
    'replace least-squares 4',
    'finetune least-squares 2',
    'finetune least-squares 4',
    'retrain least-squares 2',
    'retrain least-squares 4',
  ]);
  for (const { clear, range, mode } of cells) {
    expect(clear.records).toBe(8);
    expect(clear.epochs).toBe(mode === 'replace' ? 0 : 2);
    expect(clear.forwardDifference).toBeLessThan(1e-3);
    expect(range[0]).toBeLessThan(range[1]);
  }
  expect(json.baseline.model).toBe('relu');

  const text = (name: string) => readFileSync(join(at('first'), name), 'utf8');
  expect(text('cells.csv').trim().split('\n')).toHaveLength(9);
  expect(text('cells.csv')).toMatch(/^mode,method,degree,.*\nreplace,minimax,2,0,/);
  expect(JSON.parse(text('cells.json'))).toEqual(json);
  expect(text('README.md')).toContain('Degree **4** & `replace`.\n\n- first\n- second <b>\n');
  expect(text('README.md').match(/^\| finetune \| least-squares \| 2 \|/gm)!.length).toBeGreaterThan(0);
  const html = text('report.html');
  expect(html).toContain('<p>Degree <strong>4</strong> &amp; <code>replace</code>.</p>');
  expect(html).toContain('<li>second &lt;b&gt;</li>');
  expect(html).toContain('<svg');
  expect(html).not.toMatch(/<script|<link|src=|@import/);
  expect(text('accuracy-vs-degree.svg')).toMatch(/^<svg[\s\S]*CinC score against/);

  const folder = join(at('runs'), 'degrees/cells');
  const files = readdirSync(folder).filter((f) => f.endsWith('.json'));
  expect(files).toHaveLength(8);
  const times = files.map((f) => statSync(join(folder, f)).mtimeMs);
  const again = await blindbeatJson(...command('second', ...grid));
  expect(again.json.cells).toEqual(cells);
  expect(again.stderr).not.toContain('cell ');
  expect(files.map((f) => statSync(join(folder, f)).mtimeMs)).toEqual(times);

  // Other epochs are other trainings, but the same replacements.
  const other = await blindbeat(...command('third', ...grid, '--epochs', '1', '--modes', 'replace,finetune'));
  expect(other.code).toBe(0);
  expect(readdirSync(folder).filter((f) => f.endsWith('.json'))).toHaveLength(10);
  expect(other.stdout).toMatch(/finetune +least-squares +4 .* 1 +\d+\n/);
}, 120_000);

test('records go through encryption once for every plan; a network without a plan says why', async () => {
  const args = ['--degrees', '3', '--methods', 'minimax', '--modes', 'replace', '--encrypted', '2'];
  const { code, stderr, json } = await blindbeatJson(...command('encrypted', ...args, '--threads', '1'));
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const [cubic] = json.cells;
  expect(cubic.plan).toMatchObject({ levels: 2 * 2 + 3, security: 128 });
  expect(cubic.encrypted).toMatchObject({ compared: 2, sameClass: 2, threads: 1 });
  expect(cubic.encrypted.precisionBits).toBeGreaterThan(8);

  // Without its keys and models nothing could be encrypted again: the figures come from the work folder.
  const again = await blindbeatJson(...command('encrypted', ...args, '--threads', '1'));
  expect(again.json.cells).toEqual(json.cells);
  const report = readFileSync(join(at('encrypted'), 'README.md'), 'utf8');
  expect(report).toMatch(/^\| replace \| minimax \| 3 \| 2 of 2 \|/m);

  expect(planFigures(randomModel({ channels: [4, 4, 4, 4, 4, 4], series: 63, samples: 2048 }))).toEqual({
    problem: expect.stringMatching(/levels|primes|modulus/),
  });
}, 120_000);

const study = (work: string, cells: Cell[], more: Partial<StudyOptions> = {}): StudyOptions => ({
  data: at('data'),
  baseline,
  cells,
  epochs: 2,
  seed: 1,
  config: at('config.json'),
  work: at(work),
  cache: join(at('runs'), 'cache'),
  backend: 'wasm',
  reporter: { note() {}, work() {}, step() {}, epoch() {} },
  ...more,
});
const CELL: Cell = { mode: 'retrain', method: 'minimax', degree: 3 };

test('an interrupted training goes on after its last epoch and ends as if it had never stopped', async () => {
  const whole = await studyDegrees(study('whole', [CELL]));
  const controller = new AbortController();
  const epochs: number[] = [];
  const reporter = {
    ...study('', []).reporter,
    epoch: ({ epoch }: { epoch: number }) => {
      epochs.push(epoch);
      controller.abort();
    },
  };
  const stopped = study('stopped', [CELL], { reporter, signal: controller.signal });
  await expect(studyDegrees(stopped)).rejects.toMatchObject({
    code: 'INTERRUPTED',
    message: expect.stringMatching(/same command goes on/),
  });
  const resumed = await studyDegrees({ ...stopped, signal: undefined });
  expect(epochs).toEqual([1, 2]);
  const [[a], [b]] = [whole.cells, resumed.cells];
  if ('failed' in a || 'failed' in b) throw new Error('no network');
  expect(b.outcomes).toEqual(a.outcomes);
  expect((await loadModel(join(at('stopped'), b.model))).dense).toEqual(
    (await loadModel(join(at('whole'), a.model))).dense,
  );
}, 60_000);

test('another seed, baseline or data make other cells', async () => {
  const cell: Cell = { mode: 'replace', method: 'minimax', degree: 2 };
  const key = async (more: Partial<StudyOptions>) =>
    (await studyDegrees(study('keys', [cell], more))).cells[0].key;
  const other = { ...baseline, dense: { ...baseline.dense, bias: baseline.dense.bias.map((b) => b + 1) } };
  cpSync(at('data'), at('fewer'), { recursive: true });
  const reference = readFileSync(join(at('fewer'), 'REFERENCE-v3.csv'), 'utf8');
  writeFileSync(join(at('fewer'), 'REFERENCE-v3.csv'), reference.replace('S00007,~\n', ''));
  const keys = [
    await key({}),
    await key({ seed: 2 }),
    await key({ baseline: other }),
    await key({ data: at('fewer') }),
  ];
  expect(new Set(keys).size).toBe(4);
  expect(await key({})).toBe(keys[0]);
});

test('a degree that no method can make is told in its row, and the others go on', async () => {
  const cells: Cell[] = [
    { mode: 'replace', method: 'minimax', degree: 63 },
    { mode: 'replace', method: 'minimax', degree: 2 },
  ];
  const { cells: results } = await studyDegrees(study('many', cells));
  expect(results[0]).toMatchObject({ failed: expect.stringMatching(/loses .* of 16 digits/) });
  expect(results[1]).not.toHaveProperty('failed');
});

test('what does not fit is refused with the reason', async () => {
  await saveModel({ ...baseline, blocks: baseline.blocks.map((b) => ({ ...b, pooling: 'max' })) }, at('max'));
  for (const [args, code, words] of [
    [['--model', at('max')], 4, /ReLU and average pooling/],
    [['--model', 'deepcardio-deg2'], 4, /ReLU and average pooling/],
    [['--methods', 'minimax,best'], 2, /Expected some of chebyshev, least-squares, minimax/],
    [['--degrees', '2,1'], 2, /whole number from 2 to 63/],
    [['--remarks', at('none.md')], 8, /none\.md: there is no such file/],
    [['--data', at('none')], 10, /no CinC 2017 data set/],
  ] as const) {
    const result = await blindbeat(...command('refused', '--degrees', '2', ...args));
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(words) });
  }
  rmSync(at('strange'), { recursive: true, force: true });
  const { leads } = synthesise({ rhythm: 'normal', seconds: 30, rate: 300, seed: 1 });
  writeDataset(at('strange'), [['X1', 'N', leads[0].mv]]);
  const strange = await blindbeat(...command('refused', '--data', at('strange')));
  expect(strange).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/no record of the validation part/),
  });
});
