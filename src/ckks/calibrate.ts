import * as v from 'valibot';
import {
  choice,
  type Fault,
  list,
  numberWithin,
  record,
  requireFormat,
  validate,
  wholeNumber,
} from '../schema.ts';
import type { Backend } from './evaluator/backend.ts';
import { FastBackend } from './evaluator/fast/backend.ts';
import { FastEngine } from './evaluator/fast/engine.ts';
import { loadKey } from './evaluator/fast/keys.ts';
import { OPERATIONS } from './evaluator/operations.ts';
import { perPrimeGadget } from './keyswitch/gadget.ts';
import type { Costs } from './planner/cost.ts';
import { allPrimes, MAX_PRIMES, type Parameters } from './ring/parameters.ts';
import type { RawCiphertext } from './seal/bytes.ts';

const FORMAT = 'blindbeat costs';
const VERSION = 1;
const FAULT: Fault = { code: 'FORMAT', title: 'not a file of costs', root: 'costs' };
/** Larger than any ring degree, and more than all measurements of one calibration. */
const MAX_DEGREE = 2 ** 24;
const MAX_MEASUREMENTS = 4096;
/** Milliseconds of a quarter of an hour; so sums of costs stay far from what is no number. */
const MAX_MS = 1e6;
const milliseconds = () => numberWithin(0, MAX_MS);

/** The schema of `Measurement`. */
const MeasurementSchema = record({
  operation: choice(OPERATIONS),
  limbs: wholeNumber(1, MAX_PRIMES),
  ms: milliseconds(),
});

/** Milliseconds of one operation on one ciphertext. */
export type Measurement = v.InferOutput<typeof MeasurementSchema>;

/** The schema of `Calibration`. */
const CalibrationSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  /** Ring degree that was measured; the costs are scaled to N = 16384. */
  n: wholeNumber(1, MAX_DEGREE),
  costs: record(v.entriesFromList(OPERATIONS, record({ squared: milliseconds(), linear: milliseconds() }))),
  measured: list(MeasurementSchema, MAX_MEASUREMENTS),
});

/** What `blindbeat bench --calibrate` writes. */
export type Calibration = v.InferOutput<typeof CalibrationSchema>;

/**
 * Rotations of one ciphertext that are measured together, and ciphertexts in one call, as in the shipped
 * network.
 */
const STEPS = [1, 2, 3, 5];
const CIPHERTEXTS = 4;
/** Columns of the measured convolutions: what does not grow with them is the sum's. */
const COLUMNS = 32;
const FEW_COLUMNS = 4;
const REPEATS = 7;
/** Milliseconds that one timed stretch takes at least. */
const STRETCH = 3;

/** A backend, and how to come by ciphertexts for it. */
export interface Subject<V, P> {
  backend: Backend<V, P>;
  /** A ciphertext of two polynomials at the scale. */
  make(limbs: number): V;
  scale: number;
}

/** Steps whose keys a subject must have, at all limbs; it needs the relinearisation key too. */
export const CALIBRATION_STEPS: readonly number[] = STEPS;

/**
 * Milliseconds of every operation at a number of limbs: the least of some repetitions, because whatever else
 * a machine does only adds to them.
 */
export function measureOperations<V, P>(
  { backend, make, scale }: Subject<V, P>,
  limbs: number,
  repeats = REPEATS,
): Measurement[] {
  const values = Array.from({ length: CIPHERTEXTS }, () => make(limbs));
  const [v, w] = values;
  const time = (operation: () => (V | null)[], ciphertexts = 1) => {
    const once = (count: number) => {
      const start = performance.now();
      for (let r = 0; r < count; r++) for (const made of operation()) if (made) backend.free(made);
      return (performance.now() - start) / count;
    };
    const count = Math.min(50, Math.ceil(STRETCH / Math.max(1e-3, once(1)))); // warms up, too
    return Math.min(...Array.from({ length: repeats }, () => once(count))) / ciphertexts;
  };
  const vector = Float64Array.from({ length: 16 }, (_, j) => Math.cos(j));
  const plain = backend.encode(vector, 2 ** 20, limbs);
  const bias = backend.encode(vector, scale, limbs);
  const rotate = time(() => backend.rotateAll(values, STEPS.slice(0, 1)).flat(), CIPHERTEXTS);
  const several = time(() => backend.rotateAll(values, STEPS).flat(), CIPHERTEXTS);
  const hoistedRotate = Math.max(0, Math.min(rotate, (several - rotate) / (STEPS.length - 1)));
  const squared = backend.square(v);
  const columns = Array.from({ length: COLUMNS }, () => make(limbs));
  const convolution = (count: number) => {
    const rows = Array.from({ length: CIPHERTEXTS }, () => new Array<P>(count).fill(plain));
    return time(() => backend.multiplyPlainSum(columns.slice(0, count), rows), CIPHERTEXTS);
  };
  const few = convolution(FEW_COLUMNS);
  const multiplyPlain = Math.max(0, (convolution(COLUMNS) - few) / (COLUMNS - FEW_COLUMNS));
  const ms: Record<Measurement['operation'], number> = {
    rotate,
    decompose: rotate - hoistedRotate,
    hoistedRotate,
    relinearise: time(() => [backend.relinearise(squared)]),
    multiplyPlain,
    sum: Math.max(0, few - FEW_COLUMNS * multiplyPlain),
    add: time(() => [backend.add(v, w)]),
    addPlain: time(() => [backend.addPlain(v, bias)]),
    square: time(() => [backend.square(v)]),
    multiply: time(() => [backend.multiply(v, w, 1)]),
    rescale: time(() => [backend.rescale(v, scale)]),
  };
  for (const made of [...values, squared, ...columns]) backend.free(made);
  return OPERATIONS.map((operation) => ({ operation, limbs, ms: ms[operation] }));
}

