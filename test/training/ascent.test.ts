import { beforeAll, expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import { ascend } from '../../training/ascent.ts';
import { loadBackend } from '../../training/backend.ts';
import { batchStatistics, computeScores, createNetwork, foldBatchNorm } from '../../training/network.ts';

beforeAll(async () => {
  await loadBackend('wasm');
});

test('gradient ascent finds larger scores than it starts from, and not beyond what the bounds allow', () => {
  const architecture = {
    samples: 64,
    classes: ['N', 'A'],
    channels: [3, 4],
    kernel: 3,
    dilations: [1, 1],
    pool: 2,
    activation: 'square' as const,
    pooling: 'average' as const,
  };
  const made = createNetwork(architecture, new Random(1));
  const random = new Random(2);
  const segments = Float32Array.from({ length: 4 * 64 }, () => 0.3 * random.normal());
  const network = foldBatchNorm(made, batchStatistics(made, segments));
  const before = computeScores(network, segments).reduce((most, s) => Math.max(most, Math.abs(s)), 0);
  const p = { ...DEFAULT_PREPROCESSING, samples: 64 };
  const found = ascend(network, segments, p, 30);
  expect(found).toMatchObject({ starts: 4, steps: 30 });
  expect(found.largestScore).toBeGreaterThan(2 * before);
  // Bounded to a tenth of the energy, the network of squares of squares reaches less.
  const held = ascend(network, segments, { ...p, rmsLimit: p.rmsLimit / 10 }, 30);
  expect(held.largestScore).toBeLessThan(found.largestScore / 2);
});
