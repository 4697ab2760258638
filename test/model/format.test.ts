import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlindbeatError } from '../../src/errors.ts';
import { loadModel, saveModel, shippedModels } from '../../src/model/files.ts';
import { parseModel, serialiseModel } from '../../src/model/format.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { deepList, mutated } from '../helpers/mutate.ts';
import { type RandomModelOptions, randomModel } from '../helpers/random-model.ts';

// biome-ignore lint/suspicious/noExplicitAny: the table below breaks a file in ways that no type allows
type Json = any;

const model = randomModel({ samples: 64, channels: [3, 4], dilation: [1, 2] });

function file(): { json: Json; weights: Uint8Array } {
  const { json, weights } = serialiseModel(model);
  return { json: JSON.parse(JSON.stringify(json)), weights };
}

test('a model survives the way through its file unchanged', () => {
  const { json, weights } = file();
  expect(parseModel(json, weights)).toEqual(model);
});

test('so does one with ReLU and max-pooling', () => {
  const relu = randomModel({ samples: 64, channels: [3, 4], relu: true });
  const { json, weights } = serialiseModel(relu);
  expect(parseModel(JSON.parse(JSON.stringify(json)), weights)).toEqual(relu);
});

test('so does one with Chebyshev series, digit for digit', () => {
  const series = randomModel({ samples: 64, channels: [3, 4], series: [16, 3] });
  const { json, weights } = serialiseModel(series);
  expect(parseModel(JSON.parse(JSON.stringify(json)), weights)).toEqual(series);
});

test('so does one with helical convolutions', () => {
  const helical = randomModel({ samples: 64, channels: [4, 8, 8], helix: [0, 2, 4] });
  const { json, weights } = serialiseModel(helical);
  expect(parseModel(JSON.parse(JSON.stringify(json)), weights)).toEqual(helical);
});

test('a file of before there was a choice has polynomials and average pooling', () => {
  const { json, weights } = file();
  for (const block of json.blocks) {
    delete block.pooling;
    delete block.helix;
    delete block.activation.kind;
  }
  expect(parseModel(json, weights)).toEqual(model);
});

test('weights may lie anywhere in a larger buffer', () => {
  const { json, weights } = file();
  const larger = new Uint8Array(weights.length + 3);
  larger.set(weights, 3);
  expect(parseModel(json, larger.subarray(3))).toEqual(model);
});

