import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FastBackend } from '../../../../src/ckks/evaluator/fast/backend.ts';
import { type FastCiphertext, FastEngine } from '../../../../src/ckks/evaluator/fast/engine.ts';
import { availableKernels } from '../../../../src/ckks/evaluator/fast/kernels/kernels.ts';
import { type LoadedSwitchingKeys, loadKey } from '../../../../src/ckks/evaluator/fast/keys.ts';
import {
  type Gadget,
  GadgetSchema,
  gadgetNoise,
  gadgetProblems,
  gadgets,
  moduli,
  restrict,
} from '../../../../src/ckks/keyswitch/gadget.ts';
import { CONJUGATION, galoisElement } from '../../../../src/ckks/ring/galois.ts';
import { multiplyMod } from '../../../../src/ckks/ring/modular.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../../src/ckks/ring/ntt.ts';
import { allPrimes, type Parameters, specialIndex } from '../../../../src/ckks/ring/parameters.ts';
import { choosePrimes, log2Product } from '../../../../src/ckks/ring/primes.ts';
import { type RawCiphertext, readCiphertext, writeCiphertext } from '../../../../src/ckks/seal/bytes.ts';
import { type ClientModule, loadSeal } from '../../../../src/ckks/seal/seal.ts';
import { addKeyTerm } from '../../../../src/ckks/secret/hybrid-key.ts';
import { SecretKey } from '../../../../src/ckks/secret/secret-key.ts';
import { parse } from '../../../../src/schema.ts';

const STEPS = [CONJUGATION, 1, 8];
const SHIPPED = [30, 30, 30, 28, 27, 26, 27, 26, 27, 26, 27, 26, 27, 26, 30];
/** Deviation of SEAL's errors. */
const SIGMA = 3.2;

function parametersOf(n: number, bits: number[], spareBits: number[] = []): Parameters {
  const primes = choosePrimes(n, [...spareBits, ...bits]);
  const logQP = log2Product(primes);
  const spare = primes.splice(0, spareBits.length);
  const special = primes.pop()!;
  return { n, primes, ...(spare.length > 0 && { spare }), special, logQP, security: 128 };
}

/** A backend with keys of one gadget, and the secret key, to see what ciphertexts hold. */
class Subject {
  readonly engines: FastEngine[];
  readonly backends: FastBackend[];
  readonly #secret: SecretKey;
  readonly #transforms: Ntt[];

