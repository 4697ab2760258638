import { beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { loadModel, shippedModels } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { loadBackend } from '../../training/backend.ts';
import type { Architecture } from '../../training/config.ts';
import { fromModel, toModel } from '../../training/convert.ts';
import { hostileInputs } from '../../training/hostile.ts';
import {
  batchStatistics,
  computeScores,
  createNetwork,
  foldBatchNorm,
  type Network,
  plainOf,
} from '../../training/network.ts';
import { checkRanges, measureRanges } from '../../training/ranges.ts';
import { randomModel } from '../helpers/random-model.ts';

const shipped = await shippedModels();

const SMALL: Architecture = {
  samples: 64,
  classes: ['N', 'A', 'O', '~'],
  channels: [3, 4, 5],
  kernel: 5,
  dilations: [1, 2, 4],
  pool: 2,
  activation: 'square',
  pooling: 'average',
};

/** A network whose batch norm is no identity. */
function network(activation: Architecture['activation'] = 'square'): Network {
  const made = createNetwork({ ...SMALL, activation }, new Random(1));
  const random = new Random(2);
  for (const p of made.parameters) {
    if (p.name.endsWith('conv')) continue;
    p.values.forEach((v, i) => {
      p.values[i] = v + 0.1 * random.normal();
    });
  }
  return made;
}

function noise(records: number, samples: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: records * samples }, () => 0.5 * random.normal());
}

/** Scores of a model's float forward pass, one segment [samples] after the other. */
function forwardScores(model: Model, segments: Float32Array): number[] {
  const { samples } = model;
  return Array.from({ length: segments.length / samples }, (_, i) => [
    ...forward(model, segments.subarray(samples * i, samples * (i + 1))).scores,
  ]).flat();
}

/** Expects as many numbers, none of which is `tolerance` off. */
function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: (expected: number) => number = () => 1e-4,
): void {
  expect(actual.length).toBeGreaterThan(0);
  expect(actual).toHaveLength(expected.length);
  for (let i = 0; i < expected.length; i++)
    expect(Math.abs(actual[i] - expected[i])).toBeLessThan(tolerance(expected[i]));
}

const details = (blocks: number) => ({
  name: 'test',
  preprocessing: { ...DEFAULT_PREPROCESSING, samples: 64, seconds: 0.46875, minimumSeconds: 0.4 },
  scoreLimit: 32,
  ranges: Array.from({ length: blocks }, (): [number, number] => [-9, 9]),
  provenance: { data: '', seed: 1, command: '', createdAt: '', metrics: {} },
});

