import { describe, expect, test } from 'vitest';
import type { FoldedConvolution } from '../../../src/ckks/circuit/fold-activations.ts';
import {
  convolutionDiagonals,
  inputLayout,
  outputLayout,
  poolingSteps,
  shiftToNonNegative,
} from '../../../src/ckks/circuit/packing.ts';

describe('packing', () => {
  test('when one channel of 8 samples is pooled by 2 and weighted by w, then two amounts carry (w/2, 0)', () => {
    // The worked example in src/ckks/circuit/packing.ts.
    const conv: FoldedConvolution = {
      name: 'example',
      inChannels: 1,
      outChannels: 1,
      kernel: 1,
      dilation: 1,
      helix: 0,
      pool: 2,
      weights: Float64Array.of(3),
      bias: Float64Array.of(0),
      bound: 1,
      polynomial: null,
    };
    const before = { interleave: 1, channels: 1, ciphertexts: 1 };
    const after = outputLayout(before, 1, 2);
    const { weights, period } = convolutionDiagonals(conv, before, after);
    expect(period).toBe(2);
    expect([...weights]).toEqual([
      [0, [[Float64Array.of(1.5, 0)]]],
      [1, [[Float64Array.of(1.5, 0)]]],
    ]);
    const x = [1, 2, 3, 4, 5, 6, 7, 8];
    const out = x.map((_, j) =>
      [0, 1].reduce((sum, a) => sum + weights.get(a)![0][0]![j % 2] * x[(j + a) % 8], 0),
    );
    expect(out.filter((_, j) => j % 2 === 0)).toEqual([4.5, 10.5, 16.5, 22.5]);
    expect(out.filter((_, j) => j % 2 === 1)).toEqual([0, 0, 0, 0]);
  });

  test('when k = 5 is convolved after pooling s interleaved channels, then 12 s - 1 amounts are used', () => {
    for (const s of [2, 4, 8]) {
      const conv: FoldedConvolution = {
        name: 'conv',
        inChannels: 4 * s,
        outChannels: 8 * s,
        kernel: 5,
        dilation: 1,
        helix: 0,
        pool: 2,
        weights: new Float64Array(5 * 4 * s * 8 * s).fill(1),
        bias: new Float64Array(8 * s),
        bound: 1,
        polynomial: null,
      };
      const before = { interleave: s, channels: 4 * s, ciphertexts: 4 };
      const { weights } = convolutionDiagonals(conv, before, outputLayout(before, 8 * s, 2));
      expect(weights.size).toBe(12 * s - 1);
      expect(Math.min(...weights.keys())).toBe(-(6 * s - 1));
    }
  });

  test('when the convolution is helical and its channels fill their places, then every tap takes s amounts and no weight is missing', () => {
    for (const s of [2, 4, 8]) {
      const inChannels = 4 * s;
      const outChannels = 8 * s;
      const conv: FoldedConvolution = {
        name: 'conv',
        inChannels,
        outChannels,
        kernel: 5,
        dilation: 4,
        helix: s,
        pool: 2,
        weights: new Float64Array(5 * inChannels * outChannels).fill(2),
        bias: new Float64Array(outChannels),
        bound: 1,
        polynomial: null,
      };
      const before = { interleave: s, channels: inChannels, ciphertexts: 4 };
      const { weights } = convolutionDiagonals(conv, before, outputLayout(before, outChannels, 2));
      const runs = [-2, -1, 0, 1, 2].flatMap((tap) =>
        Array.from({ length: s }, (_, a) => tap * 8 * s - s + a),
      );
      expect([...weights.keys()].sort((a, b) => a - b)).toEqual(runs);
      for (const rows of weights.values())
        for (const vector of rows.flat()) expect(vector).toEqual(new Float64Array(2 * s).fill(1));
      expect(poolingSteps(conv, before)).toEqual([s]);
    }
  });

  test('when a map is shifted, then it has no negative amounts and its result is rotated by the offset', () => {
    const before = inputLayout(16, 8);
    const conv: FoldedConvolution = {
      name: 'conv',
      inChannels: 1,
      outChannels: 4,
      kernel: 3,
      dilation: 1,
      helix: 0,
      pool: 1,
      weights: Float64Array.from({ length: 12 }, (_, i) => i + 1),
      bias: new Float64Array(4),
      bound: 1,
      polynomial: null,
    };
    const map = convolutionDiagonals(conv, before, outputLayout(before, 4, 1));
    const shifted = shiftToNonNegative(map, 0, 16);
    expect(Math.min(...shifted.map.weights.keys())).toBe(0);
    const x = Float64Array.from({ length: 16 }, (_, j) => Math.floor(j / 2) ** 2);
    const apply = (m: typeof map) =>
      Array.from({ length: 16 }, (_, j) =>
        [...m.weights].reduce((sum, [a, rows]) => sum + (rows[1][0]?.[j % 2] ?? 0) * x[(j + a + 16) % 16], 0),
      );
    const out = apply(map);
    expect(apply(shifted.map)).toEqual(out.map((_, j) => out[(j + shifted.offset) % 16]));
  });
});
