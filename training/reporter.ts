import cliProgress from 'cli-progress';
import { replaceInvisible } from '../src/schema.ts';
import type { Reporter } from './train.ts';

/** Draws a training on a stream: a bar with the time left on a terminal, a line every 50 steps elsewhere. */
export function streamReporter(stream: NodeJS.WriteStream): Reporter {
  const terminal = stream.isTTY === true;
  let bar: cliProgress.SingleBar | undefined;
  let task = '';
  const close = () => {
    bar?.stop();
    bar = undefined;
    task = '';
  };
  const show = (name: string, done: number, total: number, text: string) => {
    if (task !== name) {
      close();
      task = name;
      const format = `${shown(name)} [{bar}] {percentage}% {text}`;
      bar = new cliProgress.SingleBar({ stream, format, hideCursor: true }, cliProgress.Presets.rect);
      bar.start(total, done, { text });
    }
    bar?.update(done, { text });
    if (done >= total) close();
  };
  const line = (text: string) => {
    close();
    stream.write(`${shown(text)}\n`);
  };
  return {
    note: line,
    work(what, done, total) {
      if (terminal) show(what, done, total, `${done} of ${total}`);
      else if (done === total) line(`${what}: ${total}`);
    },
    step({ epoch, epochs, step, steps, loss, score, eta }) {
      const text = `loss ${loss.toFixed(4)} score ${score.toFixed(3)} left ${duration(eta)}`;
      if (terminal) show(`epoch ${epoch}/${epochs}`, step, steps, text);
      else if (step % 50 === 0) line(`epoch ${epoch}/${epochs} step ${step}/${steps} ${text}`);
    },
    epoch(record, epochs) {
      const averaged =
        record.averageScore === undefined ? '' : `, averaged ${record.averageScore.toFixed(4)}`;
      line(
        `epoch ${record.epoch}/${epochs} ${record.phase}: loss ${record.loss.toFixed(4)}, score ` +
          `${record.trainScore.toFixed(4)}; validation ${record.validationScore.toFixed(4)} (|score| <= ` +
          `${record.validationLargest.toPrecision(3)})${averaged}; ${duration(record.seconds)}`,
      );
    },
  };
}

/** Names in it come from outside. */
function shown(text: string): string {
  return replaceInvisible(text, () => '?', '\n');
}

/** 3725 -> 1h 02m, 65 -> 1m 05s */
function duration(seconds: number): string {
  const s = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, '0');
  if (s >= 3600) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
}
