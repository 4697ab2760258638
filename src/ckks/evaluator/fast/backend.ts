import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import type { Backend, RotationTerm } from '../backend.ts';
import { add, addPlain, dropLevel, multiply, rescale, square } from './arithmetic.ts';
import type { FastCiphertext, FastEngine } from './engine.ts';
import type { LoadedSwitchingKeys } from './keys.ts';
import { relinearise } from './keyswitch.ts';
import { multiplyPlainSum } from './plain-products.ts';
import { rotateAndSum } from './rotate-and-sum.ts';
import { rotateAll } from './rotation.ts';
import { Workspace } from './workspace.ts';

/**
 * The network on real ciphertexts, by our own kernels: with per-prime keys bit for bit what node-seal's
 * Evaluator computes; with hybrid keys the same but for low-order noise. Scales are the plan's business.
 */
export class FastBackend implements Backend<FastCiphertext, PeriodicPlain>, Disposable {
  readonly #workspace: Workspace;
  readonly #keys: LoadedSwitchingKeys | null;

  /** With hybrid keys only: SEAL divides every rotation. */
  readonly rotateAndSum?: (
    terms: RotationTerm<FastCiphertext>[],
    plus: (FastCiphertext | null)[],
  ) => (FastCiphertext | null)[];

  /** @param keys null for encoding weights only */
  constructor(engine: FastEngine, keys: LoadedSwitchingKeys | null) {
    this.#workspace = new Workspace(engine);
    this.#keys = keys;
    if (keys && [...keys.galois.values()].some(([key]) => key.switching === 'hybrid'))
      this.rotateAndSum = (terms, plus) => rotateAndSum(this.#workspace, keys, terms, plus);
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    this.#workspace[Symbol.dispose]();
  }

  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): PeriodicPlain {
    const { encoder } = this.#workspace.engine;
    return { residues: encoder.encode(real, scale, limbs, imaginary), limbs, scale };
  }

  rotate(v: FastCiphertext, step: number): FastCiphertext {
    return this.rotateAll([v], [step])[0][0];
  }

  rotateAll(values: FastCiphertext[], steps: number[]): FastCiphertext[][] {
    return rotateAll(this.#workspace, this.#keys, values, steps);
  }

  add(a: FastCiphertext, b: FastCiphertext): FastCiphertext {
    return add(this.#workspace, a, b);
  }

  addPlain(v: FastCiphertext, p: PeriodicPlain): FastCiphertext {
    return addPlain(this.#workspace, v, p);
  }

  multiplyPlainSum(values: FastCiphertext[], rows: (PeriodicPlain | null)[][]): (FastCiphertext | null)[] {
    return multiplyPlainSum(this.#workspace, values, rows, rows);
  }

  multiplyPlainSums(
    values: FastCiphertext[],
    matrices: (PeriodicPlain | null)[][][],
  ): (FastCiphertext | null)[][] {
    const sums = multiplyPlainSum(this.#workspace, values, matrices.flat(), matrices).values();
    return matrices.map((rows) => rows.map(() => sums.next().value!));
  }

  square(v: FastCiphertext): FastCiphertext {
    return square(this.#workspace, v);
  }

  multiply(a: FastCiphertext, b: FastCiphertext, _times: number): FastCiphertext {
    return multiply(this.#workspace, a, b);
  }

  dropLevel(v: FastCiphertext, limbs: number, _times: number): FastCiphertext {
    return dropLevel(this.#workspace, v, limbs);
  }

  relinearise(v: FastCiphertext): FastCiphertext {
    return relinearise(this.#workspace, this.#keys, v);
  }

  rescale(v: FastCiphertext, _scale: number): FastCiphertext {
    return rescale(this.#workspace, v);
  }

  parallel<R>(computations: (() => R)[]): R[] {
    return this.#workspace.parallel(computations);
  }

  free(v: FastCiphertext): void {
    this.#workspace.free(v);
  }
}
