import * as v from 'valibot';
import type { Plan } from '../ckks/planner/plan.ts';
import { type Fault, notNegative, parse, record, wholeNumber } from '../schema.ts';
import { Child, errorOf, isFault, moduleBeside } from '../service/processes/child.ts';
import type { FromServer, OpenOptions, ToServer } from '../service/server-process.ts';
import type { CallOptions, LoadedKeys, ServerReply, Transport } from './transport.ts';

type Answer<T extends FromServer['type']> = Extract<FromServer, { type: T }>;

/** More than WebAssembly's 4 GiB no keys can hold. */
const MOST_BYTES = 2 ** 32;
const SERVER = moduleBeside(import.meta.url, '../service/server-process');
/** What the process tells of its work. */
const OpenedSchema = record({ ms: notNegative() });
const LoadedSchema = record({ ms: notNegative(), bytes: v.optional(wholeNumber(1, MOST_BYTES)) });
const FAULT: Fault = {
  code: 'INTERNAL',
  title: 'the server process tells what cannot be',
  root: 'answer',
};

/** The client's end of the server's process (server-process.ts). Disposing ends the process. */
export class ProcessTransport implements Transport {
  readonly #child: Child<ToServer, FromServer>;
  #waiting: { resolve(message: FromServer): void; reject(error: Error): void } | null = null;
  #onProgress: (done: number) => void = () => {};

  private constructor(module: string) {
    this.#child = new Child(module, {
      onMessage: (message) => this.#receive(message),
      onEnd: (reason) => {
        this.#waiting?.reject(reason);
        this.#waiting = null;
      },
    });
  }

  /** Starts the process, which runs `module`; `open` must follow. */
  static start(module = SERVER): ProcessTransport {
    return new ProcessTransport(module);
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
    await this.#endedBy(call.signal, this.#child.send({ type: 'keys', piece, last: false }));
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
    this.#child[Symbol.dispose]();
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
      this.#child.send(message).then(() => {
        onSent();
        return answered;
      }),
    );
    if (answer.type === type) return answer as Answer<T>;
    throw new Error(`the server process answered ${answer.type} where ${type} was expected`);
  }

  /** A process cannot be called back from a computation: to end a call is to end the process. */
  async #endedBy<T>(signal: AbortSignal | undefined, call: Promise<T>): Promise<T> {
    if (!signal) return call;
    const aborted = Promise.withResolvers<never>();
    const end = () => {
      this.#child.end(signal.reason);
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

  #receive(message: FromServer): void {
    if (message.type === 'progress') {
      this.#onProgress(message.done);
      return;
    }
    if (message.type === 'error' && (isFault(message) || !this.#waiting)) {
      this.#child.fail(errorOf(message));
      return;
    }
    if (message.type === 'error') this.#waiting?.reject(errorOf(message));
    else this.#waiting?.resolve(message);
    this.#waiting = null;
  }
}
