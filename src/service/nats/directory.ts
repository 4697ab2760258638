import type { Engine, EngineEvent } from './engine.ts';
import { ALL_ALIVE, type Alive, AliveSchema } from './protocol.ts';

/** How often workers say that they live, and after how long they are taken for gone, in milliseconds. */
export const ALIVE_MS = 1000;
const GONE_MS = 3500;
const MOST_KNOWN = 10_000;

/** The workers that live, from what they say. */
export class Directory {
  readonly #known = new Map<string, Alive & { heard: number }>();

  constructor(engine: Engine, onEvent: (event: EngineEvent) => void, onAlive: (alive: Alive) => void) {
    engine.listen(ALL_ALIVE, AliveSchema, onEvent, async (alive) => {
      this.#known.delete(alive.worker);
      if (this.#known.size < MOST_KNOWN)
        this.#known.set(alive.worker, { ...alive, heard: performance.now() });
      onAlive(alive);
      return null;
    });
  }

  get workers(): Alive[] {
    const since = performance.now() - GONE_MS;
    for (const [worker, { heard }] of this.#known) if (heard < since) this.#known.delete(worker);
    return [...this.#known.values()];
  }

  /** Those that have a model, by its plan hash, and processes that evaluate. */
  of(planHash: string): string[] {
    const able = this.workers.filter(({ models, workers }) => workers > 0 && models.includes(planHash));
    return able.map(({ worker }) => worker);
  }
}
