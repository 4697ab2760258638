import { BlindbeatError } from '../../../errors.ts';
import type { Circuit, OnStage } from '../../circuit/circuit.ts';
import type { KeySwitching } from '../../keyswitch/gadget.ts';
import type { PlannedKey } from '../../keyswitch/key-set.ts';
import { specialIndex } from '../../ring/parameters.ts';
import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import { loadSeal, type ServerModule } from '../../seal/seal.ts';
import {
  type EncryptedResult,
  type Executor,
  foreignKeys,
  type KernelKind,
  type LoadedEvaluationKeys,
  type Polynomials,
  type RotationLevels,
} from '../executor.ts';
import type { PackedCiphertext } from '../packed-ciphertext.ts';
import { encodeProgram, type Program, run } from '../program.ts';
import { FastBackend } from './backend.ts';
import { type FastCiphertext, FastEngine } from './engine.ts';
import { freeKey, type LoadedKey, type LoadedSwitchingKeys, productStart } from './keys.ts';
import { loadPacked, loadPackedKey } from './packed.ts';
import { type ReplyEncryptor, ReplyRandomness } from './reply-randomness.ts';

/** Keys in the kernels' memory: only the digits and limbs that the plan uses. */
class FastEvaluationKeys implements LoadedEvaluationKeys {
  readonly #switching: LoadedSwitchingKeys = { relinearisation: [], galois: new Map() };
  readonly #engine: FastEngine;
  readonly #randomness: ReplyRandomness;
  readonly #keySwitching: KeySwitching;
  readonly #rotated: RotationLevels;
  readonly #loaded: LoadedKey[] = [];
  #reply: ReplyEncryptor | null = null;
  #disposed = false;

  constructor(
    engine: FastEngine,
    randomness: ReplyRandomness,
    keySwitching: KeySwitching,
    rotated: RotationLevels,
  ) {
    this.#engine = engine;
    this.#randomness = randomness;
    this.#keySwitching = keySwitching;
    this.#rotated = rotated;
  }