describe('on the wasm backend, which every machine has', () => {
  beforeAll(async () => {
    await loadBackend('wasm');
  });

  test.each(['square', 'relu'] as const)('folding batch norm is exact: %s', (activation) => {
    const made = network(activation);
    const segments = noise(6, 64, 3);
    // Folded with the very batch's statistics, the exact network computes what the normalised one does.
    const folded = foldBatchNorm(made, batchStatistics(made, segments));
    expectClose(computeScores(folded, segments), computeScores(made, segments));
  });

  test.each(['square', 'relu'] as const)(
    'an exported %s network computes what TensorFlow.js computes',
    (activation) => {
      const made = network(activation);
      const segments = noise(4, 64, 4);
      const folded = foldBatchNorm(made, batchStatistics(made, noise(8, 64, 5)));
      expectClose(forwardScores(toModel(folded, details(3)), segments), computeScores(folded, segments));
    },
  );

  test.each(['square', 'relu'] as const)('a %s network survives the way through a model', (activation) => {
    const normalised = network(activation);
    const made = foldBatchNorm(normalised, batchStatistics(normalised, noise(8, 64, 5)));
    const again = fromModel(toModel(made, details(3)));
    expect(again.architecture).toEqual(made.architecture);
    const shapes = ({ parameters }: Network) => parameters.map((p) => [p.name, p.shape]);
    expect(shapes(again)).toEqual(shapes(made));
    for (const [k, { values }] of made.parameters.entries())
      expectClose(again.parameters[k].values, values, () => 5e-6);
  });

  test('a network of polynomials computes as in TensorFlow.js, and survives the way through a model', () => {
    const series = [3, 4, 2].map((degree) => ({
      range: [-3, 4] as const,
      coefficients: [0.5, 1, 0.4, -0.3, 0.2].slice(0, degree + 1),
    }));
    const normalised = network(series);
    const made = foldBatchNorm(normalised, batchStatistics(normalised, noise(8, 64, 5)));
    const model = toModel(made, details(3));
    const segments = noise(4, 64, 4);
    expectClose(forwardScores(model, segments), computeScores(made, segments));
    expect(fromModel(model)).toEqual(made);
  });

  test("a helical network survives the way through a model, and its forward pass is TensorFlow.js's", () => {
    const helix = [0, 1, 2];
    const architecture = { ...SMALL, channels: [3, 4, 8], helix };
    const normalised = createNetwork(architecture, new Random(1));
    const made = foldBatchNorm(normalised, batchStatistics(normalised, noise(8, 64, 5)));
    const model = toModel(made, details(3));
    expect(model.blocks.map((b) => b.helix)).toEqual(helix);
    const segments = noise(4, 64, 4);
    const scores = forwardScores(model, segments);
    expectClose(scores, computeScores(made, segments));
    const plain = computeScores({ ...made, architecture: plainOf(architecture) }, segments);
    expect(Math.max(...scores.map((score, i) => Math.abs(score - plain[i])))).toBeGreaterThan(1e-2);
    expect(fromModel(model).architecture).toEqual(made.architecture);
  });

  test('a helix without average pooling before it is refused', () => {
    const wrong: Partial<Architecture>[] = [
      { helix: [1, 0, 0] },
      { helix: [0, 1, 0], activation: 'relu', pooling: 'max' },
    ];
    for (const part of wrong) {
      const made = createNetwork({ ...SMALL, channels: [4, 4, 4], ...part }, new Random(1));
      expect(() => computeScores(made, noise(1, 64, 1))).toThrow(
        /a helix needs a block with average pooling/,
      );
    }
  });

  test('models that training cannot make are refused', () => {
    expect(() => fromModel(randomModel({ degree: 3 }))).toThrow(expect.objectContaining({ code: 'MODEL' }));
    expect(() => fromModel(randomModel({ pool: [2, 4] }))).toThrow(
      expect.objectContaining({ code: 'MODEL' }),
    );
    expect(() => fromModel(randomModel())).toThrow(/a \(x \+ h\)\^2/); // its constants are anything
    expect(() => toModel(network(), details(3))).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  });

  test('the range gate lets a tame network pass and stops one that escapes', () => {
    const tame = foldBatchNorm(network(), batchStatistics(network(), noise(8, 64, 5)));
    const segments = noise(8, 64, 6);
    const ranges = measureRanges(tame, segments, 3);
    expect(ranges.inputs).toBe(8);
    expect(ranges.preActivations).toHaveLength(3);
    expect(() => checkRanges(ranges, 1e6)).not.toThrow();
    expect(() => checkRanges(ranges, ranges.largestScore * 0.99)).toThrow(/largest \|score\|/);
    const loud = measureRanges(
      tame,
      segments.map((x) => 40 * x),
    );
    expect(() => checkRanges(loud, 32)).toThrow(/block 3: pre-activations/);
  });

  test.each(shipped)(
    'shipped %s agrees with TensorFlow.js to 1e-4 on hostile and ordinary segments',
    async (name) => {
      const model = await loadModel(name);
      const { preprocessing: p, samples } = model;
      const record = Float64Array.from({ length: samples }, (_, i) => Math.exp(-(((i % 110) - 50) ** 2) / 8));
      const chosen = hostileInputs(p, record, 1).filter((_, i) => i % 29 === 0);
      const segments = new Float32Array(chosen.length * samples);
      for (const [i, { segment }] of chosen.entries()) segments.set(segment, i * samples);
      const expected = computeScores(fromModel(model), segments, 2);
      expectClose(forwardScores(model, segments), expected, (score) => 1e-4 * Math.max(1, Math.abs(score)));
    },
  );

  test('there are shipped models to look at', () => {
    expect(shipped).toContain('deepcardio-deg2');
  });
});
