/** How many at a time, and who ends it. */
interface Concurrency {
  atOnce: number;
  signal: AbortSignal;
}

/**
 * Does something with all items, in their order and several at a time. The first failure aborts the signal that the
 * others are given, and is thrown when they have ended.
 *
 * @throws what `work` throws; the signal's reason
 */
export async function concurrently<T>(
  items: readonly T[],
  { atOnce, signal }: Concurrency,
  work: (item: T, index: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const rest = items.entries();
  const worker = async () => {
    try {
      for (const [index, item] of rest) {
        both.throwIfAborted();
        await work(item, index, both);
      }
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  signal.throwIfAborted();
  if (failed.signal.aborted && ends.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}
