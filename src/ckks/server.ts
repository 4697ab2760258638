import type { Model } from '../model/model.ts';
import { SealBackend, SealEngine, type SwitchingKeys } from './backends/seal.ts';
import { packBits, packedSize, unpackBits } from './bits.ts';
import { check } from './check.ts';
import { compile, type PlanOptions } from './circuit.ts';
import { concat, readContainer, writeContainer } from './container.ts';
import { bodySizes, type Manifest, switchingKeySize } from './manifest.ts';
import { bitLength } from './parameters.ts';
import type { PeriodicPlain } from './periodic.ts';
import { type Plan, planCircuit } from './plan.ts';
import { encodeProgram, type OnStage, type Program, run } from './run.ts';
import { type Ciphertext, type Encryptor, type Handle, loadSeal, type ServerModule } from './seal.ts';
import { galoisIndex, readCiphertext, SEED_SIZE, writeCiphertext, writeSwitchingKey } from './seal-bytes.ts';

/** A client's evaluation keys, loaded; public data. Dispose them when the client is gone. */
export interface EvaluationKeys extends SwitchingKeys, Disposable {
  keyId: string;
  /** Encrypts under the client's public key: for re-randomising replies. */
  encryptor: Encryptor;
}

/**
 * The server's side of one plan: has the weights, evaluates the network on ciphertexts, never holds a secret.
 */
export class Server {
  readonly plan: Plan;
  readonly #engine: SealEngine;
  readonly #program: Program<PeriodicPlain>;

  private constructor(plan: Plan, engine: SealEngine, program: Program<PeriodicPlain>) {
    this.plan = plan;
    this.#engine = engine;
    this.#program = program;
  }

  /**
   * Plans, checks and encodes a model: seconds of work, once.
   *
   * @throws BlindbeatError PLAN when the model does not fit
   */
  static async open(model: Model, options: PlanOptions = {}): Promise<Server> {
    const circuit = compile(model, options);
    const plan = planCircuit(model, circuit);
    check(plan);
    const engine = new SealEngine(await loadSeal<ServerModule>(), circuit.parameters);
    const backend = new SealBackend(engine, null);
    const program = encodeProgram(backend, circuit);
    backend[Symbol.dispose]();
    return new Server(plan, engine, program);
  }

  /** What clients get. */
  get manifest(): Manifest {
    return this.plan.manifest;
  }

  /** SEAL objects alive on behalf of this server. */
  get liveHandles(): number {
    return this.#engine.seal.live;
  }

  [Symbol.dispose](): void {
    this.#engine[Symbol.dispose]();
  }

