import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ACTIVATIONS, activation, erf } from '../../src/approx/activations.ts';
import { approximate, evaluateApproximation } from '../../src/approx/approximate.ts';
import type { CompositeApproximation, PolynomialApproximation } from '../../src/approx/approximation.ts';
import { evaluateSeries, monomials } from '../../src/approx/chebyshev.ts';
import type { Distribution } from '../../src/approx/distribution.ts';
import { remez } from '../../src/approx/remez.ts';

type Options = Parameters<typeof approximate>[1];
const polynomial = (what: string | ((x: number) => number), options: Options) =>
  approximate(what, options) as PolynomialApproximation;

const GAUSSIAN: Distribution = { kind: 'normal', mean: 0, deviation: 1 };

function largestOn(grid: number, [low, high]: readonly [number, number], e: (x: number) => number): number {
  let largest = 0;
  for (let i = 0; i <= grid; i++) largest = Math.max(largest, Math.abs(e(low + ((high - low) * i) / grid)));
  return largest;
}

describe('published values', () => {
  test('Chebyshev coefficients of exp are 2 I_k(1), that of T_0 I_0(1): Abramowitz & Stegun, table 9.8 and 9.6.34', () => {
    const bessel = [
      1.26606587775201, 0.565159103992485, 0.135747669767038, 0.0221684249243319, 0.00273712022104687,
    ];
    const { coefficients } = polynomial(Math.exp, { range: [-1, 1], degree: 12, method: 'truncation' });
    bessel.forEach((v, k) => {
      expect(coefficients[k]).toBeCloseTo((k === 0 ? 1 : 2) * v, 12);
    });
  });

  test('Chebyshev coefficients of |x| are 4 (-1)^(k+1) / (π (4k² - 1)): Mason & Handscomb 2003, 5.2', () => {
    const { coefficients } = polynomial(Math.abs, { range: [-1, 1], degree: 63, method: 'truncation' });
    expect(coefficients[0]).toBeCloseTo(2 / Math.PI, 12);
    for (let k = 1; k <= 31; k++) {
      expect(coefficients[2 * k]).toBeCloseTo((4 * (-1) ** (k + 1)) / (Math.PI * (4 * k * k - 1)), 12);
      expect(coefficients[2 * k + 1]).toBeCloseTo(0, 12);
    }
  });

  // Chebyshev 1859; Meinardus, Approximation of Functions (1967), 4.3: E_n(1/(a - x)) = (a - √(a² - 1))^n /
  // (a² - 1).
  test.each([
    [1, 1.5],
    [4, 1.5],
    [7, 2],
    [16, 1.25],
    [33, 1.05],
  ])('the minimax error of 1/(a - x) has its closed form, degree %i, a = %d', (degree, a) => {
    const { maxError, minimax } = polynomial((x) => 1 / (a - x), { range: [-1, 1], degree });
    const known = (a - Math.sqrt(a * a - 1)) ** degree / (a * a - 1);
    expect(Math.abs(maxError - known)).toBeLessThan(1e-10);
    expect(Math.abs(minimax!.lowerBound - known)).toBeLessThan(1e-10);
  });

  test.each([1, 5, 12])('the minimax error of x^(n+1) is 2^-n, degree %i: Chebyshev 1854', (degree) => {
    const { maxError } = polynomial((x) => x ** (degree + 1), { range: [-1, 1], degree });
    expect(maxError).toBeCloseTo(2 ** -degree, 11);
  });

  test('the minimax line of exp has error (1/e + sinh 1 · ln sinh 1) / 2: its tangent is parallel to the chord', () => {
    const { maxError } = polynomial(Math.exp, { range: [-1, 1], degree: 1 });
    expect(maxError).toBeCloseTo((1 / Math.E + Math.sinh(1) * Math.log(Math.sinh(1))) / 2, 11);
  });

  test('the minimax error of |x| is 1/8 for degrees 2 and 3', () => {
    for (const degree of [2, 3])
      expect(polynomial(Math.abs, { range: [-1, 1], degree }).maxError).toBeCloseTo(1 / 8, 11);
  });

  test("2n E_2n(|x|) tends to Bernstein's constant 0.28016949902386913…: Varga & Carpenter 1987, OEIS A073001", () => {
    // Their asymptotic series in 1/n², one term of it removed at a time (Richardson).
    let row = [4, 8, 16, 32].map(
      (degree) => degree * polynomial(Math.abs, { range: [-1, 1], degree }).maxError,
    );
    expect(row[0] / 4).toBeCloseTo(0.0676208992, 9);
    for (let k = 1; k <= 3; k++) row = row.slice(1).map((v, i) => (4 ** k * v - row[i]) / (4 ** k - 1));
    expect(row[0]).toBeCloseTo(0.280169499023869, 6);
  });

  // Goel, Karmalkar & Klivans 2019, lemma on ReLU; used by HerPN (AESPA, Park et al. 2022).
  test('Hermite coefficients of ReLU are 1/√(2π), 1/2, 1/(2√π), 0, -1/(4√(3π)), …', () => {
    const { hermite } = polynomial('relu', {
      range: [-4, 4],
      degree: 40,
      method: 'hermite',
      distribution: GAUSSIAN,
    });
    const c = hermite!.coefficients;
    const first = [
      1 / Math.sqrt(2 * Math.PI),
      1 / 2,
      1 / (2 * Math.sqrt(Math.PI)),
      0,
      -1 / (4 * Math.sqrt(3 * Math.PI)),
    ];
    first.forEach((v, k) => {
      expect(c[k]).toBeCloseTo(v, 12);
    });
    let [odd, factorial] = [1, 2]; // (k - 3)!! and k!
    for (let k = 4; k <= 40; k += 2) {
      odd *= k - 3;
      factorial *= k * (k - 1);
      expect(c[k]).toBeCloseTo(((-1) ** (k / 2 + 1) * odd) / Math.sqrt(2 * Math.PI * factorial), 12);
    }
  });

  test('least squares of degree 2 of ReLU on [-1, 1] is 3/32 + x/2 + 15/32 x² (its Legendre series)', () => {
    const found = polynomial('relu', { range: [-1, 1], degree: 2, method: 'least-squares' });
    [3 / 32, 1 / 2, 15 / 32].forEach((v, k) => {
      expect(monomials(found).coefficients[k]).toBeCloseTo(v, 12);
    });
  });

  test('erf has its values of Abramowitz & Stegun, table 7.1', () => {
    expect(erf(0.5)).toBeCloseTo(0.52049987781305, 13);
    expect(erf(-1.5)).toBeCloseTo(-0.96610514647531, 13);
    expect(erf(3)).toBeCloseTo(0.999977909503, 12);
    expect(erf(7)).toBe(1);
  });
});

