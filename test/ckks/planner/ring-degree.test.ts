import { describe, expect, test } from 'vitest';
import { check } from '../../../src/ckks/planner/check.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { Server } from '../../../src/ckks/server.ts';
import { coefficientsOf, randomModel, SHIPPED } from '../../helpers/random-model.ts';

const shipped = () => randomModel(SHIPPED);

describe('choosing parameters', () => {
  test('when the network is small, then the ring is the smallest that fits', () => {
    expect(compile(randomModel({ samples: 2048, channels: [4, 8] })).plan.manifest.parameters.n).toBe(8192);
    expect(compile(randomModel({ samples: 256, channels: [4, 8, 8] })).plan.manifest.parameters.n).toBe(
      16384,
    );
    expect(
      compile(randomModel({ samples: 8192, channels: [4, 4, 4], pool: 2 })).plan.manifest.parameters.n,
    ).toBe(16384);
  });

  test('when zero weights are whole diagonals, then these are not multiplied', () => {
    const model = randomModel({ samples: 256, channels: [4, 8], kernel: 3 });
    const full = compile(model).plan.operations.multiplyPlain;
    const { weights, inChannels, outChannels } = model.blocks[1];
    weights.fill(0, 0, inChannels * outChannels); // the first tap
    expect(compile(model).plan.operations.multiplyPlain).toBeLessThan(full);
  });

  test.each([
    [
      'the network is too deep',
      () => compile(randomModel({ samples: 64, channels: Array(18).fill(2), pool: 1 })),
      /block \d+ is too deep.*fewer blocks/,
    ],
    [
      'n is too small for the levels',
      () => compile(shipped(), { n: 8192 }),
      /block 3 is too deep: .*13 levels and 413 bits/,
    ],
    [
      'n has too few slots',
      () => compile(randomModel({ samples: 8192, channels: [4] }), { n: 8192 }),
      /4096 slots.*8192 samples/,
    ],
    ['n is no ring degree', () => compile(shipped(), { n: 10000 }), /10000 is none of/],
    [
      'the segment is no power of two',
      () => compile({ ...randomModel({ samples: 64, channels: [2] }), samples: 96 }),
      /power of two/,
    ],
    [
      'an activation has degree 3',
      () => compile(randomModel({ samples: 64, channels: [2, 2], degree: 3 })),
      /block 1: its activation has degree 3/,
    ],
    [
      'an activation is ReLU',
      () => compile(randomModel({ samples: 64, channels: [2, 2], relu: true })),
      /block 1 has ReLU, which cannot be evaluated on ciphertexts/,
    ],
    [
      'the score limit leaves no margin',
      () => compile({ ...shipped(), scoreLimit: 400 }),
      /leaves no margin.* earlier version .* exported again/,
    ],
    [
      'too many classes are asked for',
      () => compile(randomModel({ samples: 4096, channels: [1], pool: 1, classes: 5 }), { n: 16384 }),
      /needs 8 slots at each of 4096 time positions/,
    ],
  ])('when %s, then the error names it', (_, act, message) => {
    expect(act).toThrow(message);
  });

  test('when a range is too wide for the primes, then the error names the layer', () => {
    const model = shipped();
    model.blocks[5].activation.range = [-1e9, 1e9];
    expect(() => compile(model)).toThrow(/square 6: values up to .* train with a tighter range/);
  });

  test('when all weights of a layer are zero, then the error names it', () => {
    const model = shipped();
    model.blocks[2].weights.fill(0);
    expect(() => compile(model)).toThrow(/block 3: all its weights are zero/);
  });

  test('when a quadratic coefficient almost vanishes, then the error names the channel', () => {
    const model = shipped();
    coefficientsOf(model.blocks[0])[2 * 8 + 3] = 0;
    expect(() => compile(model)).toThrow(/block 1: channel 3/);
  });
});

describe('the chain of primes', () => {
  const CHANNELS = [8, 16, 32, 64, 128, 256];
  const deep = (series: number | number[], blocks = 6) =>
    randomModel({ samples: 4096, channels: CHANNELS.slice(0, blocks), kernel: 3, series });

  test.each([
    [3, 32768, 20],
    [8, 32768, 26],
    [16, 32768, 32],
  ])('when six blocks have degree %i, then N = %i and %i primes hold them', (degree, n, count) => {
    const planned = compile(deep(degree)).plan;
    const { parameters } = planned.manifest;
    expect([parameters.n, parameters.primes.length]).toEqual([n, count]);
    expect(parameters.logQP).toBeLessThanOrEqual(868);
    expect(planned.bytes.evaluationKeys).toBeLessThanOrEqual(500e6);
    // Every convolution and every T_k keeps 26 bits of scale or more.
    for (const { kind, scale } of planned.stages.slice(0, -2))
      if (kind === 'linear') expect(Math.log2(scale[1])).toBeGreaterThan(26);
    check(planned);
  });

  test('when few blocks have a high degree, then N = 16384 holds them', () => {
    expect(compile(deep([2, 3, 2], 3)).plan.manifest.parameters.n).toBe(16384);
    expect(compile(deep(16, 2)).plan.manifest.parameters.n).toBe(16384);
  });

  test('when keys do not fit a backend, then it is not opened', async () => {
    await expect(Server.open(compile(deep(16), { backend: 'seal', keyBudget: 1e9 }))).rejects.toThrow(
      /the seal backend would need \d+\.\d GB.* WebAssembly has 3\.9 GB: use a smaller key budget .* fast backend/,
    );
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      'six blocks have degree 17',
      () => compile(deep(17)),
      /block 6 is too deep: 6 blocks and a dense layer take 37 levels and \d+ bits of primes, but ring degree 32768 has only 868/,
    ],
    [
      'six blocks of degree 3 are to fit N = 16384',
      () => compile(deep(3), { n: 16384 }),
      /block 5 is too deep: .*use a larger n, a lower degree or fewer blocks/,
    ],
    ['an activation is linear', () => compile(deep(1)), /block 1: its activation is linear/],
  ])('when %s, then the error says so', (_, act, message) => {
    expect(act).toThrow(message);
  });
});
