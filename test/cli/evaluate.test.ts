import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { zipSync } from 'fflate';
import { beforeAll, describe, expect, test } from 'vitest';
import split from '../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { type Preprocessing, prepareSegment } from '../../src/ecg/preprocess.ts';
import type { Rhythm } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { loadModel, saveModel } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { quantised, recordFiles, referenceText, type TestRecord, writeDataset } from '../helpers/dataset.ts';
import { randomModel } from '../helpers/random-model.ts';
import { blindbeat, blindbeatJson, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const model = at('small');
const other = at('other');
const own = at('own');
const cinc = at('cinc');
const CLASSES = ['N', 'A', 'O', '~'];

/** Records of all classes; the last is flat, which the client refuses. */
function records(ids: string[]): TestRecord[] {
  const rhythms: Rhythm[] = ['normal', 'af', 'ectopic', 'noise'];
  return ids.map((id, i) => {
    const { mv } = synthesise({ rhythm: rhythms[i % 4], seconds: 12 + i, rate: 300, seed: i }).leads[0];
    return [id, CLASSES[i % 4], i === ids.length - 1 ? new Float64Array(4000) : mv];
  });
}

const OWN = records(['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7']);
const CINC = records([...split.test.slice(0, 3), ...split.validation.slice(0, 2), 'X1', 'X2']);

beforeAll(async () => {
  await saveModel(centred(20), model);
  await saveModel(centred(2), other);
  writeDataset(own, OWN);
  writeDataset(cinc, CINC);
});

/**
 * A small network that does not name one class for all: its mean scores over the records are 0, the largest
 * 8.
 */
function centred(seed: number): Model {
  const small = randomModel({ samples: 2048, channels: [8], seed });
  const heard = OWN.slice(0, -1).map(
    ([, , mv]) => forward(small, prepareSegment(mv, 300, small.preprocessing).samples).scores,
  );
  for (const scores of heard)
    scores.forEach((s, c) => {
      small.dense.bias[c] -= s / heard.length;
    });
  const mean = CLASSES.map((_, c) => heard.reduce((sum, scores) => sum + scores[c], 0) / heard.length);
  const gain = 8 / Math.max(...heard.flatMap((scores) => [...scores].map((s, c) => Math.abs(s - mean[c]))));
  small.dense.weights = small.dense.weights.map((w) => gain * w);
  small.dense.bias = small.dense.bias.map((b) => gain * b);
  return small;
}

/** The class of each record as one would compute it by hand; null for none. */
function classesOf(list: TestRecord[], loaded: Model): (string | null)[] {
  const p: Preprocessing = loaded.preprocessing;
  return list.map(([, , mv]) => {
    if (mv.every((x) => x === 0)) return null;
    const { scores } = forward(loaded, prepareSegment(quantised(mv), 300, p).samples);
    return loaded.classes[scores.indexOf(Math.max(...scores))];
  });
}

/** Counts, F1 and accuracy from scratch. */
function figuresOf(labels: string[], named: (string | null)[]) {
  const count = (f: (label: string, name: string | null) => boolean) =>
    labels.filter((label, i) => f(label, named[i])).length;
  const f1 = CLASSES.map((c) => {
    const hits = count((l, n) => l === c && n === c);
    const all = count((l) => l === c) + count((_, n) => n === c);
    return all === 0 ? 0 : (2 * hits) / all;
  });
  return {
    records: labels.length,
    confusion: CLASSES.map((l) => CLASSES.map((n) => count((label, name) => label === l && name === n))),
    unnamed: CLASSES.map((l) => count((label, name) => label === l && name === null)),
    f1: Object.fromEntries(CLASSES.map((c, i) => [c, f1[i]])),
    accuracy: count((l, n) => l === n) / labels.length,
  };
}

const run = (...args: string[]) => blindbeatJson('evaluate', '--model', model, ...args);

describe('evaluate', () => {
  test('when a data set of one own is evaluated then the object says what one counts by hand', async () => {
    const { json, code } = await run('--data', own, '--split', 'all');
    expect(code).toBe(0);
    const named = classesOf(OWN, await loadModel(model));
    expect(new Set(named).size).toBeGreaterThan(2);
    const labels = OWN.map(([, label]) => label);
    const figures = figuresOf(labels, named);
    expect(json).toMatchObject({ ...figures, model: 'random-20', data: 'own', split: 'all', seed: 1 });
    const { N, A, O } = figures.f1;
    expect(json.cincScore).toBeCloseTo((N + A + O) / 3, 12);
    expect(json.ci95).toEqual(json.intervals.cincScore);
    expect(json.results.map((r: { class: string | null }) => r.class)).toEqual(named);
    expect(json.notClassified).toEqual([{ id: 'P7', label: 'O', reason: expect.stringContaining('flat') }]);
    expect(json.ranges.scores).toHaveLength(3);
    expect(json.ranges.blocks).toEqual([expect.objectContaining({ range: [-4, 4] })]);
    expect(json.command).toBe(`blindbeat evaluate --model ${model} --data PATH --split all --seed 1`);
    expect(json.machine).toMatchObject({ node: process.version, nodeSeal: '7.0.0' });
  });

  test('when the set is a zip with its labels inside then nothing changes', async () => {
    const files = Object.assign({}, ...OWN.map(recordFiles));
    const labels = new TextEncoder().encode(referenceText(OWN));
    writeFileSync(at('own.zip'), zipSync({ ...files, 'REFERENCE-v3.csv': labels }));
    const { json } = await run('--data', at('own.zip'), '--split', 'all');
    const { results, confusion } = (await run('--data', own, '--split', 'all')).json;
    expect(json).toMatchObject({ results, confusion, data: 'own.zip' });
  });

  test.each([
    ['test', [0, 1, 2]],
    ['validation', [3, 4]],
    ['train', [5, 6]],
    ['all', [0, 1, 2, 3, 4, 5, 6]],
  ])('when the split is %s then its records are taken', async (part, indices) => {
    const { json, stderr } = await run('--data', cinc, '--split', part);
    const ids = indices.map((i) => CINC[i][0]).sort();
    expect(json.results.map((r: { id: string }) => r.id)).toEqual(ids);
    const trained = part === 'train' || part === 'all';
    expect(/2 of the records are in the split's train part/.test(stderr)).toBe(trained);
  });

  test('when no split is named then it is the test part', async () => {
    const { json } = await run('--data', cinc);
    expect([json.split, json.records]).toEqual(['test', 3]);
  });

  test('when there is a limit then the seed draws so many records', async () => {
    const ids = async (...args: string[]) =>
      (await run('--data', own, '--split', 'all', ...args)).json.results.map((r: { id: string }) => r.id);
    const three = await ids('--limit', '3');
    expect(three).toHaveLength(3);
    expect(await ids('--limit', '3')).toEqual(three);
    const seeds = await Promise.all(['2', '3', '4'].map((seed) => ids('--limit', '3', '--seed', seed)));
    expect(seeds.some((drawn) => drawn.join() !== three.join())).toBe(true);
    expect(await ids('--limit', '99')).toHaveLength(7);
  });

  test('when a score is beyond the limit of the model then the record is a miss and is told', async () => {
    const strict = at('strict');
    await saveModel({ ...randomModel({ samples: 2048, channels: [8] }), scoreLimit: 1e-3 }, strict);
    const { code, stdout } = await blindbeat('evaluate', '--model', strict, '--data', own, '--split', 'all');
    expect(code).toBe(0);
    expect(stdout).toMatch(/accuracy +0\.000/);
    expect(stdout).toMatch(/not classified +7 of 7, counted as misses/);
    expect(stdout).toMatch(/P1: A score is beyond \+-0\.001/);
    expect(stdout).toMatch(/labelled \\ named +N +A +O +~ +none/);
  });

  test('when two models are compared then figures of both and their difference are there', async () => {
    const { json } = await run('--data', own, '--split', 'all', '--against', other);
    const second = await blindbeatJson('evaluate', '--model', other, '--data', own, '--split', 'all');
    const { model: name, confusion, cincScore, intervals } = second.json;
    expect(json.against).toMatchObject({ model: name, confusion, cincScore, intervals });
    expect(json.against.difference.cincScore).toBeCloseTo(json.cincScore - cincScore, 12);
    const same = await run('--data', own, '--split', 'all', '--against', model);
    expect(same.json.against.difference).toEqual({ cincScore: 0, ci95: [0, 0] });
  });

  test('when records are encrypted then they agree with the clear model', async () => {
    const { json, code } = await run('--data', cinc, '--split', 'all', '--encrypted', '7');
    expect(code).toBe(0);
    const { encrypted } = json;
    // All but the flat one, which the client refuses in either case.
    expect(encrypted).toMatchObject({ records: 7, compared: 6, sameClass: 6, agreement: 1, different: [] });
    expect(encrypted).toMatchObject({ confusion: json.confusion, f1: json.f1, unnamed: json.unnamed });
    expect(encrypted.maxError).toBeGreaterThan(0); // it was encrypted
    expect(encrypted.maxError).toBeLessThan(1e-2);
    expect(encrypted.precisionBits).toBeCloseTo(-Math.log2(encrypted.rmsError), 9);
    expect(encrypted.precisionBits).toBeGreaterThan(7);
    expect(encrypted.minMs).toBeGreaterThan(0);
    expect(encrypted.medianMs).toBeGreaterThanOrEqual(encrypted.minMs);
    for (const [i, result] of encrypted.results.entries()) {
      expect(result.class).toBe(json.results[i].class);
      for (const c of result.scores ? CLASSES : [])
        expect(Math.abs(result.scores[c] - json.results[i].scores[c])).toBeLessThan(1e-2);
    }
  });

  test('when it prints for people and writes files then tables, object and picture agree', async () => {
    const file = at('out.json');
    const svg = at('out.svg');
    const args = ['--data', cinc, '--encrypted', '1', '--against', other, '--json', file, '--svg', svg];
    const { stdout, stderr, code } = await blindbeat('evaluate', '--model', model, ...args);
    expect(code).toBe(0);
    const json = JSON.parse(readFileSync(file, 'utf8'));
    expect(stdout).toMatch(new RegExp(`CinC score +${json.cincScore.toFixed(3)} +[\\d.]+ to [\\d.]+`));
    for (const part of [
      '3 records of the test part',
      'atrial fibrillation',
      'largest |score|',
      'block 1',
      'random-2',
      'paired',
      'same class  1 of 1',
      ' bits; largest score error ',
      'not a medical device',
      `written: ${svg}`,
    ]) {
      expect(stdout).toContain(part);
    }
    // The server refuses what cannot be encrypted before the long work; keys are made when they are needed.
    const order = ['starting the server', 'in the clear', 'making keys', 'encrypted ('];
    expect(order.map((part) => stderr.indexOf(part))).toEqual(
      order.map((part) => stderr.indexOf(part)).toSorted((a, b) => a - b),
    );
    for (const part of order) expect(stderr).toContain(part);
    const picture = readFileSync(svg, 'utf8');
    expect(picture).toMatch(/^<svg /);
    for (const part of ['random-20: CinC score', '3 records of the test part', 'atrial fibrillation', 'F1']) {
      expect(picture).toContain(part);
    }
    expect((await readdir(dirname(file))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('evaluate refuses', () => {
  const cases: [string, string[], number, RegExp][] = [
    ['no data', [], 2, /--data/],
    ['data that are not there', ['--data', '/no/where'], 10, /no CinC 2017 data set at \/no\/where/],
    [
      'a set that the split does not know',
      ['--data', own],
      2,
      /none of the records.*test part.*all of its 7.*--split all/,
    ],
    ['its train part', ['--data', own, '--split', 'train'], 2, /--split all/],
    ['an unknown split', ['--data', own, '--split', 'hidden'], 2, /validation/],
    ['no records', ['--data', own, '--limit', '0'], 2, /whole number of at least 1/],
    ['a limit that is no number', ['--data', own, '--limit', 'ten'], 2, /whole number/],
    ['no encrypted records', ['--data', own, '--encrypted', '0'], 2, /whole number/],
    ['an unknown model to compare with', ['--data', own, '--against', 'nobody'], 8, /no model "nobody"/],
    ['a picture in no folder', ['--data', own, '--svg', '/no/where/x.svg'], 8, /cannot be written/],
    ['records that are nowhere, to encrypt', ['--data', '/no/where', '--encrypted', '1'], 10, /no CinC 2017/],
  ];
  test.each(cases)('%s, with words and a code', async (_, args, code, words) => {
    const plain = await blindbeat('evaluate', '--model', model, ...args);
    expect([plain.code, plain.stdout]).toEqual([code, '']);
    expect(plain.stderr).toMatch(words);
    expect((await run(...args)).json.error.message).toMatch(words);
  });

  test('anything, in words if --json names a file, which is not written', async () => {
    const file = at('never.json');
    const { stdout, stderr } = await blindbeat('evaluate', '--data', own, '--model', model, '--json', file);
    expect([stdout, existsSync(file)]).toEqual(['', false]);
    expect(stderr).toContain('--split all');
  });

  test('one file for the object and the picture', async () => {
    const file = at('both');
    const args = ['--data', own, '--split', 'all', '--json', file, '--svg', file];
    const { code, stderr } = await blindbeat('evaluate', '--model', model, ...args);
    expect(code).toBe(2);
    expect(stderr).toContain('is another file of the same command');
  });

  test('models of other classes', async () => {
    const three = at('three');
    await saveSmallModel(three, { channels: [8], classes: 3 });
    const against = await run('--data', own, '--split', 'all', '--against', three);
    expect(against.json.error.code).toBe('MISMATCH');
    const alone = await blindbeatJson('evaluate', '--model', three, '--data', own, '--split', 'all');
    expect(alone.json.error.message).toMatch(/labelled "~"/);
  });

  test('a network that cannot be encrypted before it is evaluated in the clear', async () => {
    const cubic = at('cubic');
    await saveSmallModel(cubic, { channels: [8], degree: 3 });
    const { code, stderr } = await blindbeat(
      ...['evaluate', '--model', cubic, '--data', own, '--split', 'all', '--encrypted', '1'],
    );
    expect(code).toBe(new BlindbeatError('PLAN', '').exitCode);
    expect(stderr).not.toContain('in the clear');
  });
});

const SHARED = join(import.meta.dirname, '../../../shared/data/cinc2017');

describe.skipIf(!existsSync(SHARED))('the shipped model on ../shared (skipped where it is missing)', () => {
  test('when test records are drawn then their figures are in the range of the model card', async () => {
    const { json } = await blindbeatJson('evaluate', '--data', SHARED, '--limit', '60');
    const { test: card } = JSON.parse(readFileSync('models/deepcardio-deg2/metrics.json', 'utf8'));
    expect(json.records).toBe(60);
    expect(Math.abs(json.accuracy - card.accuracy)).toBeLessThan(0.15); // three deviations of 60 records
    expect(json.ranges.scores[0].score).toBeLessThanOrEqual(card.largestScore + 1e-9);
    for (const { share } of json.ranges.blocks) expect(share).toBeLessThanOrEqual(1);
  });
});
