import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KernelKind } from '../../../../src/ckks/evaluator/executor.ts';
import { FastBackend } from '../../../../src/ckks/evaluator/fast/backend.ts';
import { type FastCiphertext, FastEngine } from '../../../../src/ckks/evaluator/fast/engine.ts';
import { availableKernels } from '../../../../src/ckks/evaluator/fast/kernels/kernels.ts';
import { type LoadedSwitchingKeys, loadKey, productStart } from '../../../../src/ckks/evaluator/fast/keys.ts';
import { encodeProgram, run } from '../../../../src/ckks/evaluator/program.ts';
import {
  SealBackend,
  SealEngine,
  type SealSwitchingKeys,
} from '../../../../src/ckks/evaluator/seal/backend.ts';
import { perPrimeGadget } from '../../../../src/ckks/keyswitch/gadget.ts';
import type { EvaluationKeySet } from '../../../../src/ckks/keyswitch/key-set.ts';
import { compile } from '../../../../src/ckks/planner/compile.ts';
import { CONJUGATION } from '../../../../src/ckks/ring/galois.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../../src/ckks/ring/ntt.ts';
import type { Parameters } from '../../../../src/ckks/ring/parameters.ts';
import { choosePrimes, log2Product } from '../../../../src/ckks/ring/primes.ts';
import {
  type RawCiphertext,
  readCiphertext,
  readSwitchingKey,
  writeCiphertext,
} from '../../../../src/ckks/seal/bytes.ts';
import {
  type Ciphertext,
  type ClientModule,
  type Encryptor,
  loadSeal,
  type Seal,
} from '../../../../src/ckks/seal/seal.ts';
import { type RandomModelOptions, randomModel } from '../../../helpers/random-model.ts';

const STEPS = [CONJUGATION, 1, 8, 1024];
/** Keys that reach every level. */
const FULL: EvaluationKeySet = {
  switching: 'seal',
  gadgets: [],
  relinearisation: [{ limbs: 14 }],
  galois: STEPS.map((step) => ({ step, limbs: 14 })),
};

function parametersOf(n: number, bits: number[]): Parameters {
  const primes = choosePrimes(n, bits);
  const special = primes.pop()!;
  return { n, primes, special, logQP: log2Product([...primes, special]), security: 128 };
}

/** Both backends under the same keys. */
class Pair implements Disposable {
  readonly seal: Seal<ClientModule>;
  readonly sealEngine: SealEngine;
  readonly fastEngine: FastEngine;
  readonly sealKeys: SealSwitchingKeys;
  readonly fastKeys: LoadedSwitchingKeys;
  readonly sealBackend: SealBackend;
  readonly fastBackend: FastBackend;
  readonly encryptor: Encryptor;
  readonly #owned: { delete(): void }[];

  private constructor(seal: Seal<ClientModule>, fastEngine: FastEngine, keys: EvaluationKeySet) {
    const { module } = seal;
    const { parameters } = fastEngine;
    this.seal = seal;
    this.fastEngine = fastEngine;
    this.sealEngine = new SealEngine(seal, parameters);
    const { context } = this.sealEngine;
    const generator = new module.KeyGenerator(context);
    const publicKey = generator.createPublicKey();
    this.encryptor = new module.Encryptor(context, publicKey);
    const relinearisation = generator.createRelinKeys();
    const galois = new Map(
      keys.galois.map(({ step }) => [step, generator.createGaloisKeysWithSteps(Int32Array.of(step))]),
    );
    this.#owned = [this.encryptor, publicKey, generator, relinearisation, ...galois.values()];
    this.sealKeys = { relinearisation, galois };
    const none = module.ComprModeType.none;
    const convert = (
      key: { saveToArray(mode: typeof none): Uint8Array },
      limbs: number,
      step: number | null,
    ) => {
      const digits = [...readSwitchingKey(key.saveToArray(none))];
      const gadget = perPrimeGadget(parameters, Math.min(limbs, digits.length));
      return loadKey(fastEngine, digits, { switching: 'per-prime', gadget }, step);
    };
    this.fastKeys = {
      relinearisation: [convert(relinearisation, keys.relinearisation[0].limbs, null)],
      galois: new Map(
        keys.galois.map(({ step, limbs }) => [step, [convert(galois.get(step)!, limbs, step)]]),
      ),
    };
    this.sealBackend = new SealBackend(this.sealEngine, this.sealKeys);
    this.fastBackend = new FastBackend(fastEngine, this.fastKeys);
  }

