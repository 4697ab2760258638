import { BlindbeatError } from '../../errors.ts';

/** npx passes on a Ctrl-C that the terminal told us too: what comes so soon after the first is the same, in ms. */
const SAME_MS = 500;

/**
 * Runs work that has something to clean up when the user interrupts it (Ctrl-C, or a polite kill): the first
 * signal aborts, the second ends the process at once.
 *
 * @throws whatever `work` throws; BlindbeatError INTERRUPTED is the abort's reason
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let first = 0;
  const abort = (name: NodeJS.Signals) => {
    if (!controller.signal.aborted) {
      first = performance.now();
      controller.abort(new BlindbeatError('INTERRUPTED', 'interrupted'));
    } else if (performance.now() - first > SAME_MS) {
      for (const signal of signals) process.off(signal, abort);
      process.kill(process.pid, name);
    }
  };
  for (const name of signals) process.on(name, abort);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of signals) process.off(name, abort);
  }
}
