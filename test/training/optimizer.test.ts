import { beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';
import { loadBackend } from '../../training/backend.ts';
import { ADAMW, AdamW, learningRate, type Parameter } from '../../training/optimizer.ts';
import { orthogonalise } from '../../training/orthogonalise.ts';

beforeAll(async () => {
  await loadBackend();
});

const normal = (length: number, random: Random) => Float32Array.from({ length }, () => random.normal());

/** x x' of a matrix [rows][columns]. */
function gram(x: Float32Array, rows: number, columns: number): number[][] {
  const row = (i: number) => Array.from(x.subarray(i * columns, (i + 1) * columns));
  return Array.from({ length: rows }, (_, i) =>
    Array.from({ length: rows }, (_, j) => row(i).reduce((sum, v, k) => sum + v * row(j)[k], 0)),
  );
}

describe('orthogonalise', () => {
  test.each([
    [6, 40],
    [40, 6],
  ])('brings the singular values of a matrix of %i x %i near to 1', (rows, columns) => {
    const matrix = normal(rows * columns, new Random(3)).map((x) => 1e-6 * x);
    const result = orthogonalise(matrix, rows, columns);
    const short = Math.min(rows, columns);
    const turned =
      rows <= columns ? result : result.map((_, i) => result[(i % rows) * columns + Math.floor(i / rows)]);
    for (const [i, values] of gram(turned, short, Math.max(rows, columns)).entries()) {
      for (const [j, value] of values.entries()) {
        if (i === j) expect(value).toBeGreaterThan(0.4);
        expect(Math.abs(value - (i === j ? 1 : 0))).toBeLessThan(0.55);
      }
    }
  });

  test('keeps singular vectors', () => {
    // diag(3, 1) turned by 30 degrees on the left: the nearest orthogonal matrix is the turn itself
    const [c, s] = [Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)];
    const result = orthogonalise(Float32Array.of(3 * c, -s, 3 * s, c), 2, 2);
    expect(result[2] / result[0]).toBeCloseTo(s / c, 3);
    expect(-result[1] / result[3]).toBeCloseTo(s / c, 3);
    for (const column of [0, 1]) {
      const length = Math.hypot(result[column], result[2 + column]);
      expect(length).toBeGreaterThan(0.65);
      expect(length).toBeLessThan(1.25);
    }
  });

  test('leaves zeros', () => {
    expect(Array.from(orthogonalise(new Float32Array(6), 2, 3))).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe('AdamW', () => {
  const one = (part: Partial<Parameter> = {}): Parameter[] => [
    { name: 'w', shape: [2], values: Float32Array.of(1, -2), decay: false, ...part },
  ];

  test('its first step is the rate against the sign of the gradient, whatever its size', () => {
    const optimizer = new AdamW(one());
    expect(optimizer.update([Float32Array.of(3, -4e-3)], 0.01)).toBeCloseTo(3, 4);
    expect(optimizer.parameters[0].values[0]).toBeCloseTo(0.99, 5);
    expect(optimizer.parameters[0].values[1]).toBeCloseTo(-1.99, 5);
  });

  test('two steps are those of Loshchilov and Hutter, algorithm 2', () => {
    const gradients = [0.5, -0.2];
    const { beta1, beta2, epsilon, weightDecay } = ADAMW;
    let [m, v, x] = [0, 0, 1];
    gradients.forEach((g, t) => {
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const step = m / (1 - beta1 ** (t + 1)) / (Math.sqrt(v / (1 - beta2 ** (t + 1))) + epsilon);
      x -= 0.1 * step + 0.1 * weightDecay * x;
    });
    const optimizer = new AdamW(one({ shape: [1], values: Float32Array.of(1), decay: true }));
    for (const g of gradients) optimizer.update([Float32Array.of(g)], 0.1);
    expect(optimizer.parameters[0].values[0]).toBeCloseTo(x, 6);
  });

  test('gradients are clipped to a norm over all parameters, and values held to their bounds', () => {
    const optimizer = new AdamW([...one(), ...one({ bounds: [-1.5, 0.5] })]);
    const norm = optimizer.update([Float32Array.of(30, 0), Float32Array.of(0, 40)], 0.01);
    expect(norm).toBeCloseTo(50, 4);
    expect(optimizer.first[0][0]).toBeCloseTo(0.1 * 3, 6);
    expect(optimizer.first[1][1]).toBeCloseTo(0.1 * 4, 6);
    expect([...optimizer.parameters[1].values]).toEqual([0.5, -1.5]);
  });
});

describe('the learning rate', () => {
  const at = (step: number) => learningRate(step, 110, 10, 1, 0.2);

  test('warms up linearly, falls along half a cosine, and stays at the last', () => {
    expect([0, 4, 9, 10].map(at)).toEqual([0.1, 0.5, 1, 1]);
    expect(at(60)).toBeCloseTo(0.6, 12);
    expect(at(35)).toBeCloseTo(0.2 + 0.8 * (0.5 + Math.SQRT1_2 / 2), 12);
    expect([110, 500].map(at)).toEqual([0.2, 0.2]);
  });
});

describe('AdamW with Muon', () => {
  const parameters = (): Parameter[] => [
    { name: 'conv', shape: [5, 4, 16], values: new Float32Array(320), decay: true },
    { name: 'first', shape: [5, 1, 8], values: new Float32Array(40), decay: true },
    { name: 'bias', shape: [16], values: new Float32Array(16), decay: false },
  ];

  test('steps orthogonally, of the rms of an Adam step, in convolutions of several inputs only', () => {
    const random = new Random(5);
    const gradients = parameters().map((p) => normal(p.values.length, random));
    const [muon, adam] = [new AdamW(parameters()), new AdamW(parameters())];
    muon.update(gradients, 1e-3, true);
    adam.update(gradients, 1e-3);
    const [conv, ...others] = muon.parameters.map((p) => p.values);
    expect(others).toEqual(adam.parameters.slice(1).map((p) => p.values));
    const rms = Math.sqrt(conv.reduce((sum, x) => sum + x * x, 0) / conv.length);
    expect(rms).toBeGreaterThan(0.7 * 0.2e-3);
    expect(rms).toBeLessThan(1.2 * 0.2e-3);
    const along = conv.reduce((sum, x, i) => sum + x * gradients[0][i], 0);
    expect(along).toBeLessThan(0);
  });

  test('skips gradients that are not finite', () => {
    const optimizer = new AdamW(parameters());
    const gradients = parameters().map((p) => p.values.fill(Number.NaN));
    expect(optimizer.update(gradients, 1e-3, true)).toBeNaN();
    expect(optimizer.parameters[0].values.every((x) => x === 0)).toBe(true);
  });
});
