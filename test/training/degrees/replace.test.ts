import { beforeAll, describe, expect, test } from 'vitest';
import { type ChebyshevSeries, evaluateSeries } from '../../../src/approx/chebyshev.ts';
import { Random } from '../../../src/ecg/random.ts';
import { loadBackend } from '../../../training/backend.ts';
import { normalSeries, replaceRelu } from '../../../training/degrees/replace.ts';
import {
  batchStatistics,
  computeScores,
  createNetwork,
  foldBatchNorm,
  type Network,
} from '../../../training/network.ts';
import { measureRanges } from '../../../training/ranges.ts';

const RECORDS = 70; // more than are computed at once

function segments(seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: RECORDS * 64 }, () => 0.5 * random.normal());
}

/** A ReLU network with channels of very different sizes. */
function network(): Network {
  const made = createNetwork(
    {
      samples: 64,
      classes: ['N', 'A', 'O', '~'],
      channels: [3, 4],
      kernel: 5,
      dilations: [1, 2],
      pool: 2,
      activation: 'relu',
      pooling: 'average',
    },
    new Random(1),
  );
  const random = new Random(2);
  for (const p of made.parameters) {
    if (!/gamma|beta/.test(p.name)) continue;
    p.values = p.values.map((v) => v + random.normal() ** 2);
  }
  return foldBatchNorm(made, batchStatistics(made, segments(3)));
}

function seriesOf({ architecture }: Network): ChebyshevSeries[] {
  if (typeof architecture.activation === 'string') throw new Error('no polynomials');
  return architecture.activation;
}

beforeAll(async () => {
  await loadBackend('wasm');
});

describe('replaceRelu', () => {
  test('scales channels in a way that ReLU does not notice', () => {
    const relu = network();
    const replaced = replaceRelu(relu, segments(4), { degree: 3, method: 'minimax', margin: 0 });
    const scaled: Network = { ...replaced, architecture: relu.architecture };
    const expected = computeScores(relu, segments(5));
    expect(scaled.parameters[0].values).not.toEqual(relu.parameters[0].values);
    computeScores(scaled, segments(5)).forEach((score, i) => {
      expect(Math.abs(score - expected[i])).toBeLessThan(1e-4);
    });
  });

  test.each(['chebyshev', 'least-squares', 'minimax'] as const)(
    'gives %s polynomials whose range holds what was seen, and no more than the margin',
    (method) => {
      const replaced = replaceRelu(network(), segments(4), { degree: 4, method, margin: 0.05 });
      const { preActivations } = measureRanges(replaced, segments(4));
      seriesOf(replaced).forEach(({ range, coefficients }, i) => {
        expect(coefficients).toHaveLength(5);
        const [low, high] = preActivations[i];
        const margin = (high - low) * 0.05;
        expect(low - margin).toBeCloseTo(range[0], 3);
        expect(high + margin).toBeCloseTo(range[1], 3);
      });
    },
  );

  test('comes closer to the network with the degree', () => {
    const relu = network();
    const expected = computeScores(relu, segments(4));
    const errors = [2, 4, 8, 16].map((degree) => {
      const replaced = replaceRelu(relu, segments(4), { degree, method: 'least-squares', margin: 0.05 });
      const scores = computeScores(replaced, segments(4));
      return Math.sqrt(scores.reduce((sum, s, i) => sum + (s - expected[i]) ** 2, 0) / scores.length);
    });
    expect(errors).toEqual(errors.toSorted((a, b) => b - a));
    expect(errors[3]).toBeLessThan(errors[0] / 4);
  });

  test('says which block when pre-activations leave every bound', () => {
    const wild = network();
    const conv = wild.parameters.find((p) => p.name === 'block2/conv')!;
    conv.values = conv.values.map((w) => 1e6 * w);
    expect(() => replaceRelu(wild, segments(4), { degree: 2, method: 'minimax', margin: 0.05 })).toThrow(
      /pre-activations of block 2 reach .*Take another degree or method/,
    );
  });
});

test('least squares are closer where inputs are, minimax where the worst one is', () => {
  const [squares, minimax] = (['least-squares', 'minimax'] as const).map((method) => {
    const series = normalSeries(4, method);
    const error = (x: number) => Math.abs(evaluateSeries(series, x) - Math.max(x, 0));
    const grid = Array.from({ length: 1601 }, (_, i) => -7 + i / 100);
    const weighted = grid.reduce((sum, x) => sum + error(x) ** 2 * Math.exp(-0.5 * x * x), 0);
    return { weighted, largest: Math.max(...grid.map(error)) };
  });
  expect(squares.weighted).toBeLessThan(minimax.weighted / 2);
  expect(minimax.largest).toBeLessThan(squares.largest / 2);
});

test('odd degrees are not the even ones below them', () => {
  for (const method of ['least-squares', 'minimax'] as const) {
    const [lower, , cubic] = [2, 2, 3].map((degree) => normalSeries(degree, method));
    expect(lower.coefficients).toHaveLength(3);
    expect(Math.abs(cubic.coefficients[3])).toBeGreaterThan(0.01);
  }
});
