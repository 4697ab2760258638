import { BlindbeatError } from '../../errors.ts';

/**
 * Keeps calls that share memory apart, and from memory that is gone: one at a time, none after the end. What
 * is to be freed during a call, by one of its callbacks, is freed when it is over.
 */
export class Calls {
  readonly #what: string;
  readonly #free: () => void;
  readonly #waiting: (() => void)[] = [];
  #running = false;
  #ended = false;

  /**
   * @param what names in errors what the calls are of
   * @param free called once, at the end
   */
  constructor(what: string, free: () => void) {
    this.#what = what;
    this.#free = free;
  }

  /** @throws BlindbeatError USAGE after the end and during another call; what `call` throws */
  run<T>(call: () => T): T {
    if (this.#ended)
      throw new BlindbeatError(
        'USAGE',
        `the ${this.#what} was disposed: open another one, load the keys again`,
      );
    if (this.#running) {
      throw new BlindbeatError(
        'USAGE',
        `the ${this.#what} is in the middle of another call, whose callback this is: wait until that is over`,
      );
    }
    this.#running = true;
    try {
      return call();
    } finally {
      this.#running = false;
      for (const free of this.#waiting.splice(0)) free();
    }
  }

  /** Runs `free`, at once or when the call that is running is over. */
  afterwards(free: () => void): void {
    if (this.#running) this.#waiting.push(free);
    else free();
  }

  /** Takes no more calls; further ends change nothing. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.afterwards(this.#free);
  }
}
