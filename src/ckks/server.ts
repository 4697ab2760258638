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
import { type PackedCiphertext, packedCiphertext, packedDigits } from './evaluator/packed-ciphertext.ts';
import { SealExecutor } from './evaluator/seal/executor.ts';
import { keyCount, plannedKeys } from './keyswitch/key-set.ts';
import { switchingKeySize } from './keyswitch/key-size.ts';
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
}

/** WebAssembly addresses 4 GiB; what the estimate does not see, tables and fragments, needs some of it. */
const MEMORY = 0.9 * 2 ** 32;

function requireMemory({ estimate, backend }: Plan) {
  const { ciphertexts, keys, weights } = estimate.memory;
  if (ciphertexts + keys + weights <= MEMORY) return;
  const gigabytes = (b: number) => `${(b / 1e9).toFixed(1)} GB`;
  const other = backend === 'seal' ? ', or the fast backend, whose keys are smaller' : '';
  throw new BlindbeatError(
    'PLAN',
    `the ${backend} backend would need ${gigabytes(ciphertexts + keys + weights)}, ${gigabytes(keys)} of them for ` +
      `evaluation keys, and WebAssembly has ${gigabytes(MEMORY)}: use a smaller key budget (--key-budget)${other}`,
  );
}

/**
 * The server's side of one plan: has the weights, evaluates the network on ciphertexts, never holds a secret.
 * One call at a time: calls from the callbacks of another are refused, except that what is disposed there is
 * freed when the call ends. A call that fails leaves the server as it was, unless its error says otherwise.
 */
export class Server implements Disposable {
  readonly plan: Plan;
  readonly #executor: Executor;
  readonly #encoder: PeriodicEncoder;
  /** What of its backend belongs to keys that it loaded and that nobody disposed. */
  readonly #held = new Map<EvaluationKeys, LoadedEvaluationKeys>();
  readonly #calls = new Calls('server', () => this.#free());

  private constructor(plan: Plan, executor: Executor) {
    this.plan = plan;
    this.#executor = executor;
    const { n, primes } = plan.manifest.parameters;
    this.#encoder = new PeriodicEncoder(n, [primes[0]]);
  }

  /**
   * Encodes a compiled model's weights for the backend that it was compiled for: half a second of work, once.
   *
   * @throws BlindbeatError PLAN when its keys do not fit the backend's memory; ENVIRONMENT when the backend
   * or the kernels cannot be loaded; USAGE for a number of threads that there is not
   */
  static async open({ circuit, plan }: CompiledModel, options: ServerOptions = {}): Promise<Server> {
    const { threads = allCores(), kernels } = options;
    requireThreads(threads);
    requireMemory(plan);
    const executor =
      plan.backend === 'seal'
        ? SealExecutor.open(circuit)
        : FastExecutor.open(circuit, plan.rotated, threads, kernels);
    return new Server(plan, await executor);
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

  /**
   * Loads a client's evaluation keys file.
   *
   * @throws BlindbeatError FORMAT or MISMATCH for a file that is not to this plan; ENVIRONMENT when there is
   * no room for them; USAGE on a disposed server or during another call
   */
  loadKeys(bytes: Uint8Array, onKey?: (done: number, total: number) => void): EvaluationKeys {
    return this.#calls.run(() => this.#loadKeys(bytes, onKey));
  }

  #loadKeys(bytes: Uint8Array, onKey?: (done: number, total: number) => void): EvaluationKeys {
    const { keys, planHash, parameters } = this.manifest;
    const { header, body } = readContainer(bytes, 'evaluation keys', {
      planHash,
      bodyBytes: bodySizes(this.manifest).evaluationKeys,
    });
    const total = keyCount(keys);
    const loaded = this.#executor.createKeys();
    try {
      let offset = 0;
      let done = 0;
      for (const planned of plannedKeys(parameters, keys)) {
        const size = switchingKeySize(parameters, planned.gadget);
        loaded.setSwitchingKey(planned, packedDigits(body.subarray(offset, offset + size), planned.gadget));
        offset += size;
        onKey?.(++done, total);
      }
      loaded.setPublicKey(packedCiphertext(body.subarray(offset)));
      onKey?.(++done, total);
      const held: EvaluationKeys = Object.freeze({
        keyId: header.keyId,
        [Symbol.dispose]: () => this.#release(held),
      });
      this.#held.set(held, loaded);
      return held;
    } catch (error) {
      loaded[Symbol.dispose]();
      throw error;
    }
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
