import fc from 'fast-check';
import * as mathjs from 'mathjs';
import { describe, expect, test, vi } from 'vitest';
import { ACTIVATIONS, type Activation, activation } from '../../src/approx/activations.ts';
import { approximate, evaluateApproximation } from '../../src/approx/approximate.ts';
import type { Approximation, PolynomialApproximation } from '../../src/approx/approximation.ts';
import { evaluateSeries } from '../../src/approx/chebyshev.ts';
import { EXPRESSION_FUNCTIONS, parseActivation } from '../../src/approx/expressions.ts';

/** Whether the library that reads expressions was loaded since the test file began. */
const reader = vi.hoisted(() => ({ loaded: false }));
vi.mock('mathjs/number', async (original) => {
  reader.loaded = true;
  return await original();
});

type Options = Parameters<typeof approximate>[1];
const RANGE = [-4, 4] as const;
const POINTS = Array.from({ length: 41 }, (_, i) => -4 + i / 5);

async function polynomial(text: string, options: Options): Promise<PolynomialApproximation> {
  return (await approximate(text, options)) as PolynomialApproximation;
}

function largestOn(grid: number, [low, high]: readonly [number, number], e: (x: number) => number): number {
  let largest = 0;
  for (let i = 0; i <= grid; i++) largest = Math.max(largest, Math.abs(e(low + ((high - low) * i) / grid)));
  return largest;
}

describe('names', () => {
  // First of all tests: after the first expression the library is there.
  test('when activations are named, right or wrong, then the library for expressions is not loaded', async () => {
    const found: Approximation = approximate('relu', { range: RANGE, degree: 3 });
    expect(found.activation).toBe('relu');
    for (const name of ACTIVATIONS) expect((await parseActivation(name)).f).toBe(activation(name).f);
    expect(() => approximate('leaky-rleu', { range: RANGE, degree: 3 })).toThrow(
      /no activation "leaky-rleu"/,
    );
    await expect(parseActivation('ReLU')).rejects.toThrow(/no activation "ReLU".*expression of x/);
    expect(reader.loaded).toBe(false);
    await parseActivation('x^2');
    expect(reader.loaded).toBe(true);
  });
});

describe('values', () => {
  test.each<[string, (x: number) => number]>([
    ['x / (1 + exp(-1.702 x))', (x) => x / (1 + Math.exp(-1.702 * x))],
    ['1/2 x', (x) => x / 2],
    ['2x^2 - 3 x + 1', (x) => 2 * x * x - 3 * x + 1],
    ['-x^2', (x) => -(x * x)],
    ['2^-x', (x) => 2 ** -x],
    ['x^2^3', (x) => x ** 8],
    ['(x + 1)(x - 1)', (x) => x * x - 1],
    ['2x(1 - x)^2', (x) => 2 * x * (1 - x) ** 2],
    ['1/2 x (1 + erf(x / sqrt(2)))', activation('gelu').f],
    ['pi (x + e(x))', (x) => Math.PI * (x + Math.E * x)],
    ['max(x, 2)(x)', (x) => Math.max(x, 2) * x],
    ['1.5e-1 x * pi - e', (x) => 0.15 * x * Math.PI - Math.E],
    ['max(-1, x/2, x - 1)', (x) => Math.max(-1, x / 2, x - 1)],
    ['min(1, max(0, x/6 + 1/2))', (x) => Math.min(1, Math.max(0, x / 6 + 1 / 2))],
    ['x tanh(softplus(x))', (x) => x * Math.tanh(activation('softplus').f(x))],
    ['x/2 * (1 + erf(x / sqrt(2)))', activation('gelu').f],
    ['x * sigmoid(x)', activation('silu').f],
    [' x\n + \t1 ', (x) => x + 1],
  ])('when the expression is %j then it has the values that are meant', async (text, f) => {
    const read = await parseActivation(text);
    expect(read.name).toBe(text.trim().replace(/\s+/g, ' '));
    for (const x of POINTS) expect(Math.abs(read.f(x) - f(x))).toBeLessThanOrEqual(1e-14 * Math.abs(f(x)));
  });

  test('when a function has its name from mathjs then it has the values of mathjs too', async () => {
    const ours = ['ln', 'relu', 'sigmoid', 'silu', 'gelu', 'softplus'];
    const oracle = mathjs.create(mathjs.all, { number: 'number', predictable: true });
    for (const name of EXPRESSION_FUNCTIONS.filter((f) => !ours.includes(f))) {
      const text = ['max', 'min', 'pow'].includes(name) ? `${name}(x, 2)` : `${name}(x)`;
      const { f } = await parseActivation(text);
      const expected = oracle.compile(text);
      for (const x of [-2.5, -0.9, -0.3, 0.2, 0.7, 1, 1.5, 3.7]) {
        const value = expected.evaluate({ x });
        if (!Number.isFinite(value)) expect(f(x), `${text} at ${x}`).toBe(value);
        else expect(Math.abs(f(x) - value), `${text} at ${x}`).toBeLessThan(1e-13 * (1 + Math.abs(value)));
      }
    }
  });

  test('when expressions are random then they have the values that mathjs gives them', async () => {
    const { text } = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.constant('x'),
        fc.integer({ min: 0, max: 9 }).map(String),
        fc.constantFrom('pi', '.5'),
      ),
      call: fc
        .tuple(fc.constantFrom('abs', 'tanh', 'sin', 'atan', 'exp'), tie('text'))
        .map(([f, a]) => `${f}(${a})`),
      pair: fc
        .tuple(fc.constantFrom('max', 'min'), tie('text'), tie('text'))
        .map(([f, a, b]) => `${f}(${a}, ${b})`),
      infix: fc
        .tuple(tie('text'), fc.constantFrom('+', ' - ', '*', ''), tie('text'))
        .map(([a, o, b]) => `((${a})${o}(${b}))`),
      minus: tie('text').map((a) => `-${a}`),
      text: fc.oneof({ maxDepth: 4 }, tie('leaf'), tie('call'), tie('pair'), tie('infix'), tie('minus')),
    })) as { text: fc.Arbitrary<string> };
    await fc.assert(
      fc.asyncProperty(
        text.filter((t) => t.includes('x') && t.length <= 500 && !/^-*x$/.test(t)),
        async (t) => {
          const { f } = await parseActivation(`0 x + ${t}`);
          const oracle = mathjs.compile(t);
          for (const x of [-1.3, 0.4, 2]) {
            const value = oracle.evaluate({ x });
            if (Number.isFinite(value))
              expect(Math.abs(f(x) - value)).toBeLessThanOrEqual(1e-11 * Math.abs(value));
          }
        },
      ),
      { numRuns: 200, seed: 6 },
    );
  });
});

