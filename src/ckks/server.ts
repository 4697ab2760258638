import { BlindbeatError } from '../errors.ts';
import type { OnStage } from './circuit/circuit.ts';
import { Calls } from './evaluator/calls.ts';
import {
  type Executor,
  foreignKeys,
  type KernelKind,
  type LoadedEvaluationKeys,
  type Polynomials,
} from './evaluator/executor.ts';
import { FastExecutor } from './evaluator/fast/executor.ts';
import { allCores, requireThreads } from './evaluator/fast/kernels/threads.ts';
import { type PackedCiphertext, packedCiphertext } from './evaluator/packed-ciphertext.ts';
import { SealExecutor } from './evaluator/seal/executor.ts';
import { KeyLoader, type LoadOptions } from './key-loader.ts';
import { plannedKeys } from './keyswitch/key-set.ts';
import type { CompiledModel } from './planner/compile.ts';
import type { Plan } from './planner/plan.ts';
import { packBits } from './ring/bit-packing.ts';
import { PeriodicEncoder } from './ring/periodic-encoder.ts';
import { bitLength } from './ring/primes.ts';
import { concat, readContainer, writeContainer } from './wire/container.ts';
import { bodySizes } from './wire/file-sizes.ts';
import type { ParsedManifest } from './wire/manifest.ts';
import { requestDigest } from './wire/reply.ts';

/**
 * A client's evaluation keys, loaded by one server and of use to it alone; public data. Dispose them when the
 * client is gone; disposing the server disposes them too.
 */
export interface EvaluationKeys extends Disposable {
  readonly keyId: string;
  /** Bytes of the backend's memory that they take. */
  readonly bytes: number;
}

/** A file in pieces of any length: a Node or web stream, a generator, an array. */
export type FilePieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * A client's evaluation keys file that arrives piece by piece; other calls of the server may come between.
 * Dispose it, which gives up what is not finished; an error does so too.
 */
export interface KeyUpload extends Disposable {
  /**
   * Takes the next bytes of the file, which may be changed afterwards, and loads the keys that are complete.
   *
   * @throws BlindbeatError as `Server.loadKeys`
   */
  write(piece: Uint8Array): void;
  /**
   * Says that the file is complete, and gives the keys.
   *
   * @throws BlindbeatError as `Server.loadKeys`
   */
  finish(): EvaluationKeys;
}

/** What a server may choose. */
export interface ServerOptions {
  /**
   * How many threads compute, for the fast backend; the results are the same. Default: one for every core.
   */
  threads?: number;
  /**
   * Whose kernels compute, for the fast backend; the results are the same. Default: those with the
   * widest vectors that this machine has, native ones only with Node on Linux.
   */
  kernels?: KernelKind;
  /**
   * The most bytes that loaded evaluation keys of all clients may take. Default, and no more in any case: what
   * WebAssembly's 4 GiB leave beside the plan's weights and ciphertexts.
   */
  keyMemory?: number;
}

/** WebAssembly addresses 4 GiB; what the estimate does not see, tables and fragments, needs some of it. */
const MEMORY = 0.9 * 2 ** 32;

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function requireMemory({ estimate, backend }: Plan) {
  const { ciphertexts, keys, weights } = estimate.memory;
  if (ciphertexts + keys + weights <= MEMORY) return;
  const other = backend === 'seal' ? ', or the fast backend, whose keys are smaller' : '';
  throw new BlindbeatError(
    'PLAN',
    `the ${backend} backend would need ${gigabytes(ciphertexts + keys + weights)}, ${gigabytes(keys)} of them for ` +
      `evaluation keys, and WebAssembly has ${gigabytes(MEMORY)}: use a smaller key budget (--key-budget)${other}`,
  );
}

/**
 * The most bytes that loaded keys may take.
 *
 * @throws BlindbeatError USAGE for fewer than one client's keys take
 */
function keyRoom({ estimate }: Plan, keyBytes: number, wanted = Number.POSITIVE_INFINITY): number {
  const { ciphertexts, weights } = estimate.memory;
  // Of a plan that was not refused, one client may be tried.
  if (wanted >= keyBytes) return Math.max(keyBytes, Math.min(wanted, MEMORY - ciphertexts - weights));
  throw new BlindbeatError(
    'USAGE',
    `one client's evaluation keys take ${keyBytes} bytes of memory, but keyMemory is ${wanted}: allow more`,
  );
}