  /**
   * Loads a client's evaluation keys file.
   *
   * @throws BlindbeatError FORMAT or MISMATCH
   */
  loadKeys(bytes: Uint8Array, onKey?: (done: number, total: number) => void): EvaluationKeys {
    const { keys, planHash, parameters } = this.manifest;
    const { header, body } = readContainer(bytes, 'evaluation keys', {
      planHash,
      bodyBytes: bodySizes(this.manifest).evaluationKeys,
    });
    const { seal, context } = this.#engine;
    const { module } = seal;
    const total = keys.galois.length + 2;
    const owned: Handle[] = [];
    const own = <T extends Handle>(handle: T): T => {
      owned.push(seal.own(handle));
      return handle;
    };
    const dispose = () => seal.free(...owned.splice(0));
    try {
      let at = 0;
      let done = 0;
      const take = (limbs: number) => {
        const size = switchingKeySize(parameters, limbs);
        const piece = body.subarray(at, at + size);
        at += size;
        return this.#unpackDigits(piece, limbs, limbs);
      };
      const keyLevel = this.#engine.parmsIds.get(parameters.primes.length + 1)!;
      const relinearisation = own(new module.RelinKeys());
      const load = (target: { loadFromArray(c: typeof context, b: Uint8Array): void }, file: Uint8Array) => {
        seal.guard('FORMAT', 'the evaluation keys', () => target.loadFromArray(context, file));
        onKey?.(++done, total);
      };
      load(relinearisation, writeSwitchingKey(keyLevel, 1, 0, take(keys.relinearisation.limbs)));
      const galois: SwitchingKeys['galois'] = new Map();
      for (const { step, limbs } of keys.galois) {
        const key = own(new module.GaloisKeys());
        load(key, writeSwitchingKey(keyLevel, parameters.n, galoisIndex(step, parameters.n), take(limbs)));
        galois.set(step, key);
      }
      const publicKey = own(new module.PublicKey());
      load(publicKey, this.#unpackDigits(body.subarray(at), 1, 1)[0]);
      const encryptor = own(new module.Encryptor(context, publicKey));
      return { keyId: header.keyId, relinearisation, galois, encryptor, [Symbol.dispose]: dispose };
    } catch (error) {
      dispose();
      throw error;
    }
  }

  /**
   * Evaluates the whole network on one request.
   *
   * @returns the reply: the encrypted scores, re-randomised, and nothing else that was not planned
   * @throws BlindbeatError FORMAT or MISMATCH for a request that is not to this plan and these keys
   */
  evaluate(request: Uint8Array, keys: EvaluationKeys, onStage?: OnStage): Uint8Array {
    const { seal } = this.#engine;
    const input = this.#readRequest(request, keys.keyId);
    const backend = new SealBackend(this.#engine, keys);
    try {
      const outcome = run(backend, this.#program, input, onStage);
      const scores = this.#rerandomise(outcome.scores, keys);
      const map = outcome.map && this.#rerandomise(outcome.map, keys);
      return this.#writeReply(scores, map, keys.keyId);
    } finally {
      backend[Symbol.dispose]();
      seal.free(input);
    }
  }

  #readRequest(bytes: Uint8Array, keyId: string): Ciphertext {
    const { planHash, parameters, inputScale } = this.manifest;
    const { n, primes } = parameters;
    const { body } = readContainer(bytes, 'request', {
      planHash,
      keyId,
      bodyBytes: bodySizes(this.manifest).request,
    });
    const words = new Uint32Array(2 * primes.length * n);
    let at = 0;
    primes.forEach((q, i) => {
      const size = packedSize(n, bitLength(q));
      unpackBits(body.subarray(at, at + size), n, bitLength(q), q, words, 2 * i * n, 2);
      at += size;
    });
    const parmsId = this.#engine.parmsIds.get(primes.length)!;
    const raw = {
      parmsId,
      polynomials: 2,
      n,
      limbs: primes.length,
      scale: inputScale,
      ntt: true,
      words,
      seed: body.slice(at, at + SEED_SIZE),
    };
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

  /** Digits as SEAL loads them: the limbs that were not sent are never used at this key's levels and stay zero. */
  #unpackDigits(bytes: Uint8Array, digits: number, limbs: number): Uint8Array[] {
    const { n, primes, special } = this.manifest.parameters;
    const parmsId = this.#engine.parmsIds.get(primes.length + 1)!;
    let at = 0;
    return Array.from({ length: digits }, () => {
      const words = new Uint32Array(2 * (primes.length + 1) * n);
      const unpack = (q: number, limb: number) => {
        const size = packedSize(n, bitLength(q));
        unpackBits(bytes.subarray(at, at + size), n, bitLength(q), q, words, 2 * limb * n, 2);
        at += size;
      };
      primes.slice(0, limbs).forEach(unpack);
      unpack(special, primes.length);
      const seed = bytes.slice(at, at + SEED_SIZE);
      at += SEED_SIZE;
      return writeCiphertext({
        parmsId,
        polynomials: 2,
        n,
        limbs: primes.length + 1,
        scale: 1,
        ntt: true,
        words,
        seed,
      });
    });
  }

  /** Adds a fresh encryption of zero, so that the reply's polynomials are those of no intermediate ciphertext. */
  #rerandomise(result: Ciphertext, keys: EvaluationKeys): Polynomials {
    const { seal, context } = this.#engine;
    const { module } = seal;
    const { n } = this.manifest.parameters;
    const zero = seal.own(new module.Ciphertext());
    try {
      keys.encryptor.encryptZero(zero);
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

  /** Of the scores' first polynomial only the coefficients that carry them are sent: the noise in all others stays here. */
  #writeReply(scores: Polynomials, map: Polynomials | undefined, keyId: string): Uint8Array {
    const { planHash, parameters, reply } = this.manifest;
    const { n, primes } = parameters;
    const pack = (polynomial: Uint32Array) => packBits(polynomial, 0, n, 1, bitLength(primes[0]));
    this.#engine.encoder.transform(n, 0).inverse(scores.c0);
    const size = 2 * reply.group;
    const carried = new Uint8Array(4 * size);
    const view = new DataView(carried.buffer);
    for (let k = 0; k < size; k++) view.setUint32(4 * k, scores.c0[(k * n) / size], true);
    const body = [carried, pack(scores.c1), ...(map ? [pack(map.c0), pack(map.c1)] : [])];
    const header = { planHash, keyId, bodyBytes: bodySizes(this.manifest).reply };
    return concat(writeContainer('reply', header, body));
  }
}

/** A ciphertext of one limb, in NTT form. */
interface Polynomials {
  c0: Uint32Array;
  c1: Uint32Array;
}
