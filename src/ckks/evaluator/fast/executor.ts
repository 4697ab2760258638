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
import {
  freeKey,
  keyBytes,
  type LoadedKey,
  type LoadedSwitchingKeys,
  productStart,
  startBytes,
} from './keys.ts';
import { loadPacked, loadPackedKey, unpackCiphertext } from './packed.ts';
import type { KeyKind } from './prepared-gadget.ts';
import { type ReplyEncryptor, ReplyRandomness } from './reply-randomness.ts';

/**
 * Keys in the kernels' memory: only the digits and limbs that the plan uses, and the public key, in one range of
 * addresses, so that clients who come and go leave gaps that the next one fits into.
 */
class FastEvaluationKeys implements LoadedEvaluationKeys {
  readonly bytes: number;
  readonly #switching: LoadedSwitchingKeys = { relinearisation: [], galois: new Map() };
  readonly #engine: FastEngine;
  readonly #keySwitching: KeySwitching;
  readonly #rotated: RotationLevels;
  readonly #loaded: LoadedKey[] = [];
  readonly #address: number;
  /** Where in the range the next part goes. */
  #next: number;
  #publicKey: FastCiphertext | null = null;
  #disposed = false;

  constructor(engine: FastEngine, keySwitching: KeySwitching, rotated: RotationLevels, bytes: number) {
    this.#engine = engine;
    this.#keySwitching = keySwitching;
    this.#rotated = rotated;
    this.bytes = bytes;
    this.#address = engine.memory.allocate(bytes);
    this.#next = this.#address;
  }

  setSwitchingKey({ step, gadget }: PlannedKey, digits: PackedCiphertext[]): void {
    const kind = { switching: this.#keySwitching, gadget };
    const key = loadPackedKey(this.#engine, digits, kind, step, this.#room(keyBytes(this.#engine, kind)));
    this.#loaded.push(key);
    const { relinearisation, galois } = this.#switching;
    if (step === null) relinearisation.push(key);
    else galois.set(step, [...(galois.get(step) ?? []), key]);
    for (const limbs of startLimbs(kind, step, this.#rotated))
      productStart(this.#engine, key, limbs, this.#room(startBytes(this.#engine, limbs)));
  }

  setPublicKey(packed: PackedCiphertext): void {
    const address = this.#room(this.#engine.bytesOf(2, 2));
    const publicKey = { address, polynomials: 2, limbs: 2 };
    const { parameters, rings } = this.#engine;
    unpackCiphertext(this.#engine, packed, [0, specialIndex(parameters)], rings.length, publicKey);
    this.#publicKey = publicKey;
  }

  /**
   * The keys for evaluating in `engine`, into whose memory they point, and the public key,
   * `[2 polynomials][2 limbs][n]`.
   *
   * @throws BlindbeatError MISMATCH for another engine, or when they are disposed
   */
  of(engine: FastEngine): { switching: LoadedSwitchingKeys; publicKey: Uint32Array[][] } {
    if (engine !== this.#engine || this.#disposed) throw foreignKeys();
    const key = this.#publicKey;
    if (!key) throw new BlindbeatError('INTERNAL', 'the evaluation keys have no public key');
    const publicKey = [0, 1].map((k) => [0, 1].map((limb) => engine.read(key, k, limb)));
    return { switching: this.#switching, publicKey };
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const key of this.#loaded.splice(0)) freeKey(this.#engine, key);
    this.#engine.memory.free(this.#address);
  }

  #room(bytes: number): number {
    const address = this.#next;
    this.#next += bytes;
    if (this.#next <= this.#address + this.bytes) return address;
    throw new BlindbeatError('INTERNAL', 'more evaluation keys are loaded than there is room for');
  }
}

/** The limbs for which a key's sums have another start, see `productStart`. */
function startLimbs({ switching }: KeyKind, step: number | null, rotated: RotationLevels): Iterable<number> {
  return step === null || switching === 'hybrid' ? [] : (rotated.get(step) ?? []);
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
    for (const step of rotated.keys()) engine.automorphisms.rotation(step); // no client's keys wait for tables
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

  keyBytes(planned: PlannedKey[]): number {
    const engine = this.#engine;
    const sum = (sizes: number[]) => sizes.reduce((total, size) => total + size, 0);
    return planned.reduce(
      (total, { step, gadget }) => {
        const kind = { switching: this.#keySwitching, gadget };
        const starts = [...startLimbs(kind, step, this.#rotated)].map((limbs) => startBytes(engine, limbs));
        return total + keyBytes(engine, kind) + sum(starts);
      },
      engine.bytesOf(2, 2),
    );
  }

  createKeys(planned: PlannedKey[]): LoadedEvaluationKeys {
    return new FastEvaluationKeys(this.#engine, this.#keySwitching, this.#rotated, this.keyBytes(planned));
  }

  evaluate(request: PackedCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult {
    if (!(keys instanceof FastEvaluationKeys)) throw foreignKeys();
    const { switching, publicKey } = keys.of(this.#engine);
    const { primes } = this.#engine.parameters;
    const input = loadPacked(this.#engine, request, [...primes.keys()]);
    const backend = new FastBackend(this.#engine, switching);
    try {
      const result = run(backend, this.#program, input, onStage);
      using reply = this.#randomness.encryptor(publicKey);
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