  private constructor(engines: FastEngine[], backends: FastBackend[], secret: SecretKey) {
    const { parameters } = engines[0];
    this.engines = engines;
    this.backends = backends;
    this.#secret = secret;
    this.#transforms = parameters.primes.map(
      (q) => new Ntt(parameters.n, q, minimalPrimitiveRoot(parameters.n, q)),
    );
  }

  /** On one thread and on three. */
  static async open(parameters: Parameters, gadget: Gadget): Promise<Subject> {
    const seal = await loadSeal<ClientModule>();
    const { module } = seal;
    const none = module.ComprModeType.none;
    const context = seal.context(parameters.n, allPrimes(parameters), false);
    const generator = seal.own(new module.KeyGenerator(context));
    const plan = { planHash: 'test', parameters };
    const secret = SecretKey.fromSeal(
      seal.using(generator.secretKey(), (key) => key.saveToArray(none)),
      'test',
      plan,
    );
    const residues = secret.residuesFor(plan);
    const key = (step: number | null): RawCiphertext[] =>
      gadget.digits.map((_, digit) =>
        seal.using(generator.createPublicKeySerializable(), (zero) => {
          const raw = readCiphertext(zero.saveToArray(none));
          addKeyTerm(raw.words, residues, parameters, gadget, digit, step);
          return seal.using(new module.PublicKey(), (expanded) => {
            expanded.loadFromArray(context, writeCiphertext(raw));
            return readCiphertext(expanded.saveToArray(none));
          });
        }),
      );
    const relinearisation = key(null);
    const galois = STEPS.map((step) => ({ step, digits: key(step) }));
    seal.free(generator, context);
    const engines = await Promise.all([
      FastEngine.open(parameters, 1, 'wasm'),
      ...availableKernels(parameters.n).map((kernels) => FastEngine.open(parameters, 3, kernels)),
    ]);
    const kind = { switching: 'hybrid', gadget } as const;
    const backends = engines.map((engine) => {
      const keys: LoadedSwitchingKeys = {
        relinearisation: [loadKey(engine, relinearisation, kind, null)],
        galois: new Map(galois.map(({ step, digits }) => [step, [loadKey(engine, digits, kind, step)]])),
      };
      return new FastBackend(engine, keys);
    });
    return new Subject(engines, backends, secret);
  }

  [Symbol.dispose](): void {
    for (const backend of this.backends) backend[Symbol.dispose]();
    for (const engine of this.engines) engine[Symbol.dispose]();
    this.#secret[Symbol.dispose]();
  }

  /** Uniform polynomials, on every engine. */
  random(polynomials: number, limbs: number, seed: number): FastCiphertext[] {
    const { n, primes } = this.engines[0].parameters;
    const words = new Uint32Array(2 * polynomials * limbs * n);
    let state = seed;
    for (let k = 0; k < polynomials * limbs * n; k++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      words[2 * k] = Math.floor((state / 2 ** 32) * primes[Math.floor(k / n) % limbs]);
    }
    const raw = { parmsId: new Uint8Array(32), ntt: true, n, limbs, polynomials, scale: 1, words };
    return this.engines.map((engine) => engine.load(raw));
  }

  /** c0 + c1 s + c2 s^2 by limb, coefficients. */
  phase(v: FastCiphertext): Uint32Array[] {
    const engine = this.engines[0];
    const residues = this.#secret.residuesFor({ planHash: 'test', parameters: engine.parameters });
    const { n, primes } = engine.parameters;
    return Array.from({ length: v.limbs }, (_, i) => {
      const q = primes[i];
      const sum = engine.read(v, v.polynomials - 1, i);
      for (let polynomial = v.polynomials - 2; polynomial >= 0; polynomial--) {
        const next = engine.read(v, polynomial, i);
        for (let k = 0; k < n; k++) sum[k] = (multiplyMod(sum[k], residues[i * n + k], q) + next[k]) % q;
      }
      this.#transforms[i].inverse(sum);
      return sum;
    });
  }

  turned(phase: Uint32Array[], step: number): Uint32Array[] {
    const { n, primes } = this.engines[0].parameters;
    const element = galoisElement(step, n);
    return phase.map((values, i) => {
      const out = new Uint32Array(n);
      for (let k = 0; k < n; k++) {
        const exponent = (k * element) % (2 * n);
        out[exponent % n] = exponent < n || values[k] === 0 ? values[k] : primes[i] - values[k];
      }
      return out;
    });
  }

  /**
   * What a ciphertext holds beyond what it should: whole numbers, which must be the same modulo every prime.
   */
  error(v: FastCiphertext, expected: Uint32Array[]): Int32Array {
    const { primes } = this.engines[0].parameters;
    const errors = this.phase(v).map((values, i) =>
      Int32Array.from(values, (value, k) => {
        const error = (value - expected[i][k] + primes[i]) % primes[i];
        return error > primes[i] / 2 ? error - primes[i] : error;
      }),
    );
    for (const other of errors) expect(other.every((error, k) => error === errors[0][k])).toBe(true);
    return errors[0];
  }

  /** The same operation on every engine gives the same residues; the first one's result. */
  same(made: FastCiphertext[]): FastCiphertext {
    const [first, ...others] = made;
    others.forEach((other, e) => {
      for (let k = 0; k < first.polynomials; k++)
        for (let i = 0; i < first.limbs; i++) {
          const residues = this.engines[0].read(first, k, i);
          expect(this.engines[e + 1].read(other, k, i).every((r, m) => r === residues[m])).toBe(true);
        }
    });
    return first;
  }
}