/**
 * The server's side of one plan: has the weights, evaluates the network on ciphertexts, never holds a secret.
 * One call at a time: calls from the callbacks of another are refused, except that what is disposed there is
 * freed when the call ends. Keys that arrive in pieces take a call for each piece. A call that fails leaves the
 * server as it was, unless its error says otherwise.
 */
export class Server implements Disposable {
  readonly plan: Plan;
  /** The most bytes that loaded evaluation keys may take, and those that one client's take. */
  readonly keyMemory: number;
  readonly keyBytes: number;
  readonly #executor: Executor;
  readonly #encoder: PeriodicEncoder;
  /** What of its backend belongs to keys that it loaded and that nobody disposed. */
  readonly #held = new Map<EvaluationKeys, LoadedEvaluationKeys>();
  /** What is being loaded. */
  readonly #loaders = new Set<KeyLoader>();
  readonly #calls = new Calls('server', () => this.#free());

  private constructor(plan: Plan, executor: Executor, keyMemory?: number) {
    this.plan = plan;
    this.keyBytes = executor.keyBytes(plannedKeys(plan.manifest.parameters, plan.manifest.keys));
    this.keyMemory = keyRoom(plan, this.keyBytes, keyMemory);
    this.#executor = executor;
    const { n, primes } = plan.manifest.parameters;
    this.#encoder = new PeriodicEncoder(n, [primes[0]]);
  }

  /**
   * Encodes a compiled model's weights for the backend that it was compiled for: half a second of work, once.
   *
   * @throws BlindbeatError PLAN when its keys do not fit the backend's memory; ENVIRONMENT when the backend
   * or the kernels cannot be loaded; USAGE for a number of threads that there is not, or memory in which no keys
   * fit
   */
  static async open({ circuit, plan }: CompiledModel, options: ServerOptions = {}): Promise<Server> {
    const { threads = allCores(), kernels, keyMemory } = options;
    requireThreads(threads);
    requireMemory(plan);
    using owned = new DisposableStack();
    const executor: Executor =
      plan.backend === 'seal'
        ? await SealExecutor.open(circuit)
        : await FastExecutor.open(circuit, plan.rotated, threads, kernels);
    owned.use(executor);
    const server = new Server(plan, executor, keyMemory);
    owned.move();
    return server;
  }

  /** What clients get. */
  get manifest(): ParsedManifest {
    return this.plan.manifest;
  }

  /** How many threads compute. */
  get threads(): number {
    return this.#executor.threads;
  }

  /** Whose kernels compute. */
  get kernels(): KernelKind | 'seal' {
    return this.#executor.kernels;
  }

  /** SEAL objects alive on behalf of this server. */
  get liveHandles(): number {
    return this.#executor.liveHandles;
  }

  /** Bytes of the backend's own memory in use; 0 where SEAL computes, which does not tell. */
  get memoryInUse(): number {
    return this.#executor.memoryInUse;
  }

  /** Ends the server and frees all keys that it loaded. */
  [Symbol.dispose](): void {
    this.#calls.end();
  }