  static async open(
    parameters: Parameters,
    keys: EvaluationKeySet,
    threads = 1,
    kind?: KernelKind,
  ): Promise<Pair> {
    return new Pair(await loadSeal<ClientModule>(), await FastEngine.open(parameters, threads, kind), keys);
  }

  [Symbol.dispose](): void {
    this.fastBackend[Symbol.dispose]();
    this.fastEngine[Symbol.dispose]();
    this.sealBackend[Symbol.dispose]();
    this.sealEngine[Symbol.dispose]();
    for (const handle of this.#owned) handle.delete();
  }

  /** A ciphertext of `limbs` limbs: an encryption of zero, which is as random as any. */
  encrypt(limbs: number): Ciphertext {
    const { module } = this.seal;
    const out = this.seal.own(new module.Ciphertext());
    this.encryptor.encryptZero(out);
    this.seal.using(new module.Evaluator(this.sealEngine.context), (evaluator) => {
      for (let l = this.fastEngine.parameters.primes.length; l > limbs; l--)
        evaluator.cipherModSwitchToNextInplace(out);
    });
    out.setScale(1);
    return out;
  }

  /** A ciphertext whose second polynomial has few coefficients that are not zero. */
  sparse(limbs: number): Ciphertext {
    const { module } = this.seal;
    const { n, primes } = this.fastEngine.parameters;
    const dense = this.encrypt(limbs);
    const raw = this.raw(dense);
    this.seal.free(dense);
    for (let i = 0; i < limbs; i++) {
      const values = new Uint32Array(n);
      for (let j = i; j < n; j += 5) values[j] = (j * j + 1) % primes[i];
      new Ntt(n, primes[i], minimalPrimitiveRoot(n, primes[i])).forward(values);
      for (let j = 0; j < n; j++) raw.words[2 * (n * (limbs + i) + j)] = values[j];
    }
    const out = this.seal.own(new module.Ciphertext());
    out.loadFromArray(this.sealEngine.context, writeCiphertext(raw));
    return out;
  }

  raw(v: Ciphertext): RawCiphertext {
    return readCiphertext(v.saveToArray(this.seal.module.ComprModeType.none));
  }

  toFast(v: Ciphertext): FastCiphertext {
    return this.fastEngine.load(this.raw(v));
  }

  /** Number of residues that differ. */
  differing(v: Ciphertext, fast: FastCiphertext): number {
    const raw = this.raw(v);
    expect([fast.polynomials, fast.limbs]).toEqual([raw.polynomials, raw.limbs]);
    let count = 0;
    for (let k = 0; k < raw.polynomials; k++)
      for (let i = 0; i < raw.limbs; i++) {
        const residues = this.fastEngine.read(fast, k, i);
        const start = 2 * raw.n * (k * raw.limbs + i);
        for (let j = 0; j < raw.n; j++) if (residues[j] !== raw.words[start + 2 * j]) count++;
      }
    return count;
  }
}

describe.each<[string, number, number[], number[]]>([
  ['N = 8192, short and long primes', 8192, [30, 28, 27, 26, 26, 30, 30], [6, 3, 2]],
  [
    'N = 16384, the shipped plan',
    16384,
    [30, 30, 30, 28, 27, 26, 27, 26, 27, 26, 27, 26, 27, 26, 30],
    [14, 9, 4, 2],
  ],
  ['N = 32768', 32768, [30, 23, 27, 30], [3]],
  ['N = 4096, a special prime shorter than the data primes', 4096, [30, 28, 26], [2]],
])('against node-seal at %s', (_, n, bits, levels) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await Pair.open(parametersOf(n, bits), FULL);
  });
  afterAll(() => pair[Symbol.dispose]());

  test.each(levels)(
    'when a ciphertext has %i limbs, then every operation gives the same residues',
    (limbs) => {
      const { sealBackend: ours, fastBackend: fast, seal } = pair;
      const v = pair.encrypt(limbs);
      const w = pair.encrypt(limbs);
      const [fv, fw] = [pair.toFast(v), pair.toFast(w)];
      const check = (what: string, a: Ciphertext, b: FastCiphertext) => {
        expect(pair.differing(a, b), what).toBe(0);
      };
      for (const step of STEPS) check(`rotate by ${step}`, ours.rotate(v, step), fast.rotate(fv, step));
      const turned = fast.rotateAll([fv, fw], STEPS);
      ours.rotateAll([v, w], STEPS).forEach((pair, k) => {
        pair.forEach((a, i) => {
          check(`rotate by ${STEPS[k]} of several`, a, turned[k][i]);
        });
      });
      // Zero digits keep their value when an automorphism changes their sign.
      const sparse = pair.sparse(limbs);
      const mixed = fast.rotateAll([fv, pair.toFast(sparse), fw], STEPS);
      STEPS.forEach((step, k) => {
        check(`rotate zeros by ${step}`, ours.rotate(sparse, step), mixed[k][1]);
        check(`rotate beside zeros by ${step}`, ours.rotate(w, step), mixed[k][2]);
      });
      check('add', ours.add(v, w), fast.add(fv, fw));
      const squared = ours.square(v);
      const fastSquared = fast.square(fv);
      check('square', squared, fastSquared);
      check('relinearise', ours.relinearise(squared), fast.relinearise(fastSquared));
      check('multiply', ours.multiply(v, w, 2), fast.multiply(fv, fw, 2));
      check('multiply itself', ours.multiply(v, v, 1), fast.multiply(fv, fv, 1));
      check('dropLevel', ours.dropLevel(v, limbs - 1, 1), fast.dropLevel(fv, limbs - 1, 1));
      check('rescale', ours.rescale(v, 1), fast.rescale(fv, 1));
      for (const period of [1, 16, 64]) {
        const vector = (seed: number) =>
          ours.encode(
            Float64Array.from({ length: period }, (_, j) => Math.sin(seed + j * j)),
            2 ** 24,
            limbs,
          );
        const plain = { ...vector(0), scale: 1 };
        check('addPlain', ours.addPlain(v, plain), fast.addPlain(fv, plain));
        const columns = Array.from({ length: 21 }, (_, k) => (k % 2 === 0 ? v : w));
        const fastColumns = columns.map((c) => (c === v ? fv : fw));
        const rows = [0, 1, 2, 3, 4].map((o) =>
          columns.map((_, k) => (o === 1 || k === 5 || (o + k) % 7 === 0 ? null : vector(100 * o + k))),
        );
        const sums = ours.multiplyPlainSum(columns, rows);
        const fastSums = fast.multiplyPlainSum(fastColumns, rows);
        expect(fastSums[1]).toBeNull();
        sums.forEach((sum, o) => {
          if (sum) check(`multiplyPlainSum row ${o}, period ${period}`, sum, fastSums[o]!);
        });
      }
      seal.free(v, w, sparse);
    },
  );
});

