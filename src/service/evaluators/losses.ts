import { BlindbeatError } from '../../errors.ts';

/** Workers that may crash or hang with a request. */
const MOST_CRASHES = 2;
/**
 * Workers that may end with a request in any way. To be killed from outside says little about a request, all of which
 * take the same memory; but if memory is short, that must have an end too.
 */
const MOST_WORKERS = 5;
/** Requests that are remembered; more ended workers than this nobody sees in so short a time. */
const MOST_REMEMBERED = 10_000;

/** How often a request ended a worker, and until when that is remembered. */
interface Loss {
  workers: number;
  /** Of these, how many were not killed from outside. */
  crashes: number;
  until: number;
}

/** The requests, by their digest, during which workers ended lately. */
export class Losses {
  readonly #keptMs: number;
  readonly #now: () => number;
  /** The oldest first. */
  readonly #losses = new Map<string, Loss>();

  /**
   * @param keptMs milliseconds after its last one that a request's losses are remembered
   * @param now milliseconds of a clock
   */
  constructor(keptMs: number, now = () => performance.now()) {
    this.#keptMs = keptMs;
    this.#now = now;
  }

  /**
   * A worker ended while it had this request.
   *
   * @param killed whether from outside: by a person, or for want of memory
   */
  add(request: string, killed: boolean): void {
    const { workers = 0, crashes = 0 } = this.#recent(request) ?? {};
    const until = this.#now() + this.#keptMs;
    this.#losses.delete(request);
    this.#losses.set(request, { workers: workers + 1, crashes: crashes + (killed ? 0 : 1), until });
    for (const [oldest, entry] of this.#losses) {
      if (this.#losses.size <= MOST_REMEMBERED && entry.until > this.#now()) break;
      this.#losses.delete(oldest);
    }
  }

  /** The request was answered: it was not its fault. */
  clear(request: string): void {
    this.#losses.delete(request);
  }

  /** The refusal of a request that has ended as many workers as it may, or null. */
  refusal(request: string): BlindbeatError | null {
    const loss = this.#recent(request);
    if (!loss || (loss.crashes < MOST_CRASHES && loss.workers < MOST_WORKERS)) return null;
    const minutes = Math.ceil((loss.until - this.#now()) / 60_000);
    return new BlindbeatError(
      'POISON',
      `request ${request.slice(0, 12)} ended ${loss.workers} evaluators and is not tried again for ${minutes} min: ` +
        'encrypt the segment anew, and if that is refused too, tell whoever runs the server',
    );
  }

  #recent(request: string): Loss | undefined {
    const loss = this.#losses.get(request);
    return loss && loss.until > this.#now() ? loss : undefined;
  }
}
