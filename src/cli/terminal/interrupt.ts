import { BlindbeatError } from '../../errors.ts';

/**
 * Runs work that has something to clean up when the user interrupts it (Ctrl-C, or a polite kill): the first
 * signal aborts, the second ends the process at once.
 *
 * @throws whatever `work` throws; BlindbeatError INTERRUPTED is the abort's reason
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort(new BlindbeatError('INTERRUPTED', 'interrupted'));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.once(name, abort);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of signals) process.off(name, abort);
  }
}
