import { BlindbeatError } from '../../../errors.ts';
import type { Circuit, OnStage } from '../../circuit/circuit.ts';
import type { PlannedKey } from '../../keyswitch/key-set.ts';
import { allPrimes, type Parameters } from '../../ring/parameters.ts';
import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import { type RawCiphertext, readCiphertext, writeCiphertext } from '../../seal/bytes.ts';
import {
  type Encryptor,
  type Handle,
  loadSeal,
  type SEALContext,
  type Seal,
  type ServerModule,
} from '../../seal/seal.ts';
import type {
  EncryptedResult,
  Executor,
  LoadedEvaluationKeys,
  Polynomials,
  RotationLevels,
} from '../executor.ts';
import { encodeProgram, type Program, run } from '../program.ts';
import { FastBackend, type FastCiphertext, FastEngine, type FastKey, type FastKeys } from './backend.ts';

/**
 * The little of SEAL that is left beside the kernels: seeds are expanded by SEAL's own generator, at the top of the chain,
 * so that its context needs no other level; and encryptions of zero are SEAL's, under the first prime and the special one.
 */
class SealRest implements Disposable {
  readonly seal: Seal<ServerModule>;
  readonly parameters: Parameters;
  readonly context: SEALContext;
  readonly parmsIds: Map<number, Uint8Array>;
  /** Of the last level alone. */
  readonly replyContext: SEALContext;

  constructor(seal: Seal<ServerModule>, parameters: Parameters) {
    const { n, primes, special } = parameters;
    this.seal = seal;
    this.parameters = parameters;
    this.context = seal.context(n, allPrimes(parameters), false);
    this.parmsIds = seal.parmsIds(this.context);
    this.replyContext = seal.context(n, [primes[0], special], false);
  }

  [Symbol.dispose](): void {
    this.seal.free(this.context, this.replyContext);
  }

  /** A public key, without the limbs that the reply's level does not have. */
  replyPublicKey(raw: RawCiphertext): Uint8Array {
    const { n, primes } = this.parameters;
    const { words } = this.expand(raw, 'PublicKey', 'the evaluation keys');
    const all = primes.length + 1;
    const kept = new Uint32Array(8 * n);
    [0, all - 1, all, 2 * all - 1].forEach((limb, k) => {
      kept.set(words.subarray(2 * n * limb, 2 * n * (limb + 1)), 2 * n * k);
    });
    const parmsId = this.seal.parmsIds(this.replyContext).get(2)!;
    return writeCiphertext({ ...raw, seed: undefined, parmsId, limbs: 2, words: kept });
  }

  /** The ciphertext with its second polynomial in place of the seed. */
  expand(raw: RawCiphertext, kind: 'Ciphertext' | 'PublicKey', what: string): RawCiphertext {
    const { seal, context } = this;
    const { module } = seal;
    return seal.using(new module[kind](), (handle) => {
      seal.guard('FORMAT', what, () => handle.loadFromArray(context, writeCiphertext(raw)));
      return readCiphertext(handle.saveToArray(module.ComprModeType.none));
    });
  }
}

/** Keys in the kernels' memory: only the digits and limbs that the plan uses. */
class LoadedKeys implements LoadedEvaluationKeys {
  readonly switching: FastKeys = { relinearisation: [], galois: new Map() };
  #encryptor: Encryptor | null = null;
  readonly #engine: FastEngine;
  readonly #rest: SealRest;
  readonly #owned: Handle[] = [];
  readonly #made: FastKey[] = [];

  readonly #circuit: Circuit;
  readonly #rotated: RotationLevels;

  constructor(engine: FastEngine, rest: SealRest, circuit: Circuit, rotated: RotationLevels) {
    this.#engine = engine;
    this.#rest = rest;
    this.#circuit = circuit;
    this.#rotated = rotated;
  }

