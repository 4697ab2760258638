import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  type Calibration,
  calibrate,
  fitCosts,
  type Measurement,
  measureOperations,
  parseCalibration,
} from '../../src/ckks/calibrate.ts';
import type { Backend } from '../../src/ckks/evaluator/backend.ts';
import { OPERATIONS } from '../../src/ckks/evaluator/operations.ts';
import { FAST_COST, operationMs } from '../../src/ckks/planner/cost.ts';
import { choosePrimes, log2Product } from '../../src/ckks/ring/primes.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { mutated } from '../helpers/mutate.ts';

type Timed = (typeof OPERATIONS)[number];

const LIMBS = [2, 4, 6, 10, 14];
const measurements = (ms: (limbs: number, operation: Timed) => number): Measurement[] =>
  OPERATIONS.flatMap((operation) => LIMBS.map((limbs) => ({ operation, limbs, ms: ms(limbs, operation) })));

describe('the fit of costs', () => {
  test.each([4096, 8192, 16384, 32768])(
    'when times follow the model at n = %i, then its constants come back',
    (n) => {
      const costs = fitCosts(
        measurements((limbs, operation) => operationMs(FAST_COST, operation, limbs, n)),
        n,
      );
      for (const operation of OPERATIONS) {
        expect(costs[operation].squared).toBeCloseTo(FAST_COST[operation].squared, 9);
        expect(costs[operation].linear).toBeCloseTo(FAST_COST[operation].linear, 9);
      }
    },
  );

  test.each<[string, (limbs: number) => number, { squared: number; linear: number }]>([
    ['the square of the limbs', (l) => 3 * l ** 2, { squared: 3, linear: 0 }],
    ['the limbs', (l) => 2 * l, { squared: 0, linear: 2 }],
    ['both', (l) => 0.5 * l ** 2 + 7 * l, { squared: 0.5, linear: 7 }],
    ['nothing', () => 0, { squared: 0, linear: 0 }],
    // What would need a negative constant gets the better of the fits with one: sum (r / ms) / sum (r /
    // ms)^2.
    ['their cube', (l) => l ** 3, { squared: oneTerm((l) => 1 / l), linear: 0 }],
    ['less and less', (l) => 5 - l / 4, { squared: 0, linear: oneTerm((l) => l / (5 - l / 4)) }],
  ])('when times grow with %s, then these are the constants', (_, ms, expected) => {
    for (const { squared, linear } of Object.values(fitCosts(measurements(ms), 16384))) {
      expect(squared).toBeCloseTo(expected.squared, 9);
      expect(linear).toBeCloseTo(expected.linear, 9);
    }
  });

  test('when the ring is smaller, then its times are scaled to N = 16384 by n log n', () => {
    const { rotate } = fitCosts(
      measurements((l) => 3 * l ** 2 + l),
      4096,
    );
    expect(rotate.squared).toBeCloseTo((3 * 4 * 14) / 12, 9);
    expect(rotate.linear).toBeCloseTo((4 * 14) / 12, 9);
  });

  test('when one number of limbs was measured, then time is taken to grow with the limbs', () => {
    const { rotate } = fitCosts([{ operation: 'rotate', limbs: 4, ms: 6 }], 16384);
    expect(rotate).toEqual({ squared: 0, linear: 1.5 });
  });

  test('when times are off by some percent, then so are the fitted ones', () => {
    const sound = (limbs: number) => 0.04 * limbs ** 2 + 0.2 * limbs;
    const costs = fitCosts(
      measurements((limbs) => sound(limbs) * (1 + 0.1 * Math.sin(37 * limbs))),
      16384,
    );
    for (const limbs of LIMBS) {
      expect(Math.abs(operationMs(costs, 'rotate', limbs, 16384) / sound(limbs) - 1)).toBeLessThan(0.1);
    }
  });
});

/**
 * The constant of a fit with one term, by least squares of relative errors; `r` is the term over the time.
 */
function oneTerm(r: (limbs: number) => number): number {
  const sum = (power: number) => LIMBS.reduce((total, limbs) => total + r(limbs) ** power, 0);
  return sum(1) / sum(2);
}

/** A backend that does nothing but let a clock of its own go on; a ciphertext is its number of limbs. */
class Clockwork implements Backend<number, number> {
  /** Milliseconds. */
  now = 0;
  /** Ciphertexts that are not freed. */
  live = 0;

  make(limbs: number): number {
    this.live++;
    return limbs;
  }