describe('a broken file is refused with words', () => {
  const cases: [string, (json: Json) => unknown, RegExp][] = [
    ['not an object', () => 5, /model\.json: expected an object/],
    ['null', () => null, /expected an object/],
    ['another format', (j) => ({ ...j, format: 'onnx' }), /format: expected "blindbeat-model"/],
    ['a later version', (j) => ({ ...j, version: 2 }), /version: expected 1, got 2/],
    ['no name', (j) => ({ ...j, name: '' }), /name: expected a name/],
    ['one class', (j) => ({ ...j, classes: ['N'] }), /at least two/],
    ['a class twice', (j) => ({ ...j, classes: ['N', 'A', 'O', 'N'] }), /different names/],
    ['classes of another type', (j) => ({ ...j, classes: [1, 2, 3, 4] }), /classes\[0\]: expected a name/],
    ['other samples than the preprocessing', (j) => ({ ...j, samples: 128 }), /preprocessing makes 64/],
    ['a fraction of samples', (j) => ({ ...j, samples: 64.5 }), /samples: expected a whole number/],
    ['no preprocessing', (j) => ({ ...j, preprocessing: undefined }), /preprocessing: /],
    ['no blocks', (j) => ({ ...j, blocks: [] }), /blocks: expected at least one/],
    ['blocks of another type', (j) => ({ ...j, blocks: 'six' }), /blocks: expected a list/],
    [
      'an even kernel',
      (j) => edit(j, 0, { kernel: 4 }),
      /blocks\[0\]\.kernel: expected an odd number, got 4/,
    ],
    [
      'an unknown activation',
      (j) => edit(j, 0, { activation: { kind: 'tanh', range: [-1, 1] } }),
      /blocks\[0\]\.activation\.kind: expected "polynomial" or "chebyshev" or "relu"/,
    ],
    [
      'an unknown pooling',
      (j) => edit(j, 0, { pooling: 'median' }),
      /blocks\[0\]\.pooling: expected "average" or "max"/,
    ],
    ['no dilation', (j) => edit(j, 0, { dilation: 0 }), /blocks\[0\]\.dilation: expected a whole number/],
    ['a pool that does not divide', (j) => edit(j, 0, { pool: 5 }), /blocks\[0\]\.pool: 5 does not divide/],
    ['channels that do not chain', (j) => edit(j, 1, { inChannels: 5 }), /blocks\[1\]\.inChannels: 5, but/],
    ['absurd channels', (j) => edit(j, 1, { outChannels: 1e9 }), /outChannels: .* from 1 to 8192/],
    ['no activation', (j) => edit(j, 0, { activation: null }), /blocks\[0\]\.activation: expected an object/],
    ['an empty range', (j) => edit(j, 0, { activation: { degree: 2, range: [1, 1] } }), /low < high/],
    [
      'more coefficients than there are',
      (j) => edit(j, 0, { activation: { degree: 3, range: [-1, 1] } }),
      /take/,
    ],
    [
      'a series of one coefficient',
      (j) => edit(j, 0, { activation: { kind: 'chebyshev', coefficients: [1], range: [-1, 1] } }),
      /blocks\[0\]\.activation\.coefficients: expected at least two/,
    ],
    [
      'a series of degree 64',
      (j) =>
        edit(j, 0, { activation: { kind: 'chebyshev', coefficients: Array(65).fill(1), range: [-1, 1] } }),
      /coefficients: expected a list of at most 64/,
    ],
    [
      'a coefficient that is no number',
      (j) => edit(j, 0, { activation: { kind: 'chebyshev', coefficients: [1, null], range: [-1, 1] } }),
      /coefficients\[1\]: expected a number/,
    ],
    [
      'a coefficient beyond all plans',
      (j) => edit(j, 0, { activation: { kind: 'chebyshev', coefficients: [1, 1e308], range: [-1, 1] } }),
      /coefficients\[1\]: expected a number from -1000000000 to 1000000000/,
    ],
    ['a limit of 0', (j) => ({ ...j, scoreLimit: 0 }), /scoreLimit: expected a positive/],
    [
      'metrics that are a list',
      (j) => ({ ...j, provenance: { ...j.provenance, metrics: [] } }),
      /provenance\.metrics: expected an object, got a list of 0/,
    ],
    ['no provenance', (j) => ({ ...j, provenance: undefined }), /provenance: expected an object/],
    [
      'a metric that is no number',
      (j) => ({ ...j, provenance: { ...j.provenance, metrics: { f1: 'good' } } }),
      /metrics\.f1/,
    ],
    ['a name for the terminal', (j) => ({ ...j, name: 'm\u001b[2J' }), /name: expected a name of 1 to 64/],
    [
      'a class that turns others around',
      (j) => ({ ...j, classes: ['N', '\u202eA', 'O', '~'] }),
      /classes\[1\]: expected a name/,
    ],
    [
      'more classes than a reply carries',
      (j) => ({ ...j, classes: Array.from({ length: 17 }, (_, i) => `c${i}`) }),
      /classes: expected a list of at most 16/,
    ],
    [
      'samples without end',
      (j) => ({ ...j, samples: 2 ** 27, preprocessing: { ...j.preprocessing, samples: 2 ** 27 } }),
      /samples: expected a whole number from 1 to 32768/,
    ],
    [
      'more figures than anyone measures',
      (j) => ({
        ...j,
        provenance: {
          ...j.provenance,
          metrics: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, 1])),
        },
      }),
      /metrics: expected a few figures/,
    ],
    [
      'activations that fill memory',
      (j) => wide(j, { samples: 8192, channels: 8192, kernel: 1 }),
      /a block has 67108864 numbers/,
    ],
    [
      'work for hours',
      (j) => wide(j, { samples: 64, channels: 8192, kernel: 1023 }),
      /a segment takes \d+ multiplications, at most 2000000000/,
    ],
    [
      'a helix that is padded beyond memory',
      (j) => edit(wide(j, { samples: 8192, channels: 3, kernel: 1 }), 1, { helix: 8192 }),
      /a block has 67108864 numbers/,
    ],
    [
      'weights beyond any',
      (j) => ({ ...j, weights: { ...j.weights, bytes: 1e12 } }),
      /weights\.bytes: expected/,
    ],
    ['another length', (j) => ({ ...j, weights: { ...j.weights, bytes: 8 } }), /weights\.bytes: 8, but/],
    ['another checksum', (j) => ({ ...j, weights: { ...j.weights, sha256: '00' } }), /weights\.sha256/],
  ];
  test.each(cases)('%s', (_, change, message) => {
    const { json, weights } = file();
    const call = () => parseModel(change(json), weights);
    expect(call).toThrow(expect.objectContaining({ code: 'MODEL' }));
    expect(call).toThrow(message);
  });

  /** The same network, its second block with many channels for its first and its own input. */
  function wide(
    json: Json,
    { samples, channels, kernel }: { samples: number; channels: number; kernel: number },
  ) {
    const seconds = (samples * json.preprocessing.seconds) / json.samples;
    const preprocessing = { ...json.preprocessing, samples, seconds };
    return edit(edit({ ...json, samples, preprocessing }, 0, { outChannels: channels, pool: 1 }), 1, {
      inChannels: channels,
      outChannels: channels,
      kernel,
      pool: 1,
    });
  }

  function edit(json: Json, i: number, change: object): Json {
    return { ...json, blocks: json.blocks.map((b: Json, k: number) => (k === i ? { ...b, ...change } : b)) };
  }

  test('a flipped bit of the weights', () => {
    const { json, weights } = file();
    weights[5] ^= 1;
    expect(() => parseModel(json, weights)).toThrow(/not the file that this model\.json was written with/);
  });

  test('weights that are no numbers', () => {
    const broken = structuredClone(model);
    broken.blocks[1].weights[2] = Number.NaN;
    const { json, weights } = serialiseModel(broken);
    expect(() => parseModel(json, weights)).toThrow(/finite numbers only/);
  });

  test('all that is wrong is said at once', () => {
    const { json, weights } = file();
    const broken = { ...edit(json, 0, { kernel: 4 }), name: 7, scoreLimit: -1 };
    expect(() => parseModel(broken, weights)).toThrow(/name[\s\S]*kernel[\s\S]*scoreLimit/);
  });
});