  setSwitchingKey({ step, gadget }: PlannedKey, digits: Iterable<RawCiphertext>): void {
    const rest = this.#rest;
    const expanded = function* () {
      for (const raw of digits) yield rest.expand(raw, 'PublicKey', 'the evaluation keys');
    };
    const key = this.#engine.loadKey(expanded(), { switching: this.#circuit.keySwitching, gadget }, step);
    this.#made.push(key);
    const { relinearisation, galois } = this.switching;
    if (step === null) {
      relinearisation.push(key);
      return;
    }
    galois.set(step, [...(galois.get(step) ?? []), key]);
    if (key.switching === 'grouped') return;
    for (const level of this.#rotated.get(step) ?? []) this.#engine.starts(key, level);
  }

  setPublicKey(raw: RawCiphertext): void {
    const { seal, replyContext } = this.#rest;
    const own = <T extends Handle>(handle: T): T => {
      this.#owned.push(seal.own(handle));
      return handle;
    };
    const publicKey = own(new seal.module.PublicKey());
    const bytes = this.#rest.replyPublicKey(raw);
    seal.guard('FORMAT', 'the evaluation keys', () => publicKey.loadFromArray(replyContext, bytes));
    this.#encryptor = own(new seal.module.Encryptor(replyContext, publicKey));
  }

  get encryptor(): Encryptor {
    return this.#encryptor!;
  }

  [Symbol.dispose](): void {
    this.#rest.seal.free(...this.#owned.splice(0));
    for (const key of this.#made.splice(0)) this.#engine.freeKey(key);
  }
}

/** The server's work by our own kernels. */
export class FastExecutor implements Executor {
  readonly #engine: FastEngine;
  readonly #rest: SealRest;
  readonly #program: Program<PeriodicPlain>;
  readonly #circuit: Circuit;
  readonly #rotated: RotationLevels;

  private constructor(
    engine: FastEngine,
    rest: SealRest,
    program: Program<PeriodicPlain>,
    circuit: Circuit,
    rotated: RotationLevels,
  ) {
    this.#engine = engine;
    this.#rest = rest;
    this.#program = program;
    this.#circuit = circuit;
    this.#rotated = rotated;
  }

  /** @throws BlindbeatError ENVIRONMENT where WebAssembly has no SIMD or not enough memory, or threads cannot be started */
  static async open(circuit: Circuit, rotated: RotationLevels, threads: number): Promise<FastExecutor> {
    const engine = await FastEngine.open(circuit.parameters, threads);
    using backend = new FastBackend(engine, null);
    const program = encodeProgram(backend, circuit);
    for (const encoded of program.stages) {
      if ('steps' in encoded)
        for (const { rows, step } of encoded.steps) if (rows.length > 0) engine.pack(rows, rows, step.limbs);
      if (!('rows' in encoded)) continue;
      const { rows, separation, stage } = encoded;
      engine.pack(rows, rows.flat(), stage.limbs);
      if (separation) engine.pack(separation, separation, stage.limbs);
    }
    const rest = new SealRest(await loadSeal<ServerModule>(), circuit.parameters);
    return new FastExecutor(engine, rest, program, circuit, rotated);
  }

  get threads(): number {
    return this.#engine.threads.count;
  }

  /** Bytes of the kernels' memory that are in use. */
  get memoryInUse(): number {
    return this.#engine.memory.used;
  }

  get liveHandles(): number {
    return this.#rest.seal.live;
  }

  get parmsIds(): Map<number, Uint8Array> {
    return this.#rest.parmsIds;
  }

  [Symbol.dispose](): void {
    this.#rest[Symbol.dispose]();
    this.#engine[Symbol.dispose]();
  }

  createKeys(): LoadedEvaluationKeys {
    return new LoadedKeys(this.#engine, this.#rest, this.#circuit, this.#rotated);
  }

  evaluate(request: RawCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult {
    if (!(keys instanceof LoadedKeys)) {
      throw new BlindbeatError('MISMATCH', 'the evaluation keys were loaded for another backend');
    }
    const input = this.#engine.load(this.#rest.expand(request, 'Ciphertext', 'the request'));
    const backend = new FastBackend(this.#engine, keys.switching);
    try {
      const outcome = run(backend, this.#program, input, onStage);
      const scores = this.#rerandomise(outcome.scores, keys.encryptor);
      return outcome.map ? { scores, map: this.#rerandomise(outcome.map, keys.encryptor) } : { scores };
    } finally {
      backend[Symbol.dispose]();
      this.#engine.memory.free(input.address);
    }
  }

  /** The sum with a fresh encryption of zero, at the one limb that is left. */
  #rerandomise(result: FastCiphertext, encryptor: Encryptor): Polynomials {
    const { seal } = this.#rest;
    const { n, primes } = this.#engine.parameters;
    const [q] = primes;
    const { words } = seal.using(new seal.module.Ciphertext(), (zero) => {
      encryptor.encryptZero(zero);
      return readCiphertext(zero.saveToArray(seal.module.ComprModeType.none));
    });
    const polynomial = (index: number) =>
      this.#engine.read(result, index, 0).map((v, i) => (v + words[2 * (index * n + i)]) % q);
    return { c0: polynomial(0), c1: polynomial(1) };
  }
}