function deviation(errors: Int32Array): number {
  return Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
}

/**
 * Predicted deviation of one key switch: the keys' divided errors, and what the division rounds by 1 and s.
 */
function predicted(parameters: Parameters, gadget: Gadget): { keys: number; rounding: number } {
  const { n } = parameters;
  return {
    keys: SIGMA * Math.sqrt(n) * gadgetNoise(parameters, gadget),
    rounding: Math.sqrt((gadget.special.length / 12) * (1 + (2 / 3) * n)),
  };
}

const shipped = parametersOf(16384, SHIPPED);
const middle = parametersOf(8192, [30, 28, 27, 26, 26, 27, 30]);
const small = parametersOf(4096, [30, 28, 26]);
const spared = parametersOf(8192, [30, 29, 26, 25, 24, 28], [27]);

describe.each<[string, Parameters, number, number, number[]]>([
  ['N = 16384, 14 limbs, a prime a digit', shipped, 14, 1, [14]],
  ['N = 16384, 12 limbs, three primes a digit', shipped, 12, 3, [12, 9, 5]],
  ['N = 16384, 6 limbs, one digit', shipped, 6, 7, [6, 4, 1]],
  ['N = 8192, 4 limbs', middle, 4, 3, [4, 2]],
  ['N = 4096, 2 limbs', small, 2, 1, [2]],
  ['N = 8192, all limbs, with a spare prime', spared, 5, 2, [5, 3]],
])('hybrid keys at %s', (_, parameters, most, special, levels) => {
  const gadget = gadgets(parameters, most).find((listed) => listed.special.length === special)!;
  let subject: Subject;
  beforeAll(async () => {
    subject = await Subject.open(parameters, gadget);
  });
  afterAll(() => subject[Symbol.dispose]());

  test.each(levels)(
    'when a ciphertext has %i limbs, then key switches add the predicted noise on any number of threads',
    (limbs) => {
      const used = restrict(gadget, limbs);
      const { keys, rounding } = predicted(parameters, used);
      const expectNoise = (errors: Int32Array, variance: number) => {
        expect(deviation(errors)).toBeGreaterThan(0.7 * Math.sqrt(variance));
        expect(deviation(errors)).toBeLessThan(1.3 * Math.sqrt(variance));
      };
      const one = keys ** 2 + rounding ** 2;
      const inputs = [1, 2, 3].map((seed) => subject.random(2, limbs, seed));
      const phases = inputs.map(([v]) => subject.phase(v));
      const turned = subject.backends.map((backend, e) =>
        backend.rotateAll(
          inputs.map((v) => v[e]),
          STEPS,
        ),
      );
      STEPS.forEach((step, t) => {
        inputs.forEach((_, c) => {
          const v = subject.same(turned.map((rotations) => rotations[t][c]));
          expectNoise(subject.error(v, subject.turned(phases[c], step)), one);
        });
      });
      const product = subject.random(3, limbs, 4);
      const relinearised = subject.same(
        subject.backends.map((backend, e) => backend.relinearise(product[e])),
      );
      expectNoise(subject.error(relinearised, subject.phase(product[0])), one);

      // Column 0 has all terms and an addend, column 1 one term, column 2 none.
      const sums = subject.backends.map((backend, e) => {
        const [a, b, c] = inputs.map((v) => v[e]);
        const terms = [
          { values: [a, null, null], step: 1 },
          { values: [b, c, null], step: 8 },
        ];
        return backend.rotateAndSum!(terms, [c, null, b]);
      });
      const add = (...summands: Uint32Array[][]) =>
        summands.reduce((x, y) =>
          x.map((limb, i) => limb.map((value, k) => (value + y[i][k]) % parameters.primes[i])),
        );
      const first = subject.same(sums.map((columns) => columns[0]!));
      const expected = add(subject.turned(phases[0], 1), subject.turned(phases[1], 8), phases[2]);
      expectNoise(subject.error(first, expected), 2 * keys ** 2 + rounding ** 2);
      const second = subject.same(sums.map((columns) => columns[1]!));
      expectNoise(subject.error(second, subject.turned(phases[2], 8)), one);
      sums.forEach((columns, e) => {
        expect(columns[2]).toBe(inputs[1][e]);
      });
    },
  );
});

