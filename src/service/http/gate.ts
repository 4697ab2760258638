import { BlindbeatError } from '../../errors.ts';

/** How many bodies are taken at the same time: of one caller, and of all. */
export interface GateLimits {
  perCaller: number;
  all: number;
}

/** Bounds the memory and the connections that bodies take: each that is inside has entered, and leaves. */
export class Gate {
  readonly #limits: GateLimits;
  readonly #inside = new Map<string, number>();
  #all = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /**
   * Lets a caller in until the result is disposed.
   *
   * @throws BlindbeatError RATE_LIMITED when that caller, BUSY when all together have too many inside
   */
  enter(caller: string): Disposable {
    const own = this.#inside.get(caller) ?? 0;
    const { perCaller, all } = this.#limits;
    if (own >= perCaller) {
      throw new BlindbeatError(
        'RATE_LIMITED',
        `${perCaller} requests of this token are under way at the same time, which is as many as it may have`,
      );
    }
    if (this.#all >= all)
      throw new BlindbeatError('BUSY', `${all} requests are under way at the same time: try again later`);
    this.#inside.set(caller, own + 1);
    this.#all++;
    return { [Symbol.dispose]: () => this.#leave(caller) };
  }

  #leave(caller: string): void {
    const left = this.#inside.get(caller)! - 1;
    if (left === 0) this.#inside.delete(caller);
    else this.#inside.set(caller, left);
    this.#all--;
  }
}