  /** Whether the keys of one more client fit beside those that are loaded or being loaded. */
  get hasKeyRoom(): boolean {
    return (this.#held.size + this.#loaders.size + 1) * this.keyBytes <= this.keyMemory;
  }

  /**
   * Loads a client's evaluation keys file: at once, or while it arrives, between whose pieces the server may do
   * other work. In pieces it never is in memory as a whole, its header is refused before the body is waited for,
   * and what the source throws is thrown; let one throw that stalls.
   *
   * @throws BlindbeatError FORMAT or MISMATCH for a file that is not to this plan or of another key pair than
   * asked for; ENVIRONMENT when there is no room for them; USAGE on a disposed server or during another call
   */
  loadKeys(file: Uint8Array, options?: LoadOptions): EvaluationKeys;
  loadKeys(file: FilePieces, options?: LoadOptions): Promise<EvaluationKeys>;
  loadKeys(file: Uint8Array | FilePieces, options: LoadOptions = {}) {
    if (!(file instanceof Uint8Array)) return this.#loadPieces(file, options);
    return this.#calls.run(() => {
      using loader = this.#createLoader(options);
      return this.#hold(loader.loadWhole(file));
    });
  }

  async #loadPieces(pieces: FilePieces, options: LoadOptions): Promise<EvaluationKeys> {
    using upload = this.receiveKeys(options);
    for await (const piece of pieces) upload.write(piece);
    return upload.finish();
  }

  /**
   * `loadKeys` for a file that somebody else brings, piece by piece. The room of one client's keys counts as taken
   * until it is finished or disposed: give up what stalls.
   *
   * @throws BlindbeatError ENVIRONMENT when there is no room for more keys; USAGE on a disposed server or during
   * another call
   */
  receiveKeys(options: LoadOptions = {}): KeyUpload {
    const loader = this.#calls.run(() => this.#createLoader(options));
    this.#loaders.add(loader);
    const end = () => {
      this.#loaders.delete(loader);
      this.#calls.afterwards(() => loader[Symbol.dispose]());
    };
    const step = <T>(work: () => T): T => {
      try {
        return this.#calls.run(work);
      } catch (error) {
        end();
        throw error;
      }
    };
    return Object.freeze({
      write: (piece: Uint8Array) => step(() => loader.write(piece)),
      finish: () =>
        step(() => {
          const keys = this.#hold(loader.finish());
          this.#loaders.delete(loader);
          return keys;
        }),
      [Symbol.dispose]: end,
    });
  }

  #createLoader(options: LoadOptions): KeyLoader {
    if (!this.hasKeyRoom) {
      const taken = (this.#held.size + this.#loaders.size) * this.keyBytes;
      throw new BlindbeatError(
        'ENVIRONMENT',
        `there is no room for the evaluation keys of one more client: ${gigabytes(taken)} of ` +
          `${gigabytes(this.keyMemory)} are taken; dispose keys that are not needed, or try again later`,
      );
    }
    return new KeyLoader(this.manifest, (planned) => this.#executor.createKeys(planned), options);
  }

  #hold({ keyId, loaded }: { keyId: string; loaded: LoadedEvaluationKeys }): EvaluationKeys {
    const held: EvaluationKeys = Object.freeze({
      keyId,
      bytes: loaded.bytes,
      [Symbol.dispose]: () => this.#release(held),
    });
    this.#held.set(held, loaded);
    return held;
  }

  /**
   * Evaluates the whole network on one request.
   *
   * @returns the reply: the encrypted scores, re-randomised, and nothing else that was not planned
   * @throws BlindbeatError FORMAT or MISMATCH for a request that is not to this plan and these keys, MISMATCH
   * for keys that another server loaded or that are disposed; USAGE on a disposed server or during another
   * call
   */
  evaluate(request: Uint8Array, keys: EvaluationKeys, onStage?: OnStage): Uint8Array {
    return this.#calls.run(() => this.#evaluate(request, keys, onStage));
  }

  #evaluate(request: Uint8Array, keys: EvaluationKeys, onStage?: OnStage): Uint8Array {
    const loaded = this.#held.get(keys);
    if (!loaded) throw foreignKeys();
    const input = this.#readRequest(request, keys.keyId);
    const { scores, map } = this.#executor.evaluate(input, loaded, onStage);
    return this.#writeReply(scores, map, keys.keyId, requestDigest(request));
  }

  #release(keys: EvaluationKeys): void {
    const loaded = this.#held.get(keys);
    this.#held.delete(keys);
    if (loaded) this.#calls.afterwards(() => loaded[Symbol.dispose]());
  }

  #free(): void {
    for (const loaded of this.#held.values()) loaded[Symbol.dispose]();
    this.#held.clear();
    for (const loader of this.#loaders) loader[Symbol.dispose]();
    this.#loaders.clear();
    this.#executor[Symbol.dispose]();
  }

  #readRequest(bytes: Uint8Array, keyId: string): PackedCiphertext {
    const { planHash } = this.manifest;
    const { body } = readContainer(bytes, 'request', {
      planHash,
      keyId,
      bodyBytes: bodySizes(this.manifest).request,
    });
    return packedCiphertext(body);
  }

  /**
   * Of the scores' first polynomial only the coefficients that carry them are sent: the noise in all others
   * stays here.
   */
  #writeReply(scores: Polynomials, map: Polynomials | undefined, keyId: string, request: string): Uint8Array {
    const { planHash, parameters, reply } = this.manifest;
    const { n, primes } = parameters;
    const pack = (polynomial: Uint32Array) => packBits(polynomial, 0, n, 1, bitLength(primes[0]));
    this.#encoder.transform(n, 0).inverse(scores.c0);
    const size = 2 * reply.group;
    const carried = new Uint8Array(4 * size);
    const view = new DataView(carried.buffer);
    for (let k = 0; k < size; k++) view.setUint32(4 * k, scores.c0[(k * n) / size], true);
    const body = [carried, pack(scores.c1), ...(map ? [pack(map.c0), pack(map.c1)] : [])];
    const header = { planHash, keyId, request, bodyBytes: bodySizes(this.manifest).reply };
    return concat(writeContainer('reply', header, body));
  }
}
