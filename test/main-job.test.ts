import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { loadModel } from '../src/model/files.ts';

/** Node's own limit on an encrypted classification: 1 minute on an idle core, several on a busy one. */
const TIMEOUT = 8 * 60_000;
const BIN = resolve(import.meta.dirname, '../bin/blindbeat.js');

describe('the main job', () => {
  test('when the built-in ECG is classified by the shipped model, then encrypted and clear agree', {
    timeout: TIMEOUT,
  }, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [BIN, 'classify', '--json']);
    const result = JSON.parse(stdout);
    const { classes, name } = await loadModel('deepcardio-deg2');
    expect(result.model).toBe(name);
    expect(Object.keys(result.scores)).toEqual(classes);
    const best = (scores: Record<string, number>) => classes.toSorted((a, b) => scores[b] - scores[a])[0];
    expect(result.class).toBe(best(result.clearScores));
    expect(result.class).toBe(best(result.scores));
    expect(result.maxError).toBeLessThanOrEqual(1e-2);
    expect(result.params).toMatchObject({ n: 16384, security: 128 });
    expect(result.params.logQP).toBeLessThanOrEqual(430);
    expect(result.bytes.request).toBeLessThanOrEqual(1e6);
    expect(result.bytes.reply).toBeLessThanOrEqual(0.3e6);
    expect(result.bytes.evaluationKeys).toBeLessThanOrEqual(350e6);
    expect(result.peakMemory.server).toBeLessThanOrEqual(4 * 2 ** 30);
  });
});