  setSwitchingKey({ step, gadget }: PlannedKey, digits: PackedCiphertext[]): void {
    const key = loadPackedKey(this.#engine, digits, { switching: this.#keySwitching, gadget }, step);
    this.#loaded.push(key);
    const { relinearisation, galois } = this.#switching;
    if (step === null) {
      relinearisation.push(key);
      return;
    }
    galois.set(step, [...(galois.get(step) ?? []), key]);
    if (key.switching === 'hybrid') return;
    for (const limbs of this.#rotated.get(step) ?? []) productStart(this.#engine, key, limbs);
  }

  setPublicKey(packed: PackedCiphertext): void {
    const { memory, parameters } = this.#engine;
    const publicKey = loadPacked(this.#engine, packed, [0, specialIndex(parameters)]);
    const residues = [0, 1].map((k) => [0, 1].map((limb) => this.#engine.read(publicKey, k, limb)));
    memory.free(publicKey.address);
    this.#reply?.[Symbol.dispose]();
    this.#reply = this.#randomness.encryptor(residues);
  }

  /**
   * The keys for evaluating in `engine`, into whose memory they point.
   *
   * @throws BlindbeatError MISMATCH for another engine, or when they are disposed
   */
  of(engine: FastEngine): { switching: LoadedSwitchingKeys; reply: ReplyEncryptor } {
    if (engine !== this.#engine || this.#disposed) throw foreignKeys();
    if (!this.#reply) throw new BlindbeatError('INTERNAL', 'the evaluation keys have no public key');
    return { switching: this.#switching, reply: this.#reply };
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#reply?.[Symbol.dispose]();
    this.#reply = null;
    for (const key of this.#loaded.splice(0)) freeKey(this.#engine, key);
  }
}

/** The server's work by our own kernels. */
export class FastExecutor implements Executor {
  readonly #engine: FastEngine;
  readonly #randomness: ReplyRandomness;
  readonly #program: Program<PeriodicPlain>;
  readonly #keySwitching: KeySwitching;
  readonly #rotated: RotationLevels;

  private constructor(
    engine: FastEngine,
    randomness: ReplyRandomness,
    program: Program<PeriodicPlain>,
    { keySwitching }: Circuit,
    rotated: RotationLevels,
  ) {
    this.#engine = engine;
    this.#randomness = randomness;
    this.#program = program;
    this.#keySwitching = keySwitching;
    this.#rotated = rotated;
  }

  /**
   * Encodes and packs a circuit's weights.
   *
   * @param rotated what the circuit rotates: for these limbs everything is made when keys are loaded
   * @param threads how many compute, this one included
   * @param kind of kernels; default: those with the widest vectors that this machine has
   * @throws BlindbeatError USAGE for what is no number of threads, ENVIRONMENT where WebAssembly has no SIMD
   * or not enough memory, threads cannot be started, or node-seal cannot be loaded
   */
  static async open(
    circuit: Circuit,
    rotated: RotationLevels,
    threads: number,
    kind?: KernelKind,
  ): Promise<FastExecutor> {
    using owned = new DisposableStack();
    const engine = owned.use(await FastEngine.open(circuit.parameters, threads, kind));
    using backend = new FastBackend(engine, null);
    const program = encodeProgram(backend, circuit);
    packProgram(engine, program);
    const randomness = new ReplyRandomness(await loadSeal<ServerModule>(), circuit.parameters);
    owned.move();
    return new FastExecutor(engine, randomness, program, circuit, rotated);
  }

  get threads(): number {
    return this.#engine.threads.count;
  }

  get kernels(): KernelKind {
    return this.#engine.threads.set.kind;
  }

  get memoryInUse(): number {
    return this.#engine.memory.used;
  }

  get liveHandles(): number {
    return this.#randomness.seal.live;
  }

  [Symbol.dispose](): void {
    this.#randomness[Symbol.dispose]();
    this.#engine[Symbol.dispose]();
  }

  createKeys(): LoadedEvaluationKeys {
    return new FastEvaluationKeys(this.#engine, this.#randomness, this.#keySwitching, this.#rotated);
  }

  evaluate(request: PackedCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult {
    if (!(keys instanceof FastEvaluationKeys)) throw foreignKeys();
    const { switching, reply } = keys.of(this.#engine);
    const { primes } = this.#engine.parameters;
    const input = loadPacked(this.#engine, request, [...primes.keys()]);
    const backend = new FastBackend(this.#engine, switching);
    try {
      const result = run(backend, this.#program, input, onStage);
      const scores = this.#rerandomise(result.scores, reply);
      return result.map ? { scores, map: this.#rerandomise(result.map, reply) } : { scores };
    } finally {
      backend[Symbol.dispose]();
      this.#engine.memory.free(input.address);
    }
  }

  /** The sum with a fresh encryption of zero, at the one limb that is left. */
  #rerandomise(result: FastCiphertext, reply: ReplyEncryptor): Polynomials {
    const { n, primes } = this.#engine.parameters;
    const [q] = primes;
    const { words } = reply.encryptZero();
    const polynomial = (index: number) =>
      this.#engine.read(result, index, 0).map((v, i) => (v + words[2 * (index * n + i)]) % q);
    return { c0: polynomial(0), c1: polynomial(1) };
  }
}

/** Packs all weights of a program, so that no evaluation has to. */
function packProgram({ weights }: FastEngine, program: Program<PeriodicPlain>): void {
  for (const encoded of program.stages) {
    if ('steps' in encoded)
      for (const { rows, step } of encoded.steps) if (rows.length > 0) weights.pack(rows, rows, step.limbs);
    if (!('rows' in encoded)) continue;
    const { rows, separation, stage } = encoded;
    weights.pack(rows, rows.flat(), stage.limbs);
    if (separation) weights.pack(separation, separation, stage.limbs);
  }
}
