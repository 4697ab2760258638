/** The process that runs cases and may be killed for it: see watch.ts. */
import { type RunOptions, run } from './run.ts';

/** More than any case needs: an input without end must not take the machine's memory. */
const MOST_MEMORY = 2.5e9;
/** Exit code of a process that would have taken more. */
const OUT_OF_MEMORY = 99;
const REPORT_EVERY_MS = 250;

let last = 0;
setInterval(() => {
  if (process.memoryUsage.rss() > MOST_MEMORY) process.exit(OUT_OF_MEMORY);
}, 50).unref();

process.once('message', async (options: RunOptions) => {
  const result = await run(options, (index, soFar) => {
    if (performance.now() - last < REPORT_EVERY_MS) return;
    last = performance.now();
    process.send!({ done: index + 1 - options.from, soFar });
  });
  process.send!({ result }, () => process.disconnect());
});
