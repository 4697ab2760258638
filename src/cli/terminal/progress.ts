import cliProgress from 'cli-progress';
import { formatMs } from '../../measure/format.ts';
import type { StartTask, Task, TaskOptions } from '../../measure/progress.ts';
import { coloursOf, forTerminal, type Io, print } from './io.ts';

const LINE_EVERY_MS = 5000;
const REDRAW_EVERY_MS = 250;

/**
 * Shows work on standard error: a bar with the time left on a terminal, which disappears when the work is
 * done; plain lines elsewhere, at the start and every 5 s; nothing for --json unless a terminal watches.
 */
export function progressOn(io: Io, json = false): StartTask {
  if (io.stderr.isTTY) return (label, options) => barTask(io, label, options);
  if (json) return () => ({ update() {}, [Symbol.dispose]() {} });
  return (label, options) => lineTask(io, label, options);
}

/** Remembers how far the work is and guesses the time left. */
class Pace {
  readonly #options: TaskOptions;
  readonly #started = performance.now();
  #last = this.#started;
  #done = 0;

  constructor(options: TaskOptions) {
    this.#options = options;
  }

  update(done: number): void {
    this.#done = done;
    this.#last = performance.now();
  }

  /** Milliseconds a unit takes: measured, before that estimated; undefined if unknown. */
  #msPerUnit(): number | undefined {
    if (this.#done > 0) return (this.#last - this.#started) / this.#done;
    const { estimateMs, total } = this.#options;
    return estimateMs === undefined ? undefined : estimateMs / total;
  }

  /** Units done, with a guess about the one in work, of which 5 % always remain. */
  now(): number {
    const perUnit = this.#msPerUnit();
    const next = this.#nextUnit();
    if (perUnit === undefined || next === 0) return this.#done;
    return this.#done + Math.min(0.95 * next, (performance.now() - this.#last) / perUnit);
  }

  #nextUnit(): number {
    const { units, total } = this.#options;
    if (!units) return Math.min(1, total - this.#done);
    let sum = 0;
    for (const unit of units) {
      if (sum >= this.#done - 1e-9) return unit;
      sum += unit;
    }
    return 0;
  }

  left(): string {
    const perUnit = this.#msPerUnit();
    if (perUnit === undefined) return '';
    const seconds = Math.ceil((perUnit * (this.#options.total - this.now())) / 1000);
    return seconds < 100 ? `about ${seconds} s left` : `about ${Math.ceil(seconds / 60)} min left`;
  }
}

function barTask(io: Io, label: string, options: TaskOptions): Task {
  const colours = coloursOf(io.stderr);
  const pace = new Pace(options);
  const draw = (progress: number) => {
    if (isOneUnknown(options)) return `  ${label} …`;
    const filled = Math.round(24 * progress);
    const line = colours.cyan('━'.repeat(filled)) + colours.dim('╌'.repeat(24 - filled));
    const percent = String(Math.floor(100 * progress)).padStart(3);
    return `  ${label.padEnd(24)} ${line} ${percent} %  ${colours.dim(pace.left())}`;
  };
  const drawn = new cliProgress.SingleBar({
    stream: io.stderr as unknown as NodeJS.WritableStream,
    format: (_, { progress }) => forTerminal(draw(progress)).replaceAll('\n', '?'),
    clearOnComplete: true,
    hideCursor: null,
    gracefulExit: false, // or Ctrl-C would no longer end the process
    linewrap: null as unknown as boolean,
  });
  const redraw = () => drawn.update(pace.now());
  drawn.start(options.total, 0);
  const timer = setInterval(redraw, REDRAW_EVERY_MS);
  timer.unref();
  return {
    update(done) {
      pace.update(done);
      redraw();
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      drawn.stop();
    },
  };
}

/** One piece of unknown length has no bar. */
function isOneUnknown({ total, estimateMs }: TaskOptions): boolean {
  return total === 1 && estimateMs === undefined;
}

function lineTask(io: Io, label: string, options: TaskOptions): Task {
  const pace = new Pace(options);
  const estimate = options.estimateMs === undefined ? '' : ` (about ${formatMs(options.estimateMs)})`;
  print(io.stderr, `${label}${estimate}\n`);
  let last = performance.now();
  return {
    update(done) {
      pace.update(done);
      if (performance.now() - last < LINE_EVERY_MS || done >= options.total) return;
      last = performance.now();
      print(io.stderr, `${label}: ${Math.floor((100 * done) / options.total)} %, ${pace.left()}\n`);
    },
    [Symbol.dispose]() {},
  };
}
