import { whole } from '../shared/run.ts';

/** Evaluates a request; one at a time. */
export type Worker = () => Promise<void>;

/** When clients stop to send: after so many seconds, or replies of all clients together. */
export type Stop = { seconds: number } | { requests: number };

/** What the options `--seconds` and `--requests` say; requests go before. */
export function stopFrom({ seconds, requests }: { seconds: string; requests?: string }): Stop {
  return requests === undefined
    ? { seconds: whole('seconds', seconds) }
    : { requests: whole('requests', requests) };
}

/** What clients got. */
export interface Load {
  /** Replies per second. */
  rate: number;
  /** Milliseconds from sending a request until its reply, of every one. */
  latencies: number[];
}

/**
 * Workers under the load of `clients`, each of which sends a request when the reply to its last one came: so
 * many requests are worked on or wait at every time. They wait in one queue; a request that was sent is
 * answered.
 *
 * The rate is the sum of the workers' rates, each over the time until its own last reply. A worker that is
 * needed at all has always work until then: so the rate depends neither on the queue's beginning nor on where
 * in a request the time was up.
 */
export async function closedLoop(workers: readonly Worker[], clients: number, stop: Stop): Promise<Load> {
  const start = performance.now();
  const queue = new Queue(workers);
  const latencies: number[] = [];
  let unsent = 'requests' in stop ? stop.requests : Number.POSITIVE_INFINITY;
  const end = 'seconds' in stop ? start + 1000 * stop.seconds : Number.POSITIVE_INFINITY;
  const client = async () => {
    for (let sent = start; sent < end && unsent > 0; sent = performance.now()) {
      unsent--;
      await queue.evaluate();
      latencies.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { rate: queue.rateSince(start), latencies };
}

interface Tally {
  worker: Worker;
  replies: number;
  lastReply: number;
}

/** Hands requests in the order in which they came to the worker that was freed last. */
class Queue {
  readonly #tallies: Tally[];
  readonly #free: Tally[];
  readonly #waiting: ((tally: Tally) => void)[] = [];

  constructor(workers: readonly Worker[]) {
    this.#tallies = workers.map((worker) => ({ worker, replies: 0, lastReply: 0 }));
    this.#free = [...this.#tallies];
  }

  async evaluate(): Promise<void> {
    const tally =
      this.#free.pop() ?? (await new Promise<Tally>((resolve) => void this.#waiting.push(resolve)));
    await tally.worker();
    tally.replies++;
    tally.lastReply = performance.now();
    const next = this.#waiting.shift();
    if (next) next(tally);
    else this.#free.push(tally);
  }

  /** Replies per second of all workers. */
  rateSince(start: number): number {
    return this.#tallies
      .filter(({ replies }) => replies > 0)
      .reduce((sum, { replies, lastReply }) => sum + (1000 * replies) / (lastReply - start), 0);
  }
}
