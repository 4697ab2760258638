import type { ServiceProcess } from './process.ts';

/** Kills the evaluator that was opened last, every so many seconds. */
export class Killer {
  readonly every: number;
  times = 0;
  readonly #timer: NodeJS.Timeout;

  constructor({ evaluators }: ServiceProcess, every: number) {
    this.every = every;
    let killed = 0;
    this.#timer = setInterval(() => {
      const last = evaluators.at(-1)!;
      if (last === killed) return; // the next one is not open yet
      killed = last;
      process.kill(last, 'SIGKILL');
      this.times++;
    }, 1000 * every);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
