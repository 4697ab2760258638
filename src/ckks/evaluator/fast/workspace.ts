import { BlindbeatError } from '../../../errors.ts';
import type { FastCiphertext, FastEngine } from './engine.ts';

/**
 * What one evaluation makes in an engine's memory: ciphertexts, and whatever it needs in between. Disposing
 * frees what is left of it and forgets what was noted down and not carried out: after an error the engine is
 * as it was before.
 */
export class Workspace implements Disposable {
  readonly engine: FastEngine;
  readonly #made = new Set<number>();
  /** During `parallel`: what was given back, which is used until the computations are carried out. */
  #released: number[] | null = null;

  constructor(engine: FastEngine) {
    this.engine = engine;
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    this.engine.threads.discard();
    for (const address of this.#made) this.engine.memory.free(address);
    this.#made.clear();
  }

  /** A new ciphertext, not cleared. */
  make(polynomials: number, limbs: number): FastCiphertext {
    const made = this.engine.allocate(polynomials, limbs);
    this.#made.add(made.address);
    return made;
  }

  /** The address of `bytes` new bytes, to be given back with `release`. */
  room(bytes: number): number {
    const address = this.engine.memory.allocate(bytes);
    this.#made.add(address);
    return address;
  }

  /** Frees a ciphertext. */
  free(v: FastCiphertext): void {
    this.release(v.address);
  }

  /** Gives memory back as soon as nothing that was noted down uses it. */
  release(address: number): void {
    this.#made.delete(address);
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