describe('approximations of expressions', () => {
  test('when a text is an expression then a promise comes, of what the function itself has', async () => {
    const f = (x: number) => x / (1 + Math.exp(-1.702 * x));
    const later = approximate('x / (1 + exp(-1.702 x))', { range: RANGE, degree: 7 });
    expect(later).toBeInstanceOf(Promise);
    const found = await later;
    const wanted = approximate(f, { range: RANGE, degree: 7 });
    expect(found.activation).toBe('x / (1 + exp(-1.702 x))');
    expect(found.maxError).toBeCloseTo(wanted.maxError, 13);
    expect(found.maxError).toBeCloseTo(0.0334643327, 9);
    expect(found.rmsError).toBeCloseTo(wanted.rmsError, 13);
    for (const x of POINTS)
      expect(evaluateApproximation(found, x)).toBeCloseTo(evaluateApproximation(wanted, x), 12);
  });

  test('when the library is entered by its door then expressions are there', async () => {
    const library = await import('../../src/index.ts');
    expect((await library.approximate('x^2 / 2', { range: [-1, 1], degree: 1 })).maxError).toBeCloseTo(
      0.25,
      11,
    );
    expect((await library.parseActivation('x^2')).f(3)).toBe(9);
    expect(library.EXPRESSION_FUNCTIONS).toContain('tanh');
  });

  test('when an expression is read once then it is approximated many times, without a promise', async () => {
    const read: Activation = await parseActivation('x tanh(softplus(x))');
    const errors = [3, 7, 15].map((degree) => approximate(read, { range: RANGE, degree }).maxError);
    expect(errors[0] > errors[1] && errors[1] > errors[2]).toBe(true);
  });

  test('when random polynomials are written as text then their approximations are those of the functions', async () => {
    const coefficient = fc.integer({ min: -9_999, max: 9_999 }).map((n) => n / 1000);
    await fc.assert(
      fc.asyncProperty(
        fc.array(coefficient, { minLength: 2, maxLength: 9 }),
        fc.constantFrom('powers', 'products', 'Horner'),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom('minimax', 'chebyshev', 'truncation', 'least-squares'),
        async (c, form, degree, method) => {
          const text =
            form === 'Horner'
              ? c.reduceRight((inner, a) => (inner === '' ? `(${a})` : `(${a} + x * ${inner})`), '')
              : c.map((a, k) => (form === 'powers' ? `${a} x^${k}` : `${a}${'*x'.repeat(k)}`)).join(' + ');
          const f = (x: number) => c.reduceRight((sum, a) => sum * x + a, 0);
          const options: Options = { range: [-2, 1.5], degree, method };
          const read = await polynomial(text, options);
          const given = approximate(f, options) as PolynomialApproximation;
          const size = c.reduce((sum, a, k) => sum + Math.abs(a) * 2 ** k, 1e-3);
          expect(Math.abs(read.maxError - given.maxError)).toBeLessThan(1e-12 * size);
          expect(Math.abs(read.rmsError - given.rmsError)).toBeLessThan(1e-12 * size);
          read.coefficients.forEach((v, k) => {
            expect(Math.abs(v - given.coefficients[k])).toBeLessThan(1e-12 * size);
          });
          if (degree >= c.length - 1) expect(read.maxError).toBeLessThan(1e-12 * size);
        },
      ),
      { numRuns: 60, seed: 6 },
    );
  });

  test.each([
    ['max(0, x)', 'relu'],
    ['(x + abs(x)) / 2', 'relu'],
    ['x (1 + sign(x)) / 2', 'relu'],
    ['relu(x)', 'relu'],
    ['max(0.01 x, x)', 'leaky-relu'],
    ['max(0, x) + log1p(exp(-abs(x)))', 'softplus'],
  ])('when %s is approximated then every figure is that of %s to 1e-9', async (text, name) => {
    for (const method of ['minimax', 'chebyshev', 'truncation', 'least-squares'] as const) {
      for (const range of [RANGE, [-3, 7] as const]) {
        const options = { range, degree: 7, method };
        const [read, named] = [await polynomial(text, options), approximate(activation(name), options)];
        expect(Math.abs(read.maxError - named.maxError)).toBeLessThan(1e-9);
        expect(Math.abs(read.rmsError - named.rmsError)).toBeLessThan(1e-9);
      }
    }
  });

  test.each(['abs(x - 1.3)', 'max(x, 1 - x, x^2 - 2)', 'min(1, max(0, x/6 + 1/2)) x', 'abs(sin(7 x))'])(
    'when %s bends away from 0 then no point of a dense grid is above the error',
    async (text) => {
      const { f } = await parseActivation(text);
      for (const method of ['minimax', 'least-squares'] as const) {
        const found = await polynomial(text, { range: RANGE, degree: 9, method });
        const largest = largestOn(39_989, RANGE, (x) => f(x) - evaluateSeries(found, x));
        expect(largest).toBeLessThanOrEqual(found.maxError);
        expect(largest).toBeGreaterThan(found.maxError * 0.995);
      }
    },
  );

  test('when a spike is narrower than the points of the grid then its bends are found, and the errors are right', async () => {
    const height = 1e-5;
    const found = await polynomial(`max(0, ${height} - abs(x - 2.1))`, {
      range: RANGE,
      degree: 5,
      method: 'chebyshev',
    });
    expect(Math.max(...found.coefficients.map(Math.abs))).toBe(0); // interpolation does not see it
    expect(found.maxError).toBeCloseTo(height, 15);
    expect(found.maxErrorAt).toBeCloseTo(2.1, 12);
    expect(found.rmsError / Math.sqrt(((2 / 3) * height ** 3) / 8)).toBeCloseTo(1, 6);
  });

  test('when a function jumps then no polynomial is nearer than half of the jump, and minimax is as near', async () => {
    const found = await polynomial('sign(x - 0.3)', { range: RANGE, degree: 5 });
    expect(found.minimax!.lowerBound).toBeCloseTo(1, 9);
    expect(found.maxError).toBeCloseTo(1, 9);
  });
});

