import { CONJUGATION } from '../../ring/galois.ts';
import { allPrimes, type Parameters } from '../../ring/parameters.ts';
import { PeriodicEncoder, type PeriodicPlain } from '../../ring/periodic-encoder.ts';
import { plaintextBuffer } from '../../seal/bytes.ts';
import type {
  Ciphertext,
  GaloisKeys,
  Plaintext,
  RelinKeys,
  SEALContext,
  Seal,
  ServerModule,
} from '../../seal/seal.ts';
import type { Backend } from '../backend.ts';

/** The keys that a server evaluates with, as SEAL holds them: public data. */
export interface SealSwitchingKeys {
  relinearisation: RelinKeys;
  /** By rotation step. */
  galois: Map<number, GaloisKeys>;
}

/** What of SEAL evaluating one plan needs, keys aside; made once per plan, disposed with it. */
export class SealEngine implements Disposable {
  readonly seal: Seal<ServerModule>;
  readonly parameters: Parameters;
  readonly context: SEALContext;
  readonly parmsIds: Map<number, Uint8Array>;
  readonly encoder: PeriodicEncoder;

  constructor(seal: Seal<ServerModule>, parameters: Parameters) {
    this.seal = seal;
    this.parameters = parameters;
    this.context = seal.context(parameters.n, allPrimes(parameters), true);
    this.parmsIds = seal.parmsIds(this.context);
    this.encoder = new PeriodicEncoder(parameters.n, parameters.primes);
  }

  [Symbol.dispose](): void {
    this.seal.free(this.context);
  }
}

/** The network on real ciphertexts, by node-seal. */
export class SealBackend implements Backend<Ciphertext, PeriodicPlain>, Disposable {
  readonly #engine: SealEngine;
  readonly #seal: Seal<ServerModule>;
  readonly #keys: SealSwitchingKeys | null;
  readonly #evaluator;
  readonly #plain: Plaintext;
  readonly #product: Ciphertext;
  readonly #made = new Set<Ciphertext>();
  readonly #buffers = new Map<number, ReturnType<typeof plaintextBuffer>>();

  /** @param keys null for encoding weights only */
  constructor(engine: SealEngine, keys: SealSwitchingKeys | null) {
    this.#engine = engine;
    this.#seal = engine.seal;
    this.#keys = keys;
    this.#evaluator = this.#seal.own(new this.#seal.module.Evaluator(engine.context));
    this.#plain = this.#seal.own(new this.#seal.module.Plaintext());
    this.#product = this.#seal.own(new this.#seal.module.Ciphertext());
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    this.#seal.free(this.#evaluator, this.#plain, this.#product, ...this.#made);
    this.#made.clear();
  }

  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): PeriodicPlain {
    return { residues: this.#engine.encoder.encode(real, scale, limbs, imaginary), limbs, scale };
  }

  rotate(v: Ciphertext, step: number): Ciphertext {
    const key = this.#keys!.galois.get(step)!;
    return this.#make(`rotate by ${step}`, (out) => {
      if (step === CONJUGATION) this.#evaluator.complexConjugate(v, key, out);
      else this.#evaluator.rotateVector(v, step, key, out);
    });
  }

  /** node-seal has nothing to hoist with: one key switch each. */
  rotateAll(values: Ciphertext[], steps: number[]): Ciphertext[][] {
    return steps.map((step) => values.map((v) => this.rotate(v, step)));
  }

  add(a: Ciphertext, b: Ciphertext): Ciphertext {
    b.setScale(a.scale()); // equal up to floating-point rounding: the trace checked it
    return this.#make('add', (out) => this.#evaluator.add(a, b, out));
  }

  addPlain(v: Ciphertext, p: PeriodicPlain): Ciphertext {
    return this.#make('addPlain', (out) => this.#evaluator.addPlain(v, this.#load(p), out));
  }

  multiplyPlainSum(values: Ciphertext[], rows: (PeriodicPlain | null)[][]): (Ciphertext | null)[] {
    const sums = rows.map(() => null as Ciphertext | null);
    rows.forEach((row, o) => {
      row.forEach((p, k) => {
        if (!p) return;
        const plain = this.#load(p);
        if (sums[o] === null) {
          sums[o] = this.#make('multiplyPlain', (out) =>
            this.#evaluator.multiplyPlain(values[k], plain, out),
          );
          return;
        }
        this.#seal.guard('INTERNAL', 'multiplyPlain', () => {
          this.#evaluator.multiplyPlain(values[k], plain, this.#product);
          this.#product.setScale(sums[o]!.scale());
          this.#evaluator.addInplace(sums[o]!, this.#product);
        });
      });
    });
    return sums;
  }

  square(v: Ciphertext): Ciphertext {
    return this.#make('square', (out) => this.#evaluator.square(v, out));
  }

  multiply(a: Ciphertext, b: Ciphertext, times: number): Ciphertext {
    return this.#make('multiply', (out) => {
      if (a === b) this.#evaluator.square(a, out);
      else this.#evaluator.multiply(a, b, out);
      out.setScale(out.scale() / times);
    });
  }

  dropLevel(v: Ciphertext, limbs: number, times: number): Ciphertext {
    return this.#make('dropLevel', (out) => {
      out.assign(v);
      while (out.coeffModulusSize() > limbs) this.#evaluator.cipherModSwitchToNextInplace(out);
      out.setScale(out.scale() / times);
    });
  }

  relinearise(v: Ciphertext): Ciphertext {
    return this.#make('relinearise', (out) =>
      this.#evaluator.relinearize(v, this.#keys!.relinearisation, out),
    );
  }

  rescale(v: Ciphertext, scale: number): Ciphertext {
    return this.#make('rescale', (out) => {
      this.#evaluator.rescaleToNext(v, out);
      out.setScale(scale); // equal up to floating-point rounding: the trace checked it
    });
  }

  free(v: Ciphertext): void {
    this.#made.delete(v);
    this.#seal.free(v);
  }

  /** The plaintext, spread to full size in a buffer that is used again for the next. */
  #load({ residues, limbs, scale }: PeriodicPlain): Plaintext {
    const { n } = this.#engine.parameters;
    let buffer = this.#buffers.get(limbs);
    if (!buffer) {
      buffer = plaintextBuffer(this.#engine.parmsIds.get(limbs)!, n, limbs);
      this.#buffers.set(limbs, buffer);
    }
    buffer.setScale(scale);
    const run = (n * limbs) / residues.length;
    for (let b = 0, start = 0; b < residues.length; b++, start += run)
      buffer.residues.fill(BigInt(residues[b]), start, start + run);
    this.#plain.loadFromArray(this.#engine.context, buffer.bytes);
    return this.#plain;
  }

  #make(what: string, operation: (out: Ciphertext) => void): Ciphertext {
    const out = this.#seal.own(new this.#seal.module.Ciphertext());
    this.#made.add(out);
    this.#seal.guard('INTERNAL', what, () => operation(out));
    return out;
  }
}