/**
 * For each operation squared x limbs^2 + linear x limbs, neither negative, by least squares of relative
 * errors; scaled from ring degree n to 16384.
 */
export function fitCosts(measured: Measurement[], n: number): Costs {
  const scale = (16384 * 14) / (n * Math.log2(n));
  const fits = OPERATIONS.map((operation) => {
    const rows = measured.filter((row) => row.operation === operation && row.ms > 0);
    const sum = (term: (limbs: number, ms: number) => number) =>
      rows.reduce((total, { limbs, ms }) => total + term(limbs, ms) / ms ** 2, 0);
    const s44 = sum((l) => l ** 4);
    const s33 = sum((l) => l ** 3);
    const s22 = sum((l) => l ** 2);
    const r2 = sum((l, ms) => l ** 2 * ms);
    const r1 = sum((l, ms) => l * ms);
    const determinant = s44 * s22 - s33 ** 2;
    let squared = determinant > 0 ? (r2 * s22 - r1 * s33) / determinant : 0;
    let linear = determinant > 0 ? (s44 * r1 - s33 * r2) / determinant : 0;
    if (squared <= 0 || linear < 0) {
      // The better of the two one-term fits; an operation that takes no time costs nothing.
      const onlyLinear = s22 > 0 ? r1 / s22 : 0;
      const onlySquared = s44 > 0 ? r2 / s44 : 0;
      [squared, linear] = onlySquared * r2 > onlyLinear * r1 ? [onlySquared, 0] : [0, onlyLinear];
    }
    return [operation, { squared: squared * scale, linear: linear * scale }] as const;
  });
  return Object.fromEntries(fits) as Costs;
}

/**
 * Measures the fast backend on this machine, one thread. Time does not depend on the numbers, so ciphertexts
 * and keys are random ones.
 *
 * @throws BlindbeatError ENVIRONMENT where WebAssembly has no SIMD or not enough memory
 */
export async function calibrate(
  parameters: Parameters,
  onLevel: (done: number, total: number) => void = () => {},
): Promise<Calibration> {
  const { n, primes } = parameters;
  const levels = [...new Set([2, 4, 6, 10, primes.length])].filter((l) => l <= primes.length);
  using engine = await FastEngine.open(parameters, 1);
  const all = allPrimes(parameters);
  const random = (limbs: number, moduli: number[]): RawCiphertext => {
    const words = new Uint32Array(4 * limbs * n);
    for (let k = 0; k < 2 * limbs; k++) {
      const q = moduli[k % limbs];
      for (let j = 0; j < n; j++) words[2 * (k * n + j)] = Math.floor(Math.random() * q);
    }
    return { parmsId: new Uint8Array(32), ntt: true, n, limbs, polynomials: 2, scale: 1, words };
  };
  const digits = Array.from({ length: primes.length }, () => random(all.length, all));
  const kind = { switching: 'per-prime', gadget: perPrimeGadget(parameters, primes.length) } as const;
  using backend = new FastBackend(engine, {
    relinearisation: [loadKey(engine, digits, kind, null)],
    galois: new Map(STEPS.map((step) => [step, [loadKey(engine, digits, kind, step)]])),
  });
  const measured: Measurement[] = [];
  levels.forEach((limbs, k) => {
    const make = () => engine.load(random(limbs, primes));
    measured.push(...measureOperations({ backend, make, scale: 2 ** 20 }, limbs));
    onLevel(k + 1, levels.length);
  });
  return { format: 'blindbeat costs', version: 1, n, costs: fitCosts(measured, n), measured };
}

/**
 * Reads what `blindbeat bench --calibrate` wrote. Unknown fields stay.
 *
 * @throws BlindbeatError FORMAT that lists all that is wrong
 */
export function parseCalibration(value: unknown): Calibration {
  requireFormat(value, FORMAT, VERSION, FAULT);
  return validate(CalibrationSchema, value, FAULT);
}