const METHODS = ['chebyshev', 'truncation', 'least-squares', 'minimax'] as const;
const arbitrary = fc.record({
  name: fc.constantFrom(...ACTIVATIONS),
  low: fc.double({ min: -9, max: -0.1, noNaN: true }),
  high: fc.double({ min: 0.1, max: 9, noNaN: true }),
  degree: fc.integer({ min: 1, max: 24 }),
});

describe('every method', () => {
  test('when the error is looked for on another, denser grid then none is above the reported one, and minimax is least', () => {
    fc.assert(
      fc.property(arbitrary, ({ name, low, high, degree }) => {
        const { f } = activation(name);
        const range = [low, high] as const;
        const all = METHODS.map((method) => polynomial(name, { range, degree, method }));
        for (const found of all) {
          const largest = largestOn(3989, range, (x) => f(x) - evaluateSeries(found, x));
          expect(largest).toBeLessThanOrEqual(found.maxError);
          expect(found.rmsError).toBeLessThanOrEqual(found.maxError);
        }
        const [, , squares, minimax] = all;
        const allowance = 1e-12 * high;
        for (const found of all) {
          expect(minimax.maxError).toBeLessThanOrEqual(found.maxError * (1 + 1e-9) + allowance);
          expect(squares.rmsError).toBeLessThanOrEqual(found.rmsError * (1 + 1e-9) + allowance);
        }
      }),
      { numRuns: 12, seed: 6 },
    );
  });

  test('when a minimax polynomial is found then its error alternates at degree + 2 points', () => {
    fc.assert(
      fc.property(arbitrary, ({ name, low, high, degree }) => {
        const { f } = activation(name);
        const found = polynomial(name, { range: [low, high], degree });
        const { reference, lowerBound } = found.minimax!;
        expect(reference).toHaveLength(degree + 2);
        if (lowerBound < 1e-11) return; // nothing but rounding is left
        reference.forEach((x, i) => {
          const e = f(x) - evaluateSeries(found, x);
          expect(Math.abs(Math.abs(e) - found.maxError)).toBeLessThan(1e-6 * found.maxError + 1e-13);
          if (i > 0)
            expect(e * (f(reference[i - 1]) - evaluateSeries(found, reference[i - 1]))).toBeLessThan(0);
        });
      }),
      { numRuns: 15, seed: 6 },
    );
  });

  test.each([...METHODS, 'hermite'] as const)('when the degree is 63 then %s is stable', (method) => {
    const distribution: Distribution = method === 'hermite' ? GAUSSIAN : { kind: 'uniform' };
    const relu = polynomial('relu', { range: [-4, 4], degree: 63, method, distribution });
    expect(relu.maxError).toBeLessThan(0.06);
    if (method === 'hermite') return; // no Hermite series of degree 63 ends at 4 deviations
    const smooth = polynomial('tanh', { range: [-2, 2], degree: 63, method });
    expect(smooth.maxError).toBeLessThan(1e-11);
  });

  test('when least squares has samples then its error is orthogonal to all polynomials on them', () => {
    const values = Array.from({ length: 400 }, (_, i) => 3 * Math.sin(i * i));
    const found = polynomial('silu', {
      range: [-5, 5],
      degree: 6,
      method: 'least-squares',
      distribution: { kind: 'samples', values },
    });
    const { f } = activation('silu');
    for (let k = 0; k <= 6; k++) {
      const sum = values.reduce((s, x) => s + (f(x) - evaluateSeries(found, x)) * (x / 3) ** k, 0);
      expect(Math.abs(sum) / values.length).toBeLessThan(1e-13);
    }
    const rms = Math.sqrt(
      values.reduce((s, x) => s + (f(x) - evaluateSeries(found, x)) ** 2, 0) / values.length,
    );
    expect(found.rmsError).toBeCloseTo(rms, 12);
  });

  test('when a histogram has one even bin then it weighs as the uniform distribution does', () => {
    const options = { range: [-2, 3], degree: 5, method: 'least-squares' } as const;
    const even: Distribution = { kind: 'histogram', edges: [-2, 1, 3], counts: [30, 20] };
    const a = polynomial('relu', { ...options, distribution: even });
    polynomial('relu', options).coefficients.forEach((c, k) => {
      expect(a.coefficients[k]).toBeCloseTo(c, 10);
    });
  });

  test('when monomial coefficients are wanted then they agree, or are refused where they lose more than six digits', () => {
    const found = polynomial('gelu', { range: [-3, 4], degree: 9 });
    const { coefficients, digitsLost } = monomials(found);
    expect(digitsLost).toBeLessThan(3);
    const value = coefficients.reduceRight((s, c) => s * 1.7 + c, 0);
    expect(value).toBeCloseTo(evaluateSeries(found, 1.7), 12);
    expect(() => monomials(polynomial('relu', { range: [-4, 4], degree: 63 }))).toThrow(
      /loses \d+\.\d of 16 digits/,
    );
  });
});

