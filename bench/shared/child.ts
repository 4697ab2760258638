import { type ChildProcess, fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';

/**
 * A process of a benchmark that answers every message, and whose first answer comes without one. Disposing
 * ends it.
 */
export class Child implements Disposable {
  readonly #process: ChildProcess;
  readonly #answers: unknown[] = [];
  #waiting: PromiseWithResolvers<unknown> | null = null;
  #end: Error | null = null;

  /** @param name for the error when it ends too early */
  constructor(module: string, args: string[], name: string) {
    this.#process = fork(module, args, { serialization: 'advanced', stdio: ['ignore', 2, 2, 'ipc'] });
    this.#process.on('message', (answer) => {
      if (this.#waiting) this.#waiting.resolve(answer);
      else this.#answers.push(answer);
      this.#waiting = null;
    });
    this.#process.on('error', (error) => this.#fail(error));
    this.#process.on('exit', (code, by) =>
      this.#fail(new Error(`${name} ended before it answered (${by ?? `exit code ${code}`})`)),
    );
  }

  /** Sends a message. @returns the answer to it */
  ask<T>(message: string): Promise<T> {
    this.#process.send(message);
    return this.answer();
  }

  /** The next answer. */
  async answer<T>(): Promise<T> {
    if (this.#answers.length > 0) return this.#answers.shift() as T;
    if (this.#end) throw this.#end;
    this.#waiting = Promise.withResolvers();
    return (await this.#waiting.promise) as T;
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }

  #fail(error: Error): void {
    this.#end ??= error;
    this.#waiting?.reject(this.#end);
    this.#waiting = null;
  }
}

/**
 * The most bytes that this process held. On Linux `resourceUsage` would include what the parent held when it
 * forked.
 */
export async function peakMemory(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS;
  return Number(kilobytes) * 1024;
}

/** From one mark to the next; on a busy machine the processor time, of all threads, says more. */
export interface Duration {
  ms: number;
  cpuMs: number;
}

export function mark() {
  return { time: performance.now(), cpu: process.cpuUsage() };
}

export function between(start: ReturnType<typeof mark>, end: ReturnType<typeof mark>): Duration {
  const cpu = end.cpu.user + end.cpu.system - start.cpu.user - start.cpu.system;
  return { ms: end.time - start.time, cpuMs: cpu / 1000 };
}
