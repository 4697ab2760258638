import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadModel, saveModel } from '../../src/model/files.ts';
import { blindbeat, blindbeatJson, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const model = join(folder, 'small');

beforeAll(async () => {
  await saveSmallModel(model);
});

describe('classify, encrypted', () => {
  test('when node-seal is named as the backend then the scores are the same', async () => {
    const [fast, seal] = [
      await blindbeatJson('classify', '--model', model, '--backend', 'fast', '--threads', '2'),
      await blindbeatJson('classify', '--model', model, '--backend', 'seal'),
    ];
    expect([fast.code, seal.code]).toEqual([0, 0]);
    expect([fast.json.threads, seal.json.threads]).toEqual([2, 1]);
    // node-seal holds keys for all levels, in words of 64 bits.
    expect(seal.json.bytes.loadedKeys).toBeGreaterThan(fast.json.bytes.loadedKeys);
    for (const [name, score] of Object.entries<number>(seal.json.scores))
      expect(Math.abs(fast.json.scores[name] - score)).toBeLessThan(1e-2);
  });

  test('when the built-in ECG is classified with --json then one object tells everything', async () => {
    const { code, json, stderr } = await blindbeatJson('classify', '--model', model);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(Object.keys(json)).toEqual([
      'model',
      'class',
      'scores',
      'probabilities',
      'clearScores',
      'maxError',
      'ms',
      'bytes',
      'params',
      'operations',
      'threads',
      'peakMemory',
      'warnings',
    ]);
    expect(json.model).toBe('random-1');
    for (const part of ['scores', 'probabilities', 'clearScores']) {
      expect(Object.keys(json[part])).toEqual(['N', 'A', 'O', '~']);
    }
    expect(json.maxError).toBeGreaterThan(0);
    expect(json.maxError).toBeLessThan(1e-2);
    for (const name of Object.keys(json.scores)) {
      expect(Math.abs(json.scores[name] - json.clearScores[name])).toBeLessThanOrEqual(
        json.maxError + 0.0005,
      );
    }
    expect(Object.keys(json.ms)).toEqual([
      ...['open', 'keygen', 'loadKeys', 'encrypt', 'server', 'decrypt', 'layers'],
    ]);
    for (const step of ['open', 'loadKeys']) expect(json.ms[step]).toBeGreaterThan(0);
    expect(json.ms.layers.map((layer: { name: string }) => layer.name)).toEqual([
      'block 1',
      'square 1',
      'block 2',
      'square 2',
      'dense',
      'mean over time',
    ]);
    const sum = json.ms.layers.reduce((total: number, layer: { ms: number }) => total + layer.ms, 0);
    expect(sum).toBeGreaterThan(0);
    expect(sum).toBeLessThanOrEqual(json.ms.server);
    expect(Object.keys(json.bytes)).toEqual(['evaluationKeys', 'loadedKeys', 'request', 'reply']);
    // Each residue of the file, its half of seeds expanded, takes a word.
    expect(json.bytes.loadedKeys).toBeGreaterThan(json.bytes.evaluationKeys);
    expect(json.params).toMatchObject({ n: 8192, security: 128 });
    expect(json.params.primeBits).toHaveLength(7);
    expect(json.operations.rotate + json.operations.hoistedRotate).toBeGreaterThan(0);
    expect(json.peakMemory.client).toBeGreaterThan(1e7);
    expect(json.peakMemory.server).toBeGreaterThan(1e7);
    expect(json.warnings).toEqual([]);
  });

  test('when it prints for people then the class, the steps, the precision and the disclaimer are there', async () => {
    const { code, stdout, stderr } = await blindbeat(
      ...['classify', '--model', model, '--rhythm', 'af', '--outputs', 'scores+map', '--profile'],
    );
    expect(code).toBe(0);
    expect(stdout).toContain('synthetic af, seed 1');
    expect(stdout).toMatch(/[\u2801-\u28ff]{3}/);
    expect(stdout).toMatch(/^ {5}[NAO~] [ ▁▂▃▄▅▆▇█]+$/m);
    expect(stdout).toContain('atrial fibrillation');
    expect(stdout).toContain('not a medical device');
    for (const step of ['key generation', 'encrypt', 'request', 'block 1', 'dense', 'reply', 'decrypt']) {
      expect(stdout).toContain(step);
    }
    expect(stdout).toMatch(/precision +\d+\.\d bits/);
    expect(stdout).toContain('square 2'); // --profile shows every stage
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(stderr).toContain('making keys');
    expect(stderr).toContain('classifying, encrypted');
  });

  test('when a score is beyond the limit then no class is named and the exit code says so', async () => {
    const strict = await loadModel(model);
    strict.scoreLimit = 0.01;
    await saveModel(strict, join(folder, 'strict'));
    const { code, json } = await blindbeatJson('classify', '--model', join(folder, 'strict'), '--simulate');
    expect(code).toBe(9);
    expect(json).toEqual({ error: { code: 'UNCLASSIFIABLE', message: expect.stringContaining('no class') } });
  });
});

describe('classify --simulate', () => {
  test('when nothing is encrypted then the object has no times, bytes or memory of encryption', async () => {
    const { code, json } = await blindbeatJson('classify', '--model', model, '--simulate');
    expect(code).toBe(0);
    expect(json).toMatchObject({ model: 'random-1', simulated: true, ms: { server: expect.any(Number) } });
    expect(Object.keys(json.ms)).toEqual(['server']);
    expect(json.bytes).toBeUndefined();
    expect(json.peakMemory).toBeUndefined();
    expect(json.maxError).toBeLessThan(1e-9);
  });

  test('when a map is planned then --json has 25 windows of scores', async () => {
    const { json } = await blindbeatJson(
      'classify',
      '--model',
      model,
      '--simulate',
      '--outputs',
      'scores+map',
    );
    expect(json.map).toHaveLength(25);
    for (const window of json.map) expect(window).toHaveLength(4);
  });

  test('when --exact is given then scores are not rounded', async () => {
    const rounded = await blindbeatJson('classify', '--model', model, '--simulate');
    const exact = await blindbeatJson('classify', '--model', model, '--simulate', '--exact');
    expect(rounded.json.scores.N * 1000).toBeCloseTo(Math.round(rounded.json.scores.N * 1000), 9);
    expect(exact.json.scores.N).toBeCloseTo(exact.json.clearScores.N, 9);
    expect(exact.json.scores.N).not.toBe(rounded.json.scores.N);
  });

  test('when a start is given then the synthetic ECG is long enough', async () => {
    const { json } = await blindbeatJson('classify', '--model', model, '--simulate', '--start', '3.3');
    expect(json.warnings).toEqual([]);
  });

  test('when a short record is given then it is repeated and a warning says so', async () => {
    const path = join(folder, 'short.csv');
    await blindbeat('synth', '--seconds', '9', '--out', path);
    const { json, stderr } = await blindbeatJson('classify', path, '--model', model, '--simulate');
    expect(json.warnings).toEqual([expect.stringContaining('9.0 s of signal')]);
    expect(stderr).toContain('warning: Only 9.0 s of signal');
  });
});

describe('classify, wrong use', () => {
  const cases: [string, string[], number, RegExp][] = [
    ['no such ECG', ['nowhere.csv'], 8, /no ECG|no such file/i],
    ['an unknown kind of file', ['package.json'], 3, /unknown kind/],
    ['an unknown rhythm', ['--rhythm', 'samba'], 2, /normal, af, ectopic, noise/],
    ['a seed that is no number', ['--seed', 'one'], 2, /whole number/],
    ['a negative start', ['--start', '-3'], 2, /at least 0/],
    ['a start that is no number', ['--start', ''], 2, /number/],
    ['a rate of nothing', ['--rate', '0'], 2, /from 1 to 100000/],
    ['an unknown backend', ['--backend', 'gpu'], 2, /fast, seal/],
    ['unknown outputs', ['--outputs', 'everything'], 2, /scores\+map/],
    ['an unknown option', ['--fast'], 2, /unknown option/],
    ['two ECGs', ['a.csv', 'b.csv'], 2, /too many arguments/],
    ['a lead that is not there', ['--lead', 'V9'], 3, /no lead "V9"/],
    ['an ECG and a rhythm', ['package.json', '--rhythm', 'af'], 2, /either/],
  ];
  test.each(cases)('when there is %s then it is refused with words', async (_, args, code, words) => {
    const plain = await blindbeat('classify', ...args, '--model', model, '--simulate');
    expect(plain.stderr).toMatch(words);
    expect(plain.code).toBe(code);
    expect(plain.stdout).toBe('');
    const { json, code: again } = await blindbeatJson('classify', ...args, '--model', model, '--simulate');
    expect(again).toBe(code);
    expect(json.error.message).toMatch(words);
  });

  test('when the model is missing then its name and the shipped ones are told', async () => {
    const { code, stderr } = await blindbeat('classify', '--model', 'nobody');
    expect(code).toBe(8);
    expect(stderr).toContain('no model "nobody"');
  });

  test('when the record is too short then the least length is told', async () => {
    const path = join(folder, 'tiny.csv');
    await writeFile(path, Array.from({ length: 600 }, (_, i) => Math.sin(i / 20).toFixed(3)).join('\n'));
    const { code, stderr } = await blindbeat('classify', path, '--rate', '300', '--model', model);
    expect(code).toBe(3);
    expect(stderr).toContain('at least 5 s');
  });

  test('when a file of one column comes without --rate then the option is named', async () => {
    const { code, stderr } = await blindbeat('classify', join(folder, 'tiny.csv'), '--model', model);
    expect(code).toBe(3);
    expect(stderr).toContain('--rate');
  });

  test('when --rate contradicts the file then neither is believed', async () => {
    const path = join(folder, 'rated.csv');
    await blindbeat('synth', '--seconds', '20', '--out', path);
    const { code, stderr } = await blindbeat(
      'classify',
      path,
      '--rate',
      '250',
      '--model',
      model,
      '--simulate',
    );
    expect(code).toBe(3);
    expect(stderr).toMatch(/300|250/);
  });
});

describe('classify for a report', () => {
  test('when the answer is disclosed then the ECG, the scores and the clear ones are not there', async () => {
    const args = ['classify', '--model', model, '--simulate', '--outputs', 'scores+map', '--disclose'];
    const { json } = await blindbeatJson(...args);
    expect(Object.keys(json)).toEqual(['model', 'class', 'probability', 'disclosed']);
    const { stdout } = await blindbeat(...args);
    expect(stdout).toMatch(/about \d+0 %/);
    expect(stdout.trim().split('\n')).toHaveLength(4);
  });

  test.each(['--exact', '--profile'])('when %s is asked for too then it is refused', async (option) => {
    const { code, stderr } = await blindbeat(
      'classify',
      '--model',
      model,
      '--simulate',
      '--disclose',
      option,
    );
    expect(code).toBe(2);
    expect(stderr).toContain('cannot be used with');
  });
});
