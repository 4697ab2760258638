import { BlindbeatError } from '../../../errors.ts';
import type { Circuit, OnStage } from '../../circuit/circuit.ts';
import { moduli } from '../../keyswitch/gadget.ts';
import type { PlannedKey } from '../../keyswitch/key-set.ts';
import { unpackLimbs } from '../../ring/bit-packing.ts';
import { allPrimes } from '../../ring/parameters.ts';
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
import type { PackedCiphertext } from '../packed-ciphertext.ts';
import { encodeProgram, type Program, run } from '../program.ts';
import { SealBackend, SealEngine, type SealSwitchingKeys } from './backend.ts';

/** Keys as SEAL holds them. */
class SealEvaluationKeys implements LoadedEvaluationKeys {
  readonly bytes: number;
  #relinearisation: RelinKeys | null = null;
  readonly #galois = new Map<number, GaloisKeys>();
  /** Encrypts under the client's public key: for re-randomising replies. */
  #encryptor: Encryptor | null = null;
  #disposed = false;
  readonly #engine: SealEngine;
  readonly #owned: Handle[] = [];

  constructor(engine: SealEngine, bytes: number) {
    this.#engine = engine;
    this.bytes = bytes;
  }

  setSwitchingKey({ step, gadget }: PlannedKey, digits: PackedCiphertext[]): void {
    const { n } = this.#engine.parameters;
    const raws = digits.map((digit) => this.#unpack(digit, moduli(gadget)));
    if (step === null) {
      const relinearisation = this.#own(new this.#engine.seal.module.RelinKeys());
      this.#load(relinearisation, writeSwitchingKey(this.#keyLevel, 1, 0, raws));
      this.#relinearisation = relinearisation;
      return;
    }
    const key = this.#own(new this.#engine.seal.module.GaloisKeys());
    this.#load(key, writeSwitchingKey(this.#keyLevel, n, galoisIndex(step, n), raws));
    this.#galois.set(step, key);
  }

  setPublicKey(packed: PackedCiphertext): void {
    const { module } = this.#engine.seal;
    const publicKey = this.#own(new module.PublicKey());
    const { primes } = this.#engine.parameters;
    this.#load(publicKey, this.#unpack(packed, [0, primes.length]));
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

  /** A ciphertext of a key, modulo all primes, as SEAL loads it. */
  #unpack(packed: PackedCiphertext, sent: number[]): Uint8Array<ArrayBuffer> {
    const limbs = this.#engine.parameters.primes.length + 1;
    return writeCiphertext(unpack(packed, sent, limbs, this.#engine));
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

/**
 * A ciphertext modulo the first `limbs` primes as SEAL loads it. Limbs that were not sent stay zero: those of
 * keys, which are never used at the key's levels.
 *
 * @param sent indices of the primes whose limbs were sent, in this order
 */
function unpack(
  { residues, seed }: PackedCiphertext,
  sent: number[],
  limbs: number,
  { parameters, parmsIds }: SealEngine,
): RawCiphertext {
  const { n } = parameters;
  const primes = allPrimes(parameters);
  const words = new Uint32Array(2 * limbs * n);
  let offset = 0;
  for (const i of sent)
    offset += unpackLimbs(residues.subarray(offset), n, [primes[i]], words.subarray(2 * i * n), 2);
  const parmsId = parmsIds.get(limbs)!;
  return { parmsId, polynomials: 2, n, limbs, scale: 1, ntt: true, words, seed };
}

/** The server's work by node-seal. */
export class SealExecutor implements Executor {
  /** node-seal computes on one. */
  readonly threads = 1;
  readonly kernels = 'seal';
  /** SEAL does not tell. */
  readonly memoryInUse = 0;
  readonly #engine: SealEngine;
  readonly #program: Program<PeriodicPlain>;
  readonly #inputScale: number;

  private constructor(engine: SealEngine, program: Program<PeriodicPlain>, inputScale: number) {
    this.#engine = engine;
    this.#program = program;
    this.#inputScale = inputScale;
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
    const executor = new SealExecutor(engine, encodeProgram(backend, circuit), circuit.inputScale);
    owned.move();
    return executor;
  }

  get liveHandles(): number {
    return this.#engine.seal.live;
  }

  [Symbol.dispose](): void {
    this.#engine[Symbol.dispose]();
  }

  /** Residues alone, 64 bits each and modulo all primes, whatever the plan uses of them. */
  keyBytes(planned: PlannedKey[]): number {
    const { n, primes } = this.#engine.parameters;
    const digits = planned.reduce((sum, { gadget }) => sum + gadget.digits.length, 0);
    // The public key is there twice: SEAL's encryptor has a copy.
    return (digits + 2) * 2 * (primes.length + 1) * 8 * n;
  }

  createKeys(planned: PlannedKey[]): LoadedEvaluationKeys {
    return new SealEvaluationKeys(this.#engine, this.keyBytes(planned));
  }

  evaluate(request: PackedCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult {
    if (!(keys instanceof SealEvaluationKeys)) throw foreignKeys();
    const { seal } = this.#engine;
    const { switching, encryptor } = keys.of(this.#engine);
    const { primes } = this.#engine.parameters;
    const raw = unpack(request, [...primes.keys()], primes.length, this.#engine);
    const input = this.#load({ ...raw, scale: this.#inputScale });
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
