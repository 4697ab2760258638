import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, parse } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BlindbeatError } from '../../src/errors.ts';
import { loadConfig, type TrainingConfig } from '../../training/config.ts';
import { mutated } from '../helpers/mutate.ts';

const NAMES = readdirSync(join(import.meta.dirname, '../../training/configs')).map(
  (file) => parse(file).name,
);
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'blindbeat-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A config through a JSON file. */
async function throughFile(config: unknown): Promise<TrainingConfig> {
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify(config) ?? '');
  return await loadConfig(path);
}

test.each(NAMES)('when %s is loaded, by name or as JSON, then it is the same', async (name) => {
  const config = await loadConfig(name);
  expect(await throughFile(config)).toEqual(JSON.parse(JSON.stringify(config)));
});

test('when a network has fixed polynomials, then they are read', async () => {
  const config = await loadConfig('deepcardio-deg2');
  const activation = config.architecture.channels.map(() => ({ range: [-3, 3], coefficients: [0, 1, 2] }));
  const architecture = { ...config.architecture, activation };
  expect((await throughFile({ ...config, architecture })).architecture).toEqual(architecture);
});

test('when much is wrong, then all of it is listed', async () => {
  const config = await loadConfig('deepcardio-deg2');
  const exact = { ...config.phases.exact, epochs: 1.5, control: { form: 'linear' } };
  const architecture = { ...config.architecture, activation: 'tanh' };
  const wrong = {
    ...config,
    batch: '32',
    architecture,
    phases: { normalised: config.phases.normalised, exact },
  };
  await expect(throughFile(wrong)).rejects.toThrow(
    new RegExp(
      [
        'no training config:',
        'architecture\\.activation: expected "square", "relu" or a list of Chebyshev series, got "tanh"',
        'batch: expected a whole number from 1 to 16777216, got "32"',
        'phases\\.exact\\.epochs: expected a whole number .*, got 1\\.5',
        'phases\\.exact\\.control\\.start: expected a number, got nothing',
        'phases\\.exact\\.control\\.form: expected "quadratic" or "bounded", got "linear"',
      ].join('\\n.*'),
    ),
  );
});

test('when a config is changed anywhere, then it is refused or comes back as it is', async () => {
  const config = await loadConfig('deepcardio-deg2');
  await fc.assert(
    fc.asyncProperty(mutated(config), async (value) => {
      try {
        expect(await throughFile(value)).toEqual(JSON.parse(JSON.stringify(value)));
      } catch (error) {
        expect(error).toBeInstanceOf(BlindbeatError);
        expect(error).toMatchObject({ code: 'USAGE' });
      }
    }),
    { numRuns: 300, seed: 1 },
  );
});
