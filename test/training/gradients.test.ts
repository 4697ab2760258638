import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';
import { helixOffset } from '../../src/model/helix.ts';
import { batchNorm, squarePool } from '../../training/activation.ts';
import { loadBackend, type TensorBackendName } from '../../training/backend.ts';
import type { RangeControl } from '../../training/config.ts';
import { circularConv } from '../../training/convolution.ts';
import { helicalConv } from '../../training/helix.ts';
import {
  addBias,
  crossEntropy,
  dense,
  meanOverTime,
  reluAveragePool,
  reluPool,
  withGradient,
} from '../../training/layers.ts';
import { polynomialPool } from '../../training/polynomial.ts';
import { hasNative } from './native.ts';

type Tensors = Record<string, { shape: number[]; values: Float32Array }>;

/** Compares the gradient of f with central differences of `value` (f with what its gradient adds to it). */
function check(
  inputs: Tensors,
  f: (t: Record<string, tf.Tensor>) => tf.Scalar,
  extra: () => number = () => 0,
) {
  const names = Object.keys(inputs);
  const tensors = () => names.map((n) => tf.tensor(inputs[n].values, inputs[n].shape));
  const call = (...args: tf.Tensor[]) => f(Object.fromEntries(names.map((n, i) => [n, args[i]])));
  const gradients = tf.tidy(() =>
    tf
      .grads(call)(tensors())
      .map((g) => g.dataSync()),
  );
  const value = () => {
    const main = tf.tidy(() => call(...tensors()).dataSync()[0]);
    return main + extra();
  };
  const random = new Random(7);
  names.forEach((name, k) => {
    const { values } = inputs[name];
    for (let trial = 0; trial < 6; trial++) {
      const i = random.below(values.length);
      const held = values[i];
      const step = 1e-2;
      values[i] = held + step;
      const above = value();
      values[i] = held - step;
      const below = value();
      values[i] = held;
      const expected = (above - below) / (2 * step);
      expect(
        Math.abs(gradients[k][i] - expected),
        `${name}[${i}] ${gradients[k][i]} ${expected}`,
      ).toBeLessThan(2e-2 * Math.max(1, Math.abs(expected)));
    }
  });
}

function values(shape: number[], seed: number, scale = 1) {
  const random = new Random(seed);
  const length = shape.reduce((a, b) => a * b, 1);
  return { shape, values: Float32Array.from({ length }, () => scale * random.normal()) };
}

/** sum(y * r) with a fixed random r: a scalar whose gradient tells every output apart. */
function project(y: tf.Tensor): tf.Scalar {
  const { values: r } = values(y.shape, 99);
  return withGradient(
    [y],
    (t) => tf.sum(tf.mul(t, tf.tensor(r, t.shape))) as tf.Scalar,
    (dy, [t]) => [tf.mul(tf.tensor(r, t.shape), dy)],
  );
}

describe('on wasm', () => testGradients('wasm'));
describe.skipIf(!hasNative)('on tfjs-node (skipped where it is not installed)', () =>
  testGradients('tfjs-node'),
);

