import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { Plan } from '../ckks/planner/plan.ts';
import { BlindbeatError, ERROR_CODES } from '../errors.ts';
import { type Fault, notNegative, parse, record, wholeNumber } from '../schema.ts';
import type { FromServer, OpenOptions, ToServer } from '../service/server-process.ts';
import type { CallOptions, LoadedKeys, ServerReply, Transport } from './transport.ts';

type Answer<T extends FromServer['type']> = Extract<FromServer, { type: T }>;

/** More than WebAssembly's 4 GiB no keys can hold. */
const MOST_BYTES = 2 ** 32;
/** server-process.ts in a clone, server-process.js when built. */
const SERVER = fileURLToPath(
  new URL(`../service/server-process${extname(import.meta.url)}`, import.meta.url),
);
/** What the process tells of its work. */
const OpenedSchema = record({ ms: notNegative() });
const LoadedSchema = record({ ms: notNegative(), bytes: v.optional(wholeNumber(1, MOST_BYTES)) });
const FAULT: Fault = {
  code: 'INTERNAL',
  title: 'the server process tells what cannot be',
  root: 'answer',
};
/** Last characters of what a child printed before it died; enough for its error. */
const KEPT_OUTPUT = 2000;

/** The client's end of the server's process (server-process.ts). Disposing ends the process. */
export class ProcessTransport implements Transport {
  readonly #child: ChildProcess;
  #waiting: { resolve(message: FromServer): void; reject(error: Error): void } | null = null;
  #onProgress: (done: number) => void = () => {};
  #failure: Error | null = null;
  #output = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#output = (this.#output + text).slice(-KEPT_OUTPUT);
    });
    child.on('message', (message: FromServer) => this.#receive(message));
    child.on('error', (cause) =>
      this.#fail(
        new BlindbeatError('INTERNAL', 'the server process cannot be started or reached', { cause }),
      ),
    );
    child.on('close', (code, by) => this.#fail(this.#death(code, by)));
  }

  /** Starts the process, which runs `module`; `open` must follow. */
  static start(module = SERVER): ProcessTransport {
    const child = fork(module, {
      execArgv: process.execArgv,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    return new ProcessTransport(child);
  }

  /**
   * Has the process load and plan a model.
   *
   * @param model its name or folder
   * @returns the plan, and the milliseconds of the process's own work
   * @throws BlindbeatError what `loadModel`, `compile` and `Server.open` throw
   */
  async open(
    model: string,
    options: OpenOptions,
    call: CallOptions = {},
  ): Promise<{ plan: Plan; ms: number }> {
    const { plan, ms } = await this.#ask({ type: 'open', model, options }, 'opened', call);
    return { plan, ...parse(OpenedSchema, { ms }, FAULT) };
  }

  async sendKeys(piece: Uint8Array, call: CallOptions = {}): Promise<void> {
    this.#onProgress = call.onProgress ?? (() => {});
    await this.#endedBy(call.signal, this.#send({ type: 'keys', piece, last: false }));
  }

  async loadKeys(call: CallOptions = {}): Promise<LoadedKeys> {
    const last = { type: 'keys', piece: new Uint8Array(), last: true } as const;
    return parse(LoadedSchema, await this.#ask(last, 'loaded', call), FAULT);
  }

  async infer(request: Uint8Array, call: CallOptions = {}): Promise<ServerReply> {
    const started = performance.now();
    let sent = started;
    const { type: _, ...answer } = await this.#ask({ type: 'infer', request }, 'reply', call, () => {
      sent = performance.now();
    });
    const upMs = sent - started;
    const downMs = Math.max(0, performance.now() - sent - answer.ms);
    return { ...answer, upMs, downMs };
  }

  [Symbol.dispose](): void {
    this.#end(new Error('the server process was ended'));
  }

  async #ask<T extends FromServer['type']>(
    message: ToServer,
    type: T,
    { onProgress = () => {}, signal }: CallOptions,
    onSent: () => void = () => {},
  ): Promise<Answer<T>> {
    this.#onProgress = onProgress;
    const answered = new Promise<FromServer>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    answered.catch(() => {}); // if sending fails, that is the error to tell
    const answer = await this.#endedBy(
      signal,
      this.#send(message).then(() => {
        onSent();
        return answered;
      }),
    );
    if (answer.type === type) return answer as Answer<T>;
    throw new Error(`the server process answered ${answer.type} where ${type} was expected`);
  }

  async #send(message: ToServer): Promise<void> {
    if (this.#failure) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      this.#child.send(message, (error) => {
        if (!error) resolve();
        // The process's end tells more than the broken pipe.
        else setTimeout(() => reject(this.#failure ?? error), 100);
      });
    });
  }

  /** A process cannot be called back from a computation: to end a call is to end the process. */
  async #endedBy<T>(signal: AbortSignal | undefined, call: Promise<T>): Promise<T> {
    if (!signal) return call;
    const aborted = Promise.withResolvers<never>();
    const end = () => {
      this.#end(signal.reason);
      aborted.reject(signal.reason);
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
    try {
      return await Promise.race([aborted.promise, call]);
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  #end(reason: Error): void {
    this.#fail(reason);
    if (this.#child.connected) this.#child.disconnect();
    this.#child.kill('SIGKILL');
  }

  #receive(message: FromServer): void {
    if (message.type === 'progress') {
      this.#onProgress(message.done);
      return;
    }
    if (message.type === 'error' && (isFatal(message) || !this.#waiting)) {
      this.#fail(errorOf(message));
      return;
    }
    if (message.type === 'error') this.#waiting?.reject(errorOf(message));
    else this.#waiting?.resolve(message);
    this.#waiting = null;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
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

/** A refusal leaves the process as it was; after a fault of ours nobody knows. */
function isFatal({ code }: Answer<'error'>): boolean {
  return code === undefined || code === 'INTERNAL' || !Object.hasOwn(ERROR_CODES, code);
}

function errorOf({ code, message, stack }: Answer<'error'>): Error {
  if (code && Object.hasOwn(ERROR_CODES, code)) return new BlindbeatError(code, message);
  const error = new Error(`in the server process: ${message}`);
  if (stack) error.stack = stack;
  return error;
}
