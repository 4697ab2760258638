import { BlindbeatError } from '../../../errors.ts';
import type { FastCiphertext, FastEngine } from './engine.ts';

/** The ciphertexts that one evaluation makes in an engine's memory. Disposing frees those that are left. */
export class Workspace implements Disposable {
  readonly engine: FastEngine;
  readonly #made = new Set<FastCiphertext>();
  /** During `parallel`: what was given back, which is used until the computations are carried out. */
  #released: number[] | null = null;

  constructor(engine: FastEngine) {
    this.engine = engine;
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    for (const v of this.#made) this.engine.memory.free(v.address);
    this.#made.clear();
  }

  /** A new ciphertext, not cleared. */
  make(polynomials: number, limbs: number): FastCiphertext {
    const made = this.engine.allocate(polynomials, limbs);
    this.#made.add(made);
    return made;
  }

  /** Frees a ciphertext. */
  free(v: FastCiphertext): void {
    this.#made.delete(v);
    this.release(v.address);
  }

  /** Gives memory back as soon as nothing that was noted down uses it. */
  release(address: number): void {
    if (this.#released) this.#released.push(address);
    else this.engine.memory.free(address);
  }

  /** Independent computations side by side, see `Threads.parallel`. */
  parallel<R>(computations: (() => R)[]): R[] {
    const released: number[] = [];
    this.#released = released;
    try {
      return this.engine.threads.parallel(computations);
    } finally {
      this.#released = null;
      for (const address of released) this.engine.memory.free(address);
    }
  }

  /** @throws BlindbeatError INTERNAL during `parallel`: for what looks at its results before it is done */
  requireSequential(): void {
    if (this.#released) throw new BlindbeatError('INTERNAL', 'a rotation cannot be noted down with others');
  }
}