/** Every op of the network against its definition or finite differences, on one backend. */
function testGradients(name: TensorBackendName): void {
  beforeAll(async () => {
    await loadBackend(name);
  });

  test.each([
    { dilation: 1, inputs: 1, kernel: 5 },
    { dilation: 2, inputs: 3, kernel: 5 },
    { dilation: 4, inputs: 2, kernel: 3 },
  ])('circularConv has the gradient of finite differences: %o', ({ dilation, inputs, kernel }) => {
    check({ x: values([2, 16, inputs], 1), w: values([kernel, inputs, 4], 2) }, ({ x, w }) =>
      project(circularConv(x as tf.Tensor3D, w as tf.Tensor3D, dilation)),
    );
  });

  const shapes = [
    { dilation: 1, pool: 2, helix: 2, inputs: 3, outputs: 8 },
    { dilation: 4, pool: 2, helix: 4, inputs: 8, outputs: 8 },
    { dilation: 2, pool: 1, helix: 3, inputs: 6, outputs: 6 },
    { dilation: 1, pool: 1, helix: 4, inputs: 4, outputs: 6 },
    { dilation: 1, pool: 3, helix: 1, inputs: 2, outputs: 6 },
    { dilation: 1, pool: 4, helix: 2, inputs: 4, outputs: 5 },
    { dilation: 2, pool: 4, helix: 2, inputs: 4, outputs: 8 },
  ];
  test.each(shapes)('helicalConv is its definition: %o', ({ inputs, outputs, ...shape }) => {
    const { dilation, pool, helix } = shape;
    const [batch, time, kernel] = [2, 24 * pool, 5];
    const [y, w] = [values([batch, time, inputs], 1), values([kernel, inputs, outputs], 2)];
    const got = tf.tidy(() =>
      helicalConv(
        tf.tensor(y.values, [batch, time, inputs]),
        tf.tensor(w.values, [kernel, inputs, outputs]),
        shape,
      ),
    );
    expect(got.shape).toEqual([batch, time / pool, outputs]);
    const at = (b: number, g: number, i: number) =>
      y.values[(b * time + (((g % time) + time) % time)) * inputs + i];
    got.dataSync().forEach((value, index) => {
      const o = index % outputs;
      const t = Math.floor(index / outputs) % (time / pool);
      const b = Math.floor(index / (outputs * (time / pool)));
      let sum = 0;
      for (let k = 0; k < kernel; k++) {
        for (let i = 0; i < inputs; i++) {
          const from = pool * (t + dilation * (k - 2)) + helixOffset(i, o, helix, pool);
          for (let u = 0; u < pool; u++)
            sum += (w.values[(k * inputs + i) * outputs + o] * at(b, from + u, i)) / pool;
        }
      }
      expect(Math.abs(value - sum)).toBeLessThan(1e-4);
    });
    got.dispose();
  });

  test.each(shapes)(
    'helicalConv has the gradient of finite differences: %o',
    ({ inputs, outputs, ...shape }) => {
      check({ y: values([2, 16 * shape.pool, inputs], 1), w: values([5, inputs, outputs], 2) }, ({ y, w }) =>
        project(helicalConv(y as tf.Tensor3D, w as tf.Tensor3D, shape)),
      );
    },
  );

  test('a dilated helix that does not divide the outputs is refused', () => {
    const [y, w] = [tf.zeros([1, 16, 2]), tf.zeros([5, 2, 6])] as [tf.Tensor3D, tf.Tensor3D];
    expect(() => helicalConv(y, w, { dilation: 2, pool: 2, helix: 2 })).toThrow(
      /a multiple of 4 output channels, got 6/,
    );
  });

  test('batchNorm has the gradient of finite differences', () => {
    check({ c: values([2, 8, 3], 3), gamma: values([3], 4), beta: values([3], 5) }, ({ c, gamma, beta }) =>
      project(batchNorm(c as tf.Tensor3D, gamma as tf.Tensor1D, beta as tf.Tensor1D)),
    );
  });

  const controls: [string, RangeControl | undefined][] = [
    ['no control', undefined],
    ['clip', { clip: 1.2, start: 100, form: 'quadratic', linear: 0, square: 0, largest: 0 }],
    ['quadratic', { start: 0.5, form: 'quadratic', linear: 3, square: 10, largest: 0.5 }],
    ['bounded', { start: 0.5, form: 'bounded', linear: 3, square: 10, largest: 0.5 }],
  ];
  test.each(controls)('squarePool has the gradient of finite differences: %s', (_, control) => {
    let penalty = 0;
    check(
      { x: values([2, 8, 3], 6), a: values([3], 7), h: values([3], 8) },
      ({ x, a, h }) =>
        project(
          squarePool(x as tf.Tensor3D, a as tf.Tensor1D, h as tf.Tensor1D, 2, control, (p) => {
            penalty = p.dataSync()[0];
            p.dispose();
          }),
        ),
      () => (control && control.clip === undefined ? penalty : 0),
    );
  });

  test.each(controls.flatMap(([what, control]) => [1, 2, 5].map((degree) => ({ what, degree, control }))))(
    'polynomialPool has the gradient of finite differences: $what, degree $degree',
    ({ degree, control }) => {
      let penalty = 0;
      const coefficients = [0.3, 0.7, -0.4, 0.2, -0.5, 0.3].slice(0, degree + 1);
      check(
        { x: values([2, 8, 3], 6) },
        ({ x }) =>
          project(
            polynomialPool(x as tf.Tensor3D, { range: [-1.5, 1], coefficients }, 2, control, (p) => {
              penalty = p.dataSync()[0];
              p.dispose();
            }),
          ),
        () => (control && control.clip === undefined ? penalty : 0),
      );
    },
  );

  test('addBias, meanOverTime and dense have the gradients of finite differences', () => {
    check(
      { x: values([2, 8, 3], 1), b: values([3], 2), w: values([3, 4], 3), c: values([4], 4) },
      ({ x, b, w, c }) =>
        project(
          dense(
            meanOverTime(addBias(x as tf.Tensor3D, b as tf.Tensor1D)),
            w as tf.Tensor2D,
            c as tf.Tensor1D,
          ),
        ),
    );
  });

  test('reluAveragePool has the gradient of finite differences', () => {
    check({ x: values([2, 8, 3], 1) }, ({ x }) => project(reluAveragePool(x as tf.Tensor3D, 2)));
  });

  test('reluPool has the gradient of finite differences', () => {
    check({ x: values([2, 8, 3], 1) }, ({ x }) => project(reluPool(x as tf.Tensor3D, 2)));
  });

  test.each([undefined, 2])('crossEntropy has the gradient of finite differences with bound %s', (bound) => {
    const [targets, soft] = [5, 6].map((seed) => tf.tensor2d(values([3, 4], seed).values, [3, 4]));
    check({ s: values([3, 4], 7) }, ({ s }) =>
      crossEntropy(s as tf.Tensor2D, {
        targets,
        bound,
        teacher: { targets: soft, temperature: 2 },
        excess: { start: 0.5, weight: 0.3 },
      }),
    );
  });
}
