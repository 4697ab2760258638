import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ClearBackend } from '../../src/ckks/evaluator/clear.ts';
import { encodeProgram, run } from '../../src/ckks/evaluator/program.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { simulate } from '../../src/ckks/simulate.ts';
import { packSegment } from '../../src/ckks/wire/reply.ts';
import { forward } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';

describe('the packed computation in the clear', () => {
  const shapes = fc.record({
    samples: fc.constantFrom(64, 128, 256),
    channels: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
    kernel: fc.constantFrom(1, 3, 5, 7),
    dilation: fc.constantFrom(1, 2, 4),
    pool: fc.constantFrom(1, 2, 4),
    helix: fc.constantFrom(0, 0, 1, 2, 4, 8),
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
        const { scores } = simulate(compile(model), segment);
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
    const compiled = compile(model);
    const pairs = compiled.circuit.stages.filter((stage) => stage.kind === 'linear' && stage.schedule.paired);
    expect(pairs.length).toBeGreaterThan(0);
    const segment = Float32Array.from({ length: shape.samples }, (_, i) => 2 * Math.sin(i * i * 0.37));
    const { scores } = simulate(compiled, segment);
    const expected = forward(model, segment).scores;
    for (const [c, s] of scores.entries()) expect(s).toBeCloseTo(expected[c], 9);
  });

  test('when the map is planned, then each window holds its share of the scores', () => {
    const model = randomModel({ samples: 2048, channels: [4, 6], pool: [2, 1], seed: 3 });
    const segment = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i / 9) + Math.sin(i * i));
    const compiled = compile(model, { outputs: 'scores+map' });
    const { map } = simulate(compiled, segment);
    const { windows, width, hop, positions } = compiled.circuit.reply.map!;
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
    const { circuit } = compile(model);
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