describe('what is no expression of x', () => {
  test.each([
    ['x +', /"x \+" cannot be read at character 4: unexpected end of expression/],
    ['max(0, x', /at character 9: parenthesis \) expected/],
    ['x ** 2', /at character 4: value expected/],
    ['1,5 x', /at character 2: unexpected operator/],
    ['', /got an empty text/],
    [' \n', /got an empty text/],
    ['2', /"2" is a constant: there is no x in it/],
    ['exp(2) + pi', /is a constant/],
    ['t^2', /has "t" in it: the only variable is x/],
    ['x * y', /has "y" in it/],
    ['i x', /has "i" in it/],
    ['exp x', /function exp without its value: write exp\(x\)/],
    ['sin^2(x)', /function sin without its value/],
    ['x(1, 2)', /cannot be read: parenthesis \) expected/],
    ['2e3x(1)', /calls x as a function: write x \* \(…\)/],
    ['1 / x (1 + x)', /two ways/],
    ['foo(x)', /calls "foo"\. Known functions are abs, .*softplus/],
    ['max(x)', /max takes 2 values or more, got 1/],
    ['sin(x, 2)', /sin takes one value, got 2/],
    ['pow(x)', /pow takes 2 values, got 1/],
    ['x/2 (1 + x^2)', /two ways: write \(x \/ 2\) \* \(1 \+ x \^ 2\), or x \/ \(2 \* \(1 \+ x \^ 2\)\)/],
    ['x / 2x', /two ways/],
    ['1e400 x', /has Infinity in it/],
    ['true x', /has true in it/],
    ['NaN x', /has NaN in it/],
    ['x + 1'.repeat(101), /at most 500 characters, got 505/],
  ])('when it is %j then the error says why', async (text, message) => {
    await expect(parseActivation(text)).rejects.toThrow(message);
    await expect(parseActivation(text)).rejects.toMatchObject({ code: 'USAGE' });
  });

  test.each([
    ...['f(x) = x', 'x = 2', 'x; x', 'x # note', '[x, x]', 'x[1]', '{a: x}', '"x"', "x'", 'x!', 'x % 2'],
    ...[
      'x < 1 ? x : 0',
      'x == 1',
      '1:x',
      'x | 1',
      'x & 1',
      '`x`',
      'x\\y',
      '$x',
      'x °',
      '😀 x',
      'x\u001b[31m',
    ],
    ...['x.y', 'x.constructor', 'x mod 2', 'x to 2', 'not x', 'x and x', 'x in cm', '2 cm x', 'end x'],
    ...['import(x)', 'evaluate(x)', 'parse(x)', 'config(x)', 'createUnit(x)', 'simplify(x)', 'random(x)'],
    ...['constructor(x)', 'toString(x)', 'hasOwnProperty(x)', '__proto__(x)', 'x + __proto__', 'x + this'],
    ...['cos(x)(x).y', 'x()', 'undefined + x', 'null + x', 'x + Infinity'],
  ])('when it is %j then it is refused', async (text) => {
    await expect(parseActivation(text)).rejects.toMatchObject({ name: 'BlindbeatError', code: 'USAGE' });
  });

  test('when a character does not belong then the error has its place, and no character that commands a terminal', async () => {
    await expect(parseActivation('x + 1 = 2')).rejects.toThrow(/has "=" as character 7: an expression has/);
    await expect(parseActivation('x\u001b')).rejects.toThrow(/"\\u001b" as character 2/);
  });

  test.each<[string, readonly [number, number], RegExp]>([
    ['log(x)', RANGE, /log\(x\) is NaN at -4, and no finite number as far as 0: .*real number.*range/],
    ['sqrt(x - 1.5)', RANGE, /is NaN at -4, and no finite number as far as 1\.5:/],
    ['asin(x)', [-2, 0.5], /is NaN at -2, and no finite number as far as -1:/],
    ['(x - 1)^0.5', [0, 1], /is NaN at 0, and no finite number as far as 1:/],
    ['1 / x', RANGE, /is Infinity at 0:/],
    ['1 / (x - 0.3)', RANGE, /(Infinity at|bound near) 0\.3:/],
    ['1 / (exp(x) - 2)', RANGE, /(Infinity at|bound near) 0\.693147181:/],
    ['1 / (x - 0.3)^2', RANGE, /(Infinity at|bound near) 0\.3:/],
    ['1 / (x^2 - 0.6 x + 0.09)', RANGE, /(Infinity at|bound near) 0\.30000\d+:/],
    ['tan(x)', RANGE, /grows without a bound near -1\.57079633:/],
    ['log(abs(x - 0.3))', RANGE, /is -Infinity at 0\.3:/],
    ['exp(300 x)', RANGE, /is Infinity at 2\.36594\d+, and no finite number as far as 4:/],
  ])('when %s is not finite on %j then the error says where', async (text, range, message) => {
    const found = approximate(text, { range, degree: 5 });
    await expect(found).rejects.toMatchObject({ code: 'USAGE' });
    await expect(found).rejects.toThrow(message);
  });

  test('when a pole lies outside of the range then it does not matter', async () => {
    const { maxError } = await approximate('1 / (1.5 - x)', { range: [-1, 1], degree: 4 });
    const a = 1.5; // closed form: Chebyshev 1859
    expect(maxError).toBeCloseTo((a - Math.sqrt(a * a - 1)) ** 4 / (a * a - 1), 11);
  });
});
