import { type ChildProcess, fork, type Serializable } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BlindbeatError, ERROR_CODES } from '../../errors.ts';
import type { ErrorAnswer } from './parent.ts';

/** Last characters of what a child printed before it died; enough for its error. */
const KEPT_OUTPUT = 2000;
/** A process that is gone breaks the pipe first and is heard of later; its end tells more. Milliseconds. */
const UNTIL_IT_IS_HEARD_OF = 100;

/** What a parent hears of its child. */
export interface ChildListener<From> {
  onMessage(message: From): void;
  /** Once, with the reason: it is gone, of no more use, or was ended. Nothing is heard of it afterwards. */
  onEnd(reason: Error): void;
}

/** A process of ours that answers messages (parent.ts is its end). Disposing ends it. */
export class Child<To extends Serializable, From> implements Disposable {
  /** Settles when the process is no more. */
  readonly closed: Promise<void>;
  readonly #child: ChildProcess;
  readonly #listener: ChildListener<From>;
  #failure: Error | null = null;
  #output = '';

  /** Starts a process that runs `module`. */
  constructor(module: string, listener: ChildListener<From>) {
    this.#listener = listener;
    this.#child = fork(module, {
      execArgv: process.execArgv,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const closed = Promise.withResolvers<void>();
    this.closed = closed.promise;
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#output = (this.#output + text).slice(-KEPT_OUTPUT);
    });
    this.#child.on('message', (message) => {
      if (!this.#failure) listener.onMessage(message as From);
    });
    this.#child.on('error', (cause) => {
      if (this.#child.pid === undefined) closed.resolve(); // it never was
      this.fail(new BlindbeatError('INTERNAL', 'the server process cannot be started or reached', { cause }));
    });
    this.#child.on('close', (code, by) => {
      closed.resolve();
      this.fail(this.#death(code, by));
    });
  }

  /** Of the process; undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Why it is of no more use. */
  get failure(): Error | null {
    return this.#failure;
  }

  /**
   * Sends a message; settles when it is on its way.
   *
   * @throws Error the reason of the process's end, if it has ended
   */
  async send(message: To): Promise<void> {
    if (this.#failure) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      this.#child.send(message, (error) => {
        if (!error) resolve();
        else setTimeout(() => reject(this.#failure ?? error), UNTIL_IT_IS_HEARD_OF);
      });
    });
  }

  /** Takes the process for lost, but lets it be. */
  fail(reason: Error): void {
    if (this.#failure) return;
    this.#failure = reason;
    this.#listener.onEnd(reason);
  }

  /** Ends the process, which cannot be called back from a computation otherwise. */
  end(reason: Error): void {
    this.fail(reason);
    this.#child.kill('SIGKILL'); // to disconnect too would keep 'close' from coming
  }

  [Symbol.dispose](): void {
    this.end(new Error('the server process was ended'));
  }

  #death(code: number | null, by: NodeJS.Signals | null): Error {
    if (by === 'SIGINT' || by === 'SIGTERM') return new BlindbeatError('INTERRUPTED', 'interrupted');
    const output = this.#output.trim();
    const said = output === '' ? '' : `\n${output}`;
    if (by === 'SIGKILL') {
      return new BlindbeatError(
        'ENVIRONMENT',
        'the server process was killed, perhaps because memory ran out: close other programs, or see ' +
          `\`blindbeat plan\` for what it needs${said}`,
      );
    }
    return new BlindbeatError('INTERNAL', `the server process ended (${by ?? `exit code ${code}`})${said}`);
  }
}

/** The path of a module for a process to run: `.ts` in a clone, `.js` when built, as the module at `url` is. */
export function moduleBeside(url: string, relative: string): string {
  return fileURLToPath(new URL(`${relative}${extname(url)}`, url));
}

/** Whether nobody knows in what state an error left the process: it is a fault of ours, and no refusal. */
export function isFault({ code }: ErrorAnswer): boolean {
  return code === undefined || code === 'INTERNAL' || !Object.hasOwn(ERROR_CODES, code);
}

/** The error of which a process tells. */
export function errorOf({ code, message, stack }: ErrorAnswer): Error {
  if (code && Object.hasOwn(ERROR_CODES, code)) return new BlindbeatError(code, message);
  const error = new Error(`in the server process: ${message}`);
  if (stack) error.stack = stack;
  return error;
}
