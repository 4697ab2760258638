import { BlindbeatError } from '../../errors.ts';

/** Workers that a request may end. */
const MOST_WORKERS = 2;
/** Requests that are remembered; more ended workers than this nobody sees in so short a time. */
const MOST_REMEMBERED = 10_000;

/** How often a request ended a worker, and until when that is remembered. */
interface Loss {
  workers: number;
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

  /** A worker ended while it had this request. */
  add(request: string): void {
    const workers = (this.#recent(request)?.workers ?? 0) + 1;
    this.#losses.delete(request);
    this.#losses.set(request, { workers, until: this.#now() + this.#keptMs });
    for (const [oldest, { until }] of this.#losses) {
      if (this.#losses.size <= MOST_REMEMBERED && until > this.#now()) break;
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
    if (!loss || loss.workers < MOST_WORKERS) return null;
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
