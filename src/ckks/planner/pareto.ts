/** What an option takes: time of the server, and bytes of evaluation keys on the wire. */
export interface Price {
  ms: number;
  bytes: number;
}

/** Smaller differences of time are none. */
const LEAST_MS = 1e-6;

/**
 * The Pareto frontier: without options that take neither fewer bytes nor less time than another; fewest bytes
 * first.
 */
export function frontier<T extends Price>(options: T[]): T[] {
  let least = Number.POSITIVE_INFINITY;
  return options
    .sort((a, b) => a.bytes - b.bytes || a.ms - b.ms)
    .filter(({ ms }) => {
      const better = ms < least - LEAST_MS;
      if (better) least = ms;
      return better;
    });
}

/** Every option of one list joined with every option of another, as far as they are on the frontier. */
export function combine<A, B, C extends Price>(as: A[], bs: B[], join: (a: A, b: B) => C): C[] {
  return frontier(as.flatMap((a) => bs.map((b) => join(a, b))));
}
