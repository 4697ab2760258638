import fc from 'fast-check';
import { expect, test } from 'vitest';
import { classify, softmax } from '../../src/model/classify.ts';
import { forward } from '../../src/model/forward.ts';
import type { Model } from '../../src/model/model.ts';
import { coefficientsOf, randomModel } from '../helpers/random-model.ts';

/** The definition, written down once more and without any trick: arrays [channel][time] of plain numbers. */
function naive(model: Model, segment: ArrayLike<number>): number[] {
  /** Pooled at every time. */
  let x: number[][] = [Array.from(segment)];
  let pool = 1;
  for (const b of model.blocks) {
    const time = x[0].length / pool;
    /** How much later a helical tap reads, by the definition in the docs. */
    const later = (i: number, o: number) => {
      if (b.helix === 0) return 0;
      const place = o % (pool * b.helix);
      const behind = i % b.helix >= place % b.helix;
      return Math.floor(place / b.helix) - (behind ? 1 : 0) - (pool > 2 ? pool / 2 - 1 : 0);
    };
    const channel = (o: number) => {
      const y = Array.from({ length: time }, (_, t) => {
        let sum = b.bias[o];
        for (let i = 0; i < b.inChannels; i++) {
          for (let k = 0; k < b.kernel; k++) {
            let at = pool * (t + b.dilation * (k - (b.kernel - 1) / 2)) + later(i, o);
            while (at < 0) at += x[i].length;
            while (at >= x[i].length) at -= x[i].length;
            sum += x[i][at] * b.weights[(k * b.inChannels + i) * b.outChannels + o];
          }
        }
        const { activation } = b;
        if (activation.kind === 'relu') return sum > 0 ? sum : 0;
        if (activation.kind === 'chebyshev') {
          const [low, high] = activation.range;
          const t = (2 * sum - low - high) / (high - low);
          return activation.coefficients.reduce((p, a, k) => p + a * Math.cos(k * Math.acos(t)), 0);
        }
        return Array.from({ length: activation.degree + 1 }, (_, k) => {
          return activation.coefficients[k * b.outChannels + o] * sum ** k;
        }).reduce((p, q) => p + q, 0);
      });
      return y.map((_, t) => {
        const window = [...y, ...y].slice(t, t + b.pool);
        return b.pooling === 'max' ? Math.max(...window) : window.reduce((p, q) => p + q, 0) / b.pool;
      });
    };
    x = Array.from({ length: b.outChannels }, (_, o) => channel(o));
    pool = b.pool;
  }
  const classes = model.dense.bias.length;
  return Array.from({ length: classes }, (_, j) => {
    return x.reduce((sum, values, c) => {
      const read = values.filter((_, t) => t % pool === 0);
      const mean = read.reduce((p, q) => p + q, 0) / read.length;
      return sum + mean * model.dense.weights[c * classes + j];
    }, model.dense.bias[j]);
  });
}

function wave(samples: number, seed = 0): Float32Array {
  return Float32Array.from(
    { length: samples },
    (_, i) => Math.sin(0.37 * i + seed) + 0.5 * Math.cos(1.3 * i),
  );
}

const shapes = fc.record({
  seed: fc.integer({ min: 1, max: 1e6 }),
  channels: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 3 }),
  kernel: fc.constantFrom(1, 3, 5, 9),
  dilation: fc.integer({ min: 1, max: 9 }),
  pool: fc.constantFrom(1, 2, 4),
  classes: fc.integer({ min: 2, max: 5 }),
  degree: fc.integer({ min: 1, max: 5 }),
  relu: fc.boolean(),
  helix: fc.constantFrom(0, 0, 1, 2, 3, 4),
  series: fc.option(fc.integer({ min: 1, max: 16 }), { nil: undefined }),
});

test('the forward pass is the definition, for any shape', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const model = randomModel({ ...shape, samples: 64, helix: shape.relu ? 0 : shape.helix });
      const segment = wave(64, shape.seed);
      const { scores } = forward(model, segment);
      naive(model, segment).forEach((expected, j) => {
        expect(scores[j]).toBeCloseTo(expected, 10);
      });
    }),
    { numRuns: 60 },
  );
});

test('a hand-worked network: difference filter, square, mean', () => {
  // x = 1 2 0 3, y_t = x_{t+1} - x_{t-1} = -1 -1 1 1 (circular), squares 1 1 1 1, score 2 * 1 + 0.5
  const model = randomModel({ samples: 4, channels: [1], kernel: 3, pool: 2, classes: 2 });
  const [block] = model.blocks;
  block.weights.set([-1, 0, 1]);
  block.bias.set([0]);
  coefficientsOf(block).set([0, 0, 1]);
  model.dense = { weights: Float32Array.of(2, 0), bias: Float32Array.of(0.5, -1) };
  const result = forward(model, Float32Array.of(1, 2, 0, 3));
  expect([...result.scores]).toEqual([2.5, -1]);
  expect(result.positions).toBe(2);
  expect([...result.contributions]).toEqual([2.5, -1, 2.5, -1]);
  expect(result.ranges).toEqual([[-1, 1]]);
});

test('contributions have the scores as their mean over time', () => {
  const model = randomModel({ samples: 128, channels: [3, 5], classes: 3 });
  const { scores, contributions, positions } = forward(model, wave(128));
  expect(positions).toBe(32);
  for (let j = 0; j < 3; j++) {
    let sum = 0;
    for (let t = 0; t < positions; t++) sum += contributions[t * 3 + j];
    expect(scores[j]).toBeCloseTo(sum / positions, 12);
  }
});

test('shifting the input circularly by the product of the pools changes no score', () => {
  const model = randomModel({ samples: 64, channels: [3, 4, 5], dilation: [1, 2, 4] });
  const segment = wave(64);
  const shifted = segment.map((_, i) => segment[(i + 24) % 64]);
  const expected = forward(model, segment).scores;
  forward(model, shifted).scores.forEach((s, j) => {
    expect(s).toBeCloseTo(expected[j], 10);
  });
});

test('a segment of another length is refused', () => {
  expect(() => forward(randomModel({ samples: 64 }), new Float32Array(63))).toThrow(/64 samples, got 63/);
});

test('onBlock sees every output', () => {
  const lengths: number[] = [];
  forward(randomModel({ samples: 64, channels: [4, 8] }), wave(64), {
    onBlock: (index, x) => lengths.push(index, x.length),
  });
  expect(lengths).toEqual([0, 32 * 4, 1, 16 * 8]);
});

test('softmax of large scores does not overflow', () => {
  expect([...softmax([1000, 1000])]).toEqual([0.5, 0.5]);
  expect(softmax([0, Math.log(3)])[1]).toBeCloseTo(0.75, 12);
});

test('classify names the largest score, and none beyond the limit', () => {
  const model = { classes: ['N', 'A', 'O'], scoreLimit: 32 };
  const result = classify([1, 3, -2], model);
  expect(result).toMatchObject({ index: 1, name: 'A', margin: 2 });
  expect(result.probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  for (const scores of [
    [1, 33, 0],
    [1, -33, 0],
    [Number.NaN, 0, 0],
  ]) {
    expect(() => classify(scores, model)).toThrow(expect.objectContaining({ code: 'UNCLASSIFIABLE' }));
  }
  expect(() => classify([1, 2], model)).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
});
