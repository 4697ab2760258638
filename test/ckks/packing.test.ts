import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ClearBackend } from '../../src/ckks/backends/clear.ts';
import { compile, windowsOf } from '../../src/ckks/circuit.ts';
import type { FoldedConvolution } from '../../src/ckks/fold.ts';
import {
  convolutionDiagonals,
  inputLayout,
  outputLayout,
  shiftToNonNegative,
} from '../../src/ckks/packing.ts';
import { encodeProgram, run } from '../../src/ckks/run.ts';
import { simulate } from '../../src/ckks/simulate.ts';
import { packSegment } from '../../src/ckks/slots.ts';
import { bestSchedule, powersOfTwo, rotationCount } from '../../src/ckks/steps.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';

describe('packing', () => {
  test('when one channel of 8 samples is pooled by 2 and weighted by w, then two amounts carry (w/2, 0)', () => {
    // The worked example in src/ckks/packing.ts.
    const conv: FoldedConvolution = {
      name: 'example',
      inChannels: 1,
      outChannels: 1,
      kernel: 1,
      dilation: 1,
      pool: 2,
      weights: Float64Array.of(3),
      bias: Float64Array.of(0),
      bound: 1,
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
        pool: 2,
        weights: new Float64Array(5 * 4 * s * 8 * s).fill(1),
        bias: new Float64Array(8 * s),
        bound: 1,
      };
      const before = { interleave: s, channels: 4 * s, ciphertexts: 4 };
      const { weights } = convolutionDiagonals(conv, before, outputLayout(before, 8 * s, 2));
      expect(weights.size).toBe(12 * s - 1);
      expect(Math.min(...weights.keys())).toBe(-(6 * s - 1));
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
      pool: 1,
      weights: Float64Array.from({ length: 12 }, (_, i) => i + 1),
      bias: new Float64Array(4),
      bound: 1,
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

  test('when positions are windowed, then all are covered and none is beyond the end', () => {
    for (const positions of [1, 2, 16, 25, 32, 64, 128, 256, 2048]) {
      const { windows, width, hop } = windowsOf(positions);
      expect(windows).toBeLessThanOrEqual(25);
      expect(hop * (windows - 1) + width).toBeGreaterThanOrEqual(positions);
      expect(width).toBeGreaterThanOrEqual(hop);
      expect(width).toBeLessThanOrEqual(positions);
    }
    expect(windowsOf(128)).toEqual({ windows: 25, width: 8, hop: 5 });
  });
});

describe('schedules', () => {
  test('when an amount is split, then its powers of two add up to it', () => {
    expect(powersOfTwo(11)).toEqual([8, 2, 1]);
    expect(powersOfTwo(0)).toEqual([]);
  });

  test('when babies are scheduled, then each starts from an amount that is there already', () => {
    const circuit = compile(randomModel({ samples: 256, channels: [4, 8, 16], dilation: [1, 2, 4] }));
    for (const stage of circuit.stages) {
      if (stage.kind !== 'linear') continue;
      const reached = new Set([0]);
      for (const { from, steps } of stage.schedule.babies) {
        expect(reached).toContain(from);
        for (const { amount, step } of steps) {
          expect(from + step).toBe(amount);
          reached.add(amount);
        }
      }
      for (const used of stage.schedule.used) expect(reached).toContain(used);
    }
  });

  test('when the baby step is chosen, then it costs fewer rotations than none', () => {
    const amounts = Array.from({ length: 47 }, (_, a) => a);
    const weights = new Map(amounts.map((a) => [a, [[Float64Array.of(1)]]] as const));
    const map = {
      period: 1,
      inputs: 1,
      outputs: 1,
      weights: new Map([...weights].map(([a, w]) => [a, w.map((r) => [...r])])),
    };
    const best = bestSchedule(map, false);
    expect(rotationCount(best, map)).toBe(7 + 5);
  });
});

describe('the packed computation in the clear', () => {
  const shapes = fc.record({
    samples: fc.constantFrom(64, 128, 256),
    channels: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
    kernel: fc.constantFrom(1, 3, 5, 7),
    dilation: fc.constantFrom(1, 2, 4),
    pool: fc.constantFrom(1, 2, 4),
    classes: fc.integer({ min: 2, max: 5 }),
    seed: fc.nat(1000),
  });

  test('when any network is packed, then its scores are those of the naive network', {
    timeout: 120_000,
  }, () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const model = randomModel(shape);
        const segment = Float32Array.from(
          { length: shape.samples },
          (_, i) => 2 * Math.sin(i * i * 0.37 + shape.seed),
        );
        const { scores } = simulate(model, segment);
        const expected = forward(model, segment).scores;
        for (const [c, s] of scores.entries()) expect(s).toBeCloseTo(expected[c], 9);
      }),
      { numRuns: 25, seed: 7 },
    );
  });

  test.each([
    { samples: 2048, channels: [3, 8], pool: 1 },
    { samples: 2048, channels: [6, 5], pool: 1, kernel: 3 },
    { samples: 2048, channels: [4, 16, 24], pool: [2, 2, 1], dilation: [1, 2, 3] },
    { samples: 4096, channels: [2, 3, 7], pool: 1 },
  ])('when two outputs share an accumulator in %j, then they are separated exactly', (shape) => {
    const model = randomModel({ ...shape, seed: 9 });
    const pairs = compile(model).stages.filter((stage) => stage.kind === 'linear' && stage.paired);
    expect(pairs.length).toBeGreaterThan(0);
    const segment = Float32Array.from({ length: shape.samples }, (_, i) => 2 * Math.sin(i * i * 0.37));
    const { scores } = simulate(model, segment);
    const expected = forward(model, segment).scores;
    for (const [c, s] of scores.entries()) expect(s).toBeCloseTo(expected[c], 9);
  });

  test('when the map is planned, then each window holds its share of the scores', () => {
    const model = randomModel({ samples: 2048, channels: [4, 6], pool: [2, 1], seed: 3 });
    const segment = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i / 9) + Math.sin(i * i));
    const circuit = compile(model, { outputs: 'scores+map' });
    const { map } = simulate(model, segment, { outputs: 'scores+map' });
    const { windows, width, hop, positions } = circuit.reply.map!;
    const { contributions } = forward(model, segment);
    expect(contributions.length).toBe(positions * 4);
    expect(map).toHaveLength(windows);
    map!.forEach((window, w) => {
      window.forEach((value, c) => {
        let expected = 0;
        for (let k = 0; k < width; k++)
          expected += contributions[((w * hop + k) % positions) * 4 + c] / positions;
        expect(value).toBeCloseTo(expected, 9);
      });
    });
  });

  test('when every copy of the scores is read, then all agree', () => {
    const model = randomModel({ samples: 256, channels: [4, 8], seed: 5 });
    const circuit = compile(model);
    const backend = new ClearBackend();
    const segment = Float32Array.from({ length: 256 }, (_, i) => Math.cos(i / 5));
    const { scores } = run(backend, encodeProgram(backend, circuit), {
      real: packSegment(segment, circuit.parameters.n / 2),
      imaginary: null,
    });
    for (const [j, s] of scores.real.entries())
      expect(s).toBeCloseTo(scores.real[j % circuit.reply.group], 9);
  });
});