describe('composite', () => {
  test('when stages are added then the error falls, and none on a dense grid is above it', () => {
    let before = Number.POSITIVE_INFINITY;
    for (const degree of [[7], [7, 7], [7, 15]]) {
      const found = approximate('relu', {
        range: [-6, 4],
        degree,
        method: 'composite',
      }) as CompositeApproximation;
      expect(found.degree).toBe(degree.reduce((a, b) => a * b, 1) + 1);
      const largest = largestOn(9973, [-6, 4], (x) => Math.max(0, x) - evaluateApproximation(found, x));
      expect(largest).toBeLessThanOrEqual(found.maxError);
      expect(found.maxError).toBeLessThan(before / 1.5);
      before = found.maxError;
    }
  });

  test('when a stage is looked at then it is the best odd one: its error alternates between 1 - e and 1 + e', () => {
    const { stages } = approximate('relu', {
      range: [-1, 1],
      degree: [7],
      method: 'composite',
    }) as CompositeApproximation;
    const values = Array.from({ length: 20_001 }, (_, i) => evaluateSeries(stages[0], i / 20_000));
    const turns = values.filter(
      (v, i) => i > 0 && i < 20_000 && (v - values[i - 1]) * (values[i + 1] - v) < 0,
    );
    const high = Math.max(...turns);
    expect(turns).toHaveLength(3);
    expect(turns[0] + turns[1]).toBeCloseTo(2, 6);
    expect(turns[2]).toBeCloseTo(high, 6);
    expect(values[20_000]).toBeCloseTo(turns[1], 6);
  });

  test('when it is leaky ReLU then the slope below 0 stays', () => {
    const found = approximate('leaky-relu', { range: [-5, 5], degree: [7, 7], method: 'composite' });
    expect(Math.abs(evaluateApproximation(found, -4) + 0.04)).toBeLessThanOrEqual(found.maxError);
  });
});