test.each<[string, RandomModelOptions]>([
  ['polynomials', { helix: [0, 2] }],
  ['Chebyshev series', { series: [16, 3] }],
  ['ReLU', { relu: true }],
])('when a model.json with %s is changed anywhere, then it is refused or can be computed', (_, options) => {
  const { json, weights } = serialiseModel(randomModel({ samples: 64, channels: [4, 8], ...options }));
  let accepted = 0;
  fc.assert(
    fc.property(mutated(json), (value) => {
      let read: Model;
      try {
        read = parseModel(value, weights);
      } catch (error) {
        expect(error).toBeInstanceOf(BlindbeatError);
        expect(error).toMatchObject({ code: 'MODEL' });
        return;
      }
      accepted++;
      expect(forward(read, new Float32Array(64)).scores).toHaveLength(read.classes.length);
      const again = serialiseModel(read);
      expect(parseModel(again.json, again.weights)).toEqual(read);
    }),
    { numRuns: 500, seed: 1 },
  );
  expect(accepted).toBeGreaterThan(20);
});

test('when a model.json is nested too deep for recursion, then it is refused', () => {
  const { json, weights } = file();
  for (const key of ['note', ...Object.keys(json)]) {
    const read = () => parseModel({ ...json, [key]: deepList() }, weights);
    expect(read).toThrow(expect.objectContaining({ code: 'MODEL' }));
  }
});

describe('on disk', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'blindbeat-model-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('save and load', async () => {
    const target = join(folder, 'a', 'model');
    await saveModel(model, target);
    await saveModel(model, target);
    expect(await loadModel(target)).toEqual(model);
    expect((await readdir(target)).sort()).toEqual(['model.json', 'weights.bin']);
  });

  test('an unknown name lists the shipped models', async () => {
    for (const name of await shippedModels()) {
      await expect(loadModel('no-such-model')).rejects.toThrow(name);
    }
    await expect(loadModel('no-such-model')).rejects.toMatchObject({ code: 'FILE' });
    await expect(loadModel(join(folder, 'none'))).rejects.toMatchObject({ code: 'FILE' });
  });

  test('a model.json that is cut off is refused by name', async () => {
    await saveModel(model, folder);
    await writeFile(join(folder, 'model.json'), '{"format": "blind');
    await expect(loadModel(folder)).rejects.toThrow(/model\.json is not JSON/);
  });

  test('files larger than any model are refused before they are read', async () => {
    await saveModel(model, folder);
    await truncate(join(folder, 'weights.bin'), 2 ** 40);
    await expect(loadModel(folder)).rejects.toThrow(
      /of at most 100 MB at .*weights\.bin, which has 1\.10 TB/,
    );
    await saveModel(model, folder);
    await truncate(join(folder, 'model.json'), 2 ** 40);
    await expect(loadModel(folder)).rejects.toMatchObject({ code: 'MODEL' });
  });

  test.each(['model.json', 'weights.bin'])('a %s that is a device or a pipe is refused', async (name) => {
    await saveModel(model, folder);
    await rm(join(folder, name));
    await symlink('/dev/zero', join(folder, name));
    await expect(loadModel(folder)).rejects.toThrow(/which is a device/);
    await rm(join(folder, name));
    execFileSync('sh', ['-c', 'mkfifo "$0"', join(folder, name)]);
    await expect(loadModel(folder)).rejects.toMatchObject({ code: 'FILE' });
  });

  test('a folder that cannot be written is a FILE error', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(saveModel(model, join(folder, 'file'))).rejects.toMatchObject({ code: 'FILE' });
  });
});
