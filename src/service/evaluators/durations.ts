import type { Durations } from './assignment.ts';

/** Weight of the latest one in the mean. */
const WEIGHT = 0.2;

/** How long jobs took lately, in milliseconds; 0 before the first. */
export class RecentDurations {
  readonly #byModel = new Map<string, Durations>();
  #jobMs = 0;

  add(model: string, { loadKeysMs, evaluateMs }: Durations): void {
    const last = this.of(model);
    this.#byModel.set(model, {
      loadKeysMs: loadKeysMs === 0 ? last.loadKeysMs : mean(last.loadKeysMs, loadKeysMs),
      evaluateMs: mean(last.evaluateMs, evaluateMs),
    });
    this.#jobMs = mean(this.#jobMs, loadKeysMs + evaluateMs);
  }

  /** To load a client's keys where they must be, and to evaluate a request. */
  of(model: string): Durations {
    return this.#byModel.get(model) ?? { loadKeysMs: 0, evaluateMs: 0 };
  }

  /** Of a job of any model, keys that had to be loaded included. */
  get jobMs(): number {
    return this.#jobMs;
  }
}

function mean(before: number, latest: number): number {
  return before === 0 ? latest : (1 - WEIGHT) * before + WEIGHT * latest;
}