const noise = (x: number) => (Math.sin(1e9 * x) * 1e5) % 1;

describe('what cannot be approximated', () => {
  test('when a function has another value each time then Remez gives up and says how far it came', () => {
    const points = Array.from({ length: 41 }, (_, i) => i / 20 - 1);
    let state = 1;
    const f = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    const basis = (x: number) => [1, x, x * x];
    expect(() => remez({ f, basis, range: [-1, 1], points, what: 'noise' })).toThrow(
      /noise did not converge: the error is between .* after \d+ exchanges/,
    );
  });

  test('when the functions to combine depend on one another then Remez says so', () => {
    const points = [-1, -0.5, 0, 0.5, 1];
    expect(() =>
      remez({ f: Math.exp, basis: (x) => [1, 1, x], range: [-1, 1], points, what: 'exp' }),
    ).toThrow(/exp did not converge: its equations have no single solution/);
  });

  const ok = { range: [-1, 1], degree: 4 } as const;
  const samples = (values: number[]): Distribution => ({ kind: 'samples', values });
  test.each<[string, string | ((x: number) => number), Options, RegExp]>([
    ['an unknown activation', 'rleu', ok, /no activation "rleu".*relu, leaky-relu/],
    ['degree 0', 'relu', { ...ok, degree: 0 }, /degree from 1 to 63, got 0/],
    ['degree 64', 'relu', { ...ok, degree: 64 }, /got 64/],
    ['several degrees', 'relu', { ...ok, degree: [3, 5] }, /got 3,5/],
    ['an empty range', 'relu', { ...ok, range: [2, 2] }, /lower to a higher number/],
    ['a reversed range', 'relu', { ...ok, range: [2, -2] }, /got 2,-2/],
    ['a logarithm below 0', Math.log, ok, /log is NaN at -1/],
    ['a pole', (x) => 1 / x, ok, /Infinity at 0/],
    ['Hermite without deviation', 'relu', { ...ok, method: 'hermite' }, /mean and deviation/],
    [
      'no deviation',
      'relu',
      { ...ok, distribution: { ...GAUSSIAN, deviation: 0 } as Distribution },
      /above 0/,
    ],
    ['samples outside', 'relu', { ...ok, distribution: samples([0, 3]) }, /1 of 2 inputs leave.*from 0 to 3/],
    [
      'too few samples',
      'relu',
      { ...ok, method: 'least-squares', distribution: samples([0, 1, 1]) },
      /at least 5/,
    ],
    ['no samples', 'relu', { ...ok, distribution: samples([]) }, /none at all/],
    [
      'a crooked histogram',
      'relu',
      { ...ok, distribution: { kind: 'histogram', edges: [0, 1], counts: [1, 2] } },
      /2 edges and 2 counts/,
    ],
    ['even stages', 'relu', { ...ok, method: 'composite', degree: [4] }, /odd degrees/],
    ['a composite of tanh', 'tanh', { ...ok, method: 'composite', degree: [7] }, /not for tanh/],
    ['noise', noise, ok, /turns too often/],
  ])('when it is %s then the error says so', (_, what, options, message) => {
    expect(() => approximate(what, options)).toThrow(message);
  });
});
