import { BlindbeatError } from '../../../errors.ts';
import type { Circuit, OnStage } from '../../circuit/circuit.ts';
import type { PlannedKey } from '../../keyswitch/key-set.ts';
import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import {
  galoisIndex,
  type RawCiphertext,
  readCiphertext,
  writeCiphertext,
  writeSwitchingKey,
} from '../../seal/bytes.ts';
import {
  type Ciphertext,
  type Encryptor,
  type GaloisKeys,
  type Handle,
  loadSeal,
  type RelinKeys,
  type SEALContext,
  type ServerModule,
} from '../../seal/seal.ts';
import {
  type EncryptedResult,
  type Executor,
  foreignKeys,
  type LoadedEvaluationKeys,
  type Polynomials,
} from '../executor.ts';
import { encodeProgram, type Program, run } from '../program.ts';
import { SealBackend, SealEngine, type SealSwitchingKeys } from './backend.ts';

/** Keys as SEAL holds them. */
class SealEvaluationKeys implements LoadedEvaluationKeys {
  #relinearisation: RelinKeys | null = null;
  readonly #galois = new Map<number, GaloisKeys>();
  /** Encrypts under the client's public key: for re-randomising replies. */
  #encryptor: Encryptor | null = null;
  #disposed = false;
  readonly #engine: SealEngine;
  readonly #owned: Handle[] = [];

  constructor(engine: SealEngine) {
    this.#engine = engine;
  }

  setSwitchingKey({ step }: PlannedKey, digits: Iterable<RawCiphertext>): void {
    const { n } = this.#engine.parameters;
    if (step === null) {
      const relinearisation = this.#own(new this.#engine.seal.module.RelinKeys());
      this.#load(relinearisation, writeSwitchingKey(this.#keyLevel, 1, 0, [...digits].map(writeCiphertext)));
      this.#relinearisation = relinearisation;
      return;
    }
    const key = this.#own(new this.#engine.seal.module.GaloisKeys());
    this.#load(
      key,
      writeSwitchingKey(this.#keyLevel, n, galoisIndex(step, n), [...digits].map(writeCiphertext)),
    );
    this.#galois.set(step, key);
  }

  setPublicKey(raw: RawCiphertext): void {
    const { module } = this.#engine.seal;
    const publicKey = this.#own(new module.PublicKey());
    this.#load(publicKey, writeCiphertext(raw));
    this.#encryptor = this.#own(new module.Encryptor(this.#engine.context, publicKey));
  }

  /**
   * The keys for evaluating in `engine`.
   *
   * @throws BlindbeatError MISMATCH for another engine, or when they are disposed
   */
  of(engine: SealEngine): { switching: SealSwitchingKeys; encryptor: Encryptor } {
    if (engine !== this.#engine || this.#disposed) throw foreignKeys();
    if (!this.#relinearisation || !this.#encryptor)
      throw new BlindbeatError('INTERNAL', 'the evaluation keys are not complete');
    const switching = { relinearisation: this.#relinearisation, galois: this.#galois };
    return { switching, encryptor: this.#encryptor };
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#engine.seal.free(...this.#owned.splice(0));
  }

  get #keyLevel(): Uint8Array {
    return this.#engine.parmsIds.get(this.#engine.parameters.primes.length + 1)!;
  }

  #own<T extends Handle>(handle: T): T {
    this.#owned.push(this.#engine.seal.own(handle));
    return handle;
  }

  #load(target: { loadFromArray(c: SEALContext, b: Uint8Array): void }, bytes: Uint8Array): void {
    this.#engine.seal.guard('FORMAT', 'the evaluation keys', () =>
      target.loadFromArray(this.#engine.context, bytes),
    );
  }
}

/** The server's work by node-seal. */
export class SealExecutor implements Executor {
  /** node-seal computes on one. */
  readonly threads = 1;
  /** SEAL does not tell. */
  readonly memoryInUse = 0;
  readonly #engine: SealEngine;
  readonly #program: Program<PeriodicPlain>;

  private constructor(engine: SealEngine, program: Program<PeriodicPlain>) {
    this.#engine = engine;
    this.#program = program;
  }

  /**
   * Encodes a circuit's weights.
   *
   * @throws BlindbeatError ENVIRONMENT where node-seal cannot be loaded
   */
  static async open(circuit: Circuit): Promise<SealExecutor> {
    using owned = new DisposableStack();
    const engine = owned.use(new SealEngine(await loadSeal<ServerModule>(), circuit.parameters));
    using backend = new SealBackend(engine, null);
    const executor = new SealExecutor(engine, encodeProgram(backend, circuit));
    owned.move();
    return executor;
  }

  get liveHandles(): number {
    return this.#engine.seal.live;
  }

  get parmsIds(): Map<number, Uint8Array> {
    return this.#engine.parmsIds;
  }

  [Symbol.dispose](): void {
    this.#engine[Symbol.dispose]();
  }

  createKeys(): LoadedEvaluationKeys {
    return new SealEvaluationKeys(this.#engine);
  }

  evaluate(request: RawCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult {
    if (!(keys instanceof SealEvaluationKeys)) throw foreignKeys();
    const { seal } = this.#engine;
    const { switching, encryptor } = keys.of(this.#engine);
    const input = this.#load(request);
    const backend = new SealBackend(this.#engine, switching);
    try {
      const result = run(backend, this.#program, input, onStage);
      const scores = this.#rerandomise(result.scores, encryptor);
      return result.map ? { scores, map: this.#rerandomise(result.map, encryptor) } : { scores };
    } finally {
      backend[Symbol.dispose]();
      seal.free(input);
    }
  }

  #load(raw: RawCiphertext): Ciphertext {
    const { seal, context } = this.#engine;
    const ciphertext = seal.own(new seal.module.Ciphertext());
    try {
      seal.guard('FORMAT', 'the request', () => ciphertext.loadFromArray(context, writeCiphertext(raw)));
      return ciphertext;
    } catch (error) {
      seal.free(ciphertext);
      throw error;
    }
  }

  #rerandomise(result: Ciphertext, encryptor: Encryptor): Polynomials {
    const { seal, context } = this.#engine;
    const { module } = seal;
    const { n } = this.#engine.parameters;
    const zero = seal.own(new module.Ciphertext());
    try {
      encryptor.encryptZero(zero);
      seal.using(new module.Evaluator(context), (evaluator) => {
        seal.using(result.parmsId(), (level) => evaluator.cipherModSwitchToInplace(zero, level));
        zero.setScale(result.scale());
        evaluator.addInplace(result, zero);
      });
      const { words } = readCiphertext(result.saveToArray(module.ComprModeType.none));
      const polynomial = (index: number) =>
        Uint32Array.from({ length: n }, (_, i) => words[2 * (index * n + i)]);
      return { c0: polynomial(0), c1: polynomial(1) };
    } finally {
      seal.free(zero);
    }
  }
}