  #take(operation: Timed, limbs: number): number {
    this.now += operationMs(FAST_COST, operation, limbs, 16384);
    return limbs;
  }

  #made(operation: Timed, limbs: number): number {
    return this.make(this.#take(operation, limbs));
  }

  encode = (_real: Float64Array, _scale: number, limbs: number) => limbs;
  rotate = (v: number) => this.#made('rotate', v);
  rotateAll(values: number[], steps: number[]): number[][] {
    for (const v of values) this.#take('decompose', v);
    return steps.map(() => values.map((v) => this.#made('hoistedRotate', v)));
  }
  multiplyPlainSum(values: number[], rows: (number | null)[][]): number[] {
    for (const row of rows) for (const k of row.keys()) this.#take('multiplyPlain', values[k]);
    return rows.map(() => this.#made('sum', values[0]));
  }
  add = (a: number) => this.#made('add', a);
  addPlain = (v: number) => this.#made('addPlain', v);
  square = (v: number) => this.#made('square', v);
  multiply = (a: number) => this.#made('multiply', a);
  relinearise = (v: number) => this.#made('relinearise', v);
  rescale = (v: number) => this.#made('rescale', v);
  dropLevel = (_v: number, limbs: number) => this.make(limbs);
  free() {
    this.live--;
  }
}

describe('measured operations', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const REPEATS = 7;
  test.each([
    ['exact', 0],
    ['late by 100 ms in all stretches of a repetition but one', 100],
  ])('when the clock is %s, then each operation has its own time, and all is freed', (_, delay) => {
    const backend = new Clockwork();
    let reads = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => {
      const isEnd = reads % 2 === 1;
      const stretch = Math.floor(reads++ / 2) % (REPEATS + 1); // 0 warms up
      if (isEnd && stretch !== 4) backend.now += delay;
      return backend.now;
    });
    const make = (limbs: number) => backend.make(limbs);
    const measured = LIMBS.flatMap((limbs) => measureOperations({ backend, make, scale: 1 }, limbs, REPEATS));
    expect(measured.map(({ operation }) => operation)).toEqual(LIMBS.flatMap(() => OPERATIONS));
    for (const { operation, limbs, ms } of measured) {
      expect(ms, `${operation} at ${limbs} limbs`).toBeCloseTo(
        operationMs(FAST_COST, operation, limbs, 16384),
        6,
      );
    }
    const costs = fitCosts(measured, 16384);
    for (const operation of OPERATIONS) {
      expect(costs[operation].squared, operation).toBeCloseTo(FAST_COST[operation].squared, 6);
      expect(costs[operation].linear, operation).toBeCloseTo(FAST_COST[operation].linear, 6);
    }
    expect(backend.live).toBe(0);
  });
});

describe('this machine', () => {
  const n = 4096;
  let calibration: Calibration;
  const progress: number[][] = [];
  beforeAll(async () => {
    const primes = choosePrimes(n, Array<number>(11).fill(28));
    const special = primes.pop()!;
    const logQP = log2Product([...primes, special]);
    calibration = await calibrate({ n, primes, special, logQP, security: 128 }, (...at) => progress.push(at));
  });
  const ms = (operation: Timed, limbs: number) =>
    calibration.measured.find((row) => row.operation === operation && row.limbs === limbs)!.ms;

  test('when it is measured, then at every number of limbs, with progress', () => {
    const limbs = [2, 4, 6, 10];
    expect(calibration.measured.map((row) => row.limbs)).toEqual(
      limbs.flatMap((l) => OPERATIONS.map(() => l)),
    );
    expect(progress).toEqual(limbs.map((_, k) => [k + 1, 4]));
  });

  // Not what is a difference of two times: on a busy machine it is anything.
  const whole = ['rotate', 'relinearise', 'add', 'addPlain', 'square', 'multiply', 'rescale'] as const;
  test.each(whole)(
    'when %s is measured, then it takes time, and more with ten limbs than with two',
    (name) => {
      expect(ms(name, 2)).toBeGreaterThan(0);
      expect(ms(name, 10)).toBeGreaterThan(ms(name, 2));
    },
  );

  test.each([2, 4, 6, 10])(
    'when there are %i limbs, then transforms and keys are dearer than sums',
    (limbs) => {
      for (const dear of ['rotate', 'relinearise', 'rescale'] as const)
        expect(ms(dear, limbs), dear).toBeGreaterThan(2 * ms('add', limbs));
    },
  );

  test('when the file is read again, then nothing is lost', () => {
    expect(parseCalibration(JSON.parse(JSON.stringify(calibration)))).toEqual(calibration);
  });
});

describe('a file of costs', () => {
  const sound = { format: 'blindbeat costs', version: 1, n: 8192, costs: FAST_COST, measured: [] };

  test('when it is sound, then it is read', () => {
    expect(parseCalibration(JSON.parse(JSON.stringify(sound))).costs).toEqual(FAST_COST);
  });

  test.each<[string, unknown, RegExp]>([
    ['nothing', null, /costs: expected an object, got null/],
    ['of another format', { ...sound, format: 'x' }, /format: expected "blindbeat costs", got "x"/],
    ['of a later version', { ...sound, version: 2 }, /version: expected 1, got 2/],
    ['without costs', { ...sound, costs: undefined }, /costs: expected an object, got nothing/],
    [
      'without rotations',
      { ...sound, costs: { ...FAST_COST, rotate: undefined } },
      /costs\.rotate: expected an object, got nothing/,
    ],
    [
      'negative',
      { ...sound, costs: { ...FAST_COST, square: { squared: 0, linear: -1 } } },
      /costs\.square\.linear: expected a number from 0 to 1000000, got -1/,
    ],
    [
      'of a time that no sum can hold',
      { ...sound, costs: { ...FAST_COST, decompose: { squared: 0, linear: 1e308 } } },
      /costs\.decompose\.linear: expected a number from 0 to 1000000/,
    ],
  ])('when it is %s, then the error says so', (_, value, message) => {
    expect(() => parseCalibration(value)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(() => parseCalibration(value)).toThrow(message);
  });

  test('when it is changed anywhere, then it is refused or every operation has a time', () => {
    let accepted = 0;
    const measured = measurements(() => 1).slice(0, 3);
    fc.assert(
      fc.property(mutated({ ...sound, measured }), (value) => {
        try {
          const { costs } = parseCalibration(value);
          accepted++;
          for (const operation of OPERATIONS) {
            const ms = operationMs(costs, operation, 3, 16384);
            expect(ms).toBeGreaterThanOrEqual(0);
            expect(ms).toBeLessThan(Infinity);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(BlindbeatError);
          expect(error).toMatchObject({ code: 'FORMAT' });
        }
      }),
      { numRuns: 500, seed: 1 },
    );
    expect(accepted).toBeGreaterThan(20);
  });
});
