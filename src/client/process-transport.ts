import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plan } from '../ckks/planner/plan.ts';
import type { ServerOptions } from '../ckks/server.ts';
import { BlindbeatError } from '../errors.ts';
import type { FromServer, ToServer } from '../service/server-process.ts';

type Answer<T extends FromServer['type']> = Extract<FromServer, { type: T }>;

/** server-process.ts in a clone, server-process.js when built. */
const SERVER = fileURLToPath(
  new URL(`../service/server-process${extname(import.meta.url)}`, import.meta.url),
);
/** Last characters of what a child printed before it died; enough for its error. */
const KEPT_OUTPUT = 2000;

/** The client's end of the server's process (server-process.ts). Disposing ends it. */
export class RemoteServer implements Disposable {
  readonly #child: ChildProcess;
  #waiting: { resolve(message: FromServer): void; reject(error: Error): void } | null = null;
  #onProgress: (done: number) => void = () => {};
  #failure: Error | null = null;
  #output = '';

  private constructor(child: ChildProcess, signal?: AbortSignal) {
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
    child.on('close', (code, by) => this.#fail(this.#death(code, by, signal?.aborted ?? false)));
    signal?.addEventListener('abort', () => {
      this.#fail(signal.reason);
      child.kill('SIGKILL');
    });
  }

  /** Starts the process, which runs `module`; `open` must follow. */
  static start(signal?: AbortSignal, module = SERVER): RemoteServer {
    const child = fork(module, {
      execArgv: process.execArgv,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    return new RemoteServer(child, signal);
  }

  /** Loads and plans a model. */
  async open(model: string, options: ServerOptions): Promise<Plan> {
    return (await this.#ask({ type: 'open', model, options }, 'opened')).plan;
  }

  /** Sends one piece of the evaluation keys; waits until it is on its way, so that pieces do not pile up. */
  async sendKeys(piece: Uint8Array): Promise<void> {
    await this.#send({ type: 'keys', piece, last: false });
  }

  /** Says that the keys are complete; the server loads them. */
  async loadKeys(onKey: (done: number) => void): Promise<void> {
    await this.#ask({ type: 'keys', piece: new Uint8Array(), last: true }, 'loaded', onKey);
  }

  /** One classification, with the milliseconds that request and reply were on their way. */
  async infer(
    request: Uint8Array,
    onStage: (done: number) => void,
  ): Promise<Answer<'reply'> & { upMs: number; downMs: number }> {
    const started = performance.now();
    let sent = started;
    const answer = await this.#ask({ type: 'infer', request }, 'reply', onStage, () => {
      sent = performance.now();
    });
    const upMs = sent - started;
    const downMs = Math.max(0, performance.now() - sent - answer.ms);
    return { ...answer, upMs, downMs };
  }

  [Symbol.dispose](): void {
    this.#failure ??= new Error('the server process was ended');
    if (this.#child.connected) this.#child.disconnect();
    this.#child.kill('SIGKILL');
  }

  async #ask<T extends FromServer['type']>(
    message: ToServer,
    type: T,
    onProgress: (done: number) => void = () => {},
    onSent: () => void = () => {},
  ): Promise<Answer<T>> {
    this.#onProgress = onProgress;
    const answered = new Promise<FromServer>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    answered.catch(() => {}); // if sending fails, that is the error to tell
    await this.#send(message);
    onSent();
    const answer = await answered;
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

  #receive(message: FromServer): void {
    if (message.type === 'progress') this.#onProgress(message.done);
    else if (message.type === 'error') this.#fail(errorOf(message));
    else {
      this.#waiting?.resolve(message);
      this.#waiting = null;
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
  }

  #death(code: number | null, by: NodeJS.Signals | null, aborted: boolean): Error {
    if (aborted || by === 'SIGINT' || by === 'SIGTERM')
      return new BlindbeatError('INTERRUPTED', 'interrupted');
    const output = this.#output.trim();
    const said = output === '' ? '' : `\n${output}`;
    if (by === 'SIGKILL') {
      return new BlindbeatError(
        'ENVIRONMENT',
        `the server process was killed, perhaps because memory ran out: close other programs, or see \`blindbeat plan\` for what it needs${said}`,
      );
    }
    return new BlindbeatError('INTERNAL', `the server process ended (${by ?? `exit code ${code}`})${said}`);
  }
}

function errorOf({ code, message, stack }: Answer<'error'>): Error {
  if (code) return new BlindbeatError(code, message);
  const error = new Error(`in the server process: ${message}`);
  if (stack) error.stack = stack;
  return error;
}