describe('gadgets', () => {
  test.each([
    ['shipped', shipped],
    ['N = 8192', middle],
    ['N = 4096', small],
    ['a spare prime', spared],
  ])('when they are listed for %s, then they are sound and as quiet as per-prime keys', (_, parameters) => {
    const { primes, special } = parameters;
    for (let limbs = 1; limbs <= primes.length; limbs++) {
      const listed = gadgets(parameters, limbs);
      expect(listed.map((gadget) => gadget.special.length)).toEqual(listed.map((_, k) => k + 1));
      const seal = Math.sqrt(primes.slice(0, limbs).reduce((sum, q) => sum + (q / special) ** 2 / 3, 0));
      for (const gadget of listed) {
        expect(gadgetProblems(gadget, specialIndex(parameters))).toEqual([]);
        expect(gadgetNoise(parameters, gadget)).toBeLessThanOrEqual(Math.max(seal, Math.sqrt(1 / 3)));
        for (let fewer = 1; fewer < limbs; fewer++) {
          const left = restrict(gadget, fewer);
          expect(left.digits.flat().sort((a, b) => a - b)).toEqual(moduli(left).slice(0, fewer));
          // The kernels take the first digits of a key.
          expect(left.digits).toEqual(
            gadget.digits.slice(0, left.digits.length).map((group) => group.filter((i) => i < fewer)),
          );
        }
      }
    }
  });

  const sound: Gadget = {
    limbs: 4,
    digits: [
      [0, 2],
      [1, 3],
    ],
    special: [6, 5],
  };
  test.each<[string, Partial<Gadget>, RegExp]>([
    ['a limb is missing', { digits: [[0, 2], [1]] }, /not these limbs/],
    [
      'a limb is in two digits',
      {
        digits: [
          [0, 2],
          [1, 2, 3],
        ],
      },
      /not these limbs/,
    ],
    [
      'digits are not in order',
      {
        digits: [
          [1, 3],
          [0, 2],
        ],
      },
      /order of their first primes/,
    ],
    ['a special prime is a data prime', { special: [6, 3] }, /special primes/],
    ['a special prime is listed twice', { special: [6, 6] }, /special primes/],
    ['a special prime does not exist', { special: [7] }, /special primes/],
  ])('when %s, then it is said', (_, change, message) => {
    expect(gadgetProblems(sound, 6)).toEqual([]);
    expect(gadgetProblems({ ...sound, ...change }, 6).join()).toMatch(message);
  });

  test.each<[string, object, RegExp]>([
    [
      'a digit is empty',
      { digits: [[0, 1, 2, 3], []] },
      /digits\[1\]: expected at least one, got a list of 0/,
    ],
    ['there is no special prime', { special: [] }, /special: expected at least one, got a list of 0/],
    ['digits are no lists', { digits: 'x' }, /digits: expected a list/],
    ['a limb is no whole number', { limbs: 1.5 }, /limbs: expected a whole number from 1 to 64, got 1\.5/],
  ])('when %s, then its schema says so', (_, change, message) => {
    const fault = { code: 'FORMAT', title: 'not a gadget', root: 'gadget' } as const;
    expect(parse(GadgetSchema, sound, fault)).toEqual(sound);
    expect(() => parse(GadgetSchema, { ...sound, ...change }, fault)).toThrow(message);
  });
});
