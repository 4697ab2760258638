/** A job that waits. */
export interface Waiting {
  /** SHA-256 of the keys file. */
  keys: string;
  /** How many were begun before it whose turn came later. */
  overtaken: number;
}

/** An open worker. */
export interface Seat {
  /** Whether it can begin a job. */
  readonly free: boolean;
  /** How many clients' keys it has. */
  readonly loadedKeys: number;
  has(keys: string): boolean;
}

/** Milliseconds that a job takes. */
export interface Durations {
  loadKeysMs: number;
  evaluateMs: number;
}

/** After so many that went before it out of turn, a job waits no longer for a worker that has its keys. */
const MOST_OVERTAKEN = 4;

/**
 * Which job to begin next, and where; null when there is nothing to begin now. To load keys takes about half as long as
 * to evaluate, and may drop another client's: so a free worker takes the first job whose keys it has before others,
 * within limits. A job whose keys only a busy worker has waits for that one where this is quicker than loading them; all
 * others go where the fewest keys are loaded.
 *
 * @param jobs in the order of their turns
 */
export function nextAssignment<J extends Waiting, S extends Seat>(
  jobs: readonly J[],
  seats: readonly S[],
  durations: (job: J) => Durations,
): { job: J; seat: S } | null {
  const free = seats.filter((seat) => seat.free);
  if (free.length === 0) return null;
  const withKeys = (job: J) => free.find((seat) => seat.has(job.keys));
  const emptiest = free.reduce((least, seat) => (seat.loadedKeys < least.loadedKeys ? seat : least));
  const urgent = jobs.find((job) => job.overtaken >= MOST_OVERTAKEN);
  if (urgent) return { job: urgent, seat: withKeys(urgent) ?? emptiest };
  for (const job of jobs) {
    const seat = withKeys(job);
    if (seat) return { job, seat };
  }
  /** How many evaluations a worker has before it, the one that runs included. */
  const ahead = new Map<S, number>();
  for (const job of jobs) {
    const busy = seats.find((seat) => seat.has(job.keys));
    if (!busy) return { job, seat: emptiest };
    const evaluations = (ahead.get(busy) ?? 0) + 1;
    const { loadKeysMs, evaluateMs } = durations(job);
    if (evaluations * evaluateMs >= loadKeysMs) return { job, seat: emptiest };
    ahead.set(busy, evaluations);
  }
  return null;
}
