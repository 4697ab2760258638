import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { loadBackend } from '../../training/backend.ts';
import { hasNative } from './native.ts';

const read = (file: string) => readFileSync(file, 'utf8');

test('when the wasm backend is asked for, then it is in use, and the log says why', async () => {
  expect(await loadBackend('wasm')).toEqual({
    name: 'wasm',
    description: 'wasm (WebAssembly, one thread; asked for)',
  });
});

test.skipIf(!hasNative)(
  'when tfjs-node is installed (skipped where not), then it is the default',
  async () => {
    expect((await loadBackend()).name).toBe('tfjs-node');
  },
);

test.skipIf(hasNative)('when tfjs-node is missing (skipped where not), then wasm says so', async () => {
  expect((await loadBackend()).description).toMatch(/^wasm .*tfjs-node does not load \(Cannot find/);
  const insisted = loadBackend('tfjs-node');
  await expect(insisted).rejects.toMatchObject({ code: 'ENVIRONMENT' });
  await expect(insisted).rejects.toThrow(/npm install --no-save \.\/training/);
});

test('when packages of TensorFlow.js are declared or named in an error, then all are of one version', () => {
  const { devDependencies } = JSON.parse(read('package.json'));
  const version = JSON.parse(read('training/package.json')).dependencies['@tensorflow/tfjs-node'];
  expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  expect(devDependencies['@tensorflow/tfjs-core']).toBe(version);
  expect(devDependencies['@tensorflow/tfjs-backend-wasm']).toBe(version);
  for (const file of ['training/backend.ts', 'src/cli/training.ts']) {
    const named = [...read(file).matchAll(/@tensorflow\/([\w-]+)@([\d.]*\d)/g)];
    const packages = ['tfjs-backend-wasm', 'tfjs-core', 'tfjs-node'];
    expect([file, ...named.map(([, name]) => name).sort()]).toEqual([file, ...packages]);
    expect(new Set(named.map(([, , found]) => found))).toEqual(new Set([version]));
  }
});