test.each<[number, RandomModelOptions, KernelKind?]>([
  [2, { channels: [4, 8], dilation: [1, 2], samples: 2048 }],
  ...availableKernels(16384).map((kind): [number, RandomModelOptions, KernelKind] => [
    3,
    { channels: [4, 8], dilation: [1, 2], samples: 2048 },
    kind,
  ]),
  [1, { channels: [8, 16, 8], samples: 1024 }],
  [2, { channels: [4, 8], helix: 2, samples: 2048 }],
  [2, { channels: [4, 8], samples: 1024, series: [4, 2] }],
  [2, { channels: [4], samples: 1024, series: [15] }],
])(
  'when %i threads evaluate a whole network %j, then all residues of what comes out are the same',
  async (threads, options, kind) => {
    const model = randomModel({ ...options, seed: 11 });
    const { circuit, plan } = compile(model, { outputs: 'scores+map', keySwitching: 'per-prime' });
    const { rotated } = plan;
    const { parameters, keys } = plan.manifest;
    using pair = await Pair.open(parameters, keys, threads, kind);
    const request = pair.encrypt(parameters.primes.length);
    request.setScale(circuit.inputScale);
    const { sealBackend, fastBackend, fastEngine } = pair;
    const input = pair.toFast(request);
    const expected = run(sealBackend, encodeProgram(sealBackend, circuit), request);
    const program = encodeProgram(fastBackend, circuit);
    for (const [step, levels] of rotated)
      for (const level of levels) productStart(fastEngine, pair.fastKeys.galois.get(step)![0], level);
    const first = run(fastBackend, program, input);
    fastBackend.free(first.scores);
    fastBackend.free(first.map!);
    const used = fastEngine.memory.used;
    const reached = fastEngine.memory.memory.buffer.byteLength;
    const got = run(fastBackend, program, input);
    expect(pair.differing(expected.scores, got.scores)).toBe(0);
    expect(pair.differing(expected.map!, got.map!)).toBe(0);
    fastBackend.free(got.scores);
    fastBackend.free(got.map!);
    expect(fastEngine.memory.used).toBe(used);
    expect(fastEngine.memory.memory.buffer.byteLength).toBe(reached);
    pair.seal.free(request);
  },
);
