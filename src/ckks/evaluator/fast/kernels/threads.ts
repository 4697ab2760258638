import { BlindbeatError } from '../../../../errors.ts';
import type { KernelKind } from '../../executor.ts';
import { CONTROL, KERNELS, type KernelSet, type Kernels, loadKernels, type Module } from './kernels.ts';
import type { WasmMemory } from './memory.ts';

/** More threads than this have nothing to do. */
export const MOST_THREADS = 64;

/** As many threads as this machine runs at once. */
export function allCores(): number {
  return Math.min(MOST_THREADS, navigator.hardwareConcurrency);
}

/** @throws BlindbeatError USAGE for what is no number of threads */
export function requireThreads(count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_THREADS) return;
  throw new BlindbeatError('USAGE', `expected 1 to ${MOST_THREADS} threads, got ${count}`);
}

// The parts of a program, in words: see ./assembly/work.ts.
const HEAD = 16;
const PHASE = { words: 48, count: 32, tasks: 33 };
const STOP = -1;

/**
 * A thread's life. It is text, because a bundle or a browser has no file to start it from. The native `serve` returns
 * when there was nothing to do for a while: it sleeps here, where it can be ended.
 */
const LIFE = `
const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
const parent = node ? node.parentPort : self;
function serveNatively({ native, lanes, memory, control, scratch }) {
  const { serve } = process.getBuiltinModule('node:module').createRequire(native)(native);
  const words = new Int32Array(memory.buffer);
  let seen = 0;
  parent.postMessage('ready');
  for (;;) {
    seen = serve(words, lanes, control, scratch, seen);
    if (seen >>> 0 === ${2 ** 32 - 1}) return;
    Atomics.add(words, control / 4 + ${CONTROL.asleep}, 1);
    Atomics.wait(words, control / 4 + ${CONTROL.epoch}, seen | 0);
    Atomics.sub(words, control / 4 + ${CONTROL.asleep}, 1);
  }
}
parent.onmessage = async ({ data }) => {
  const { module, memory, control, scratch } = data;
  try {
    if (module) {
      const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
      parent.postMessage('ready');
      exports.serve(control, scratch);
    } else serveNatively(data);
  } catch (error) {
    Atomics.store(new Int32Array(memory.buffer), control / 4 + ${CONTROL.failed}, 1);
    throw error;
  }
  parent.close();
};`;

/**
 * Several threads on one program of kernel calls. Calls of `kernels` are not made at once, but noted down as
 * part of the current task; `run` carries out what was noted, on this thread too. Tasks of a phase go to
 * whichever thread is free and must not depend on each other; the next phase begins when all are done. So
 * results do not depend on the number of threads.
 */
export class Threads implements Disposable {
  /** Notes calls down. */
  readonly kernels: Kernels;
  /** Whose kernels they are. */
  readonly set: KernelSet;
  /** Threads, this one included. */
  readonly count: number;
  readonly #memory: WasmMemory;
  readonly #workers: ThreadHandle[] = [];
  readonly #control: number;
  readonly #scratch: number;
  #failure: unknown;
  #calls = new Uint32Array(4096);
  #length = 0;
  /** Where tasks start in the calls, by phase. */
  #phases: number[][] = [[]];
  #collecting = false;
  #program = { address: 0, words: 0 };

  private constructor(memory: WasmMemory, set: KernelSet, count: number, scratch: number) {
    this.#memory = memory;
    this.set = set;
    this.count = count;
    this.#control = memory.allocate(4 * CONTROL.words);
    this.#scratch = memory.allocate(count * scratch);
    const start = this.#control / 4;
    memory.words.fill(0, start, start + CONTROL.words);
    memory.words[start + CONTROL.maySleep] = 'document' in globalThis ? 0 : 1;
    this.kernels = Object.fromEntries(
      KERNELS.map((name, k) => [name, (...words: number[]) => this.#note(k + 1, words)]),
    ) as unknown as Kernels;
  }

  /**
   * @param count threads, this one included; in a page that may not share memory (not cross-origin isolated)
   * there is one
   * @param scratch bytes that every thread has for itself, see `local`
   * @param kind of kernels
   * @throws BlindbeatError USAGE for what is no number of threads, ENVIRONMENT where they cannot be started or
   * kernels not be loaded
   */
  static async open(memory: WasmMemory, count: number, scratch: number, kind: KernelKind): Promise<Threads> {
    requireThreads(count);
    const size = Math.ceil(scratch / 64) * 64;
    const possible = globalThis.crossOriginIsolated === false ? 1 : count;
    const threads = new Threads(memory, await loadKernels(memory.memory, kind), possible, size);
    try {
      await Promise.all(Array.from({ length: possible - 1 }, (_, k) => threads.#start((k + 1) * size)));
    } catch (cause) {
      threads[Symbol.dispose]();
      throw new BlindbeatError('ENVIRONMENT', `${count} threads could not be started: use fewer`, { cause });
    }
    return threads;
  }

  /** Lets the threads end. */
  [Symbol.dispose](): void {
    const words = new Int32Array(this.#memory.memory.buffer);
    Atomics.store(words, this.#control / 4 + CONTROL.epoch, STOP);
    Atomics.notify(words, this.#control / 4 + CONTROL.epoch);
    for (const worker of this.#workers.splice(0)) worker.terminate();
    this.#failure ??= new Error('the threads have ended');
  }

  /** Makes calls at once, on this thread. */
  get module(): Module {
    return this.set.module;
  }

  /** The address `offset` bytes into the scratch memory of whichever thread makes the call. */
  local(offset: number): number {
    return offset + 1;
  }

  /** Begins a task: one thread makes the calls that follow, one after another. */
  task(): void {
    this.#note(0, []); // ends the one before
    this.#phases.at(-1)!.push(this.#length);
  }

  /** Ends a phase: what follows begins when all tasks so far are done. */
  phase(): void {
    if (this.#phases.at(-1)!.length > 0) this.#phases.push([]);
  }

  /**
   * Independent computations side by side: the first phases of all, then the second ones, and so on. What
   * they `run` is carried out at the end, so they must neither look at it nor give back memory that it uses.
   */
  parallel<R>(computations: (() => R)[]): R[] {
    const phases: number[][] = [];
    this.#collecting = true;
    try {
      const results = computations.map((compute) => {
        this.#phases = [[]];
        const result = compute();
        this.#phases.forEach((tasks, k) => {
          phases[k] = [...(phases[k] ?? []), ...tasks];
        });
        return result;
      });
      this.#collecting = false;
      this.#phases = [...phases, []];
      this.run();
      return results;
    } finally {
      this.discard();
    }
  }

  /** Forgets what was noted and not carried out, as after an error on the way. */
  discard(): void {
    this.#collecting = false;
    this.#phases = [[]];
    this.#length = 0;
  }

  /**
   * Carries out what was noted.
   *
   * @throws BlindbeatError INTERNAL when a thread failed, now or before: no program runs any more; ENVIRONMENT
   * when there is no room for the program
   */
  run(): void {
    this.phase();
    if (this.#collecting) return;
    this.#note(0, []);
    try {
      this.#write(this.#phases.filter((tasks) => tasks.length > 0));
    } finally {
      this.discard();
    }
    try {
      if (this.#failure === undefined && this.module.lead(this.#control, this.#scratch) === 0) return;
      this.#failure ??= new Error('a worker thread ended');
    } catch (cause) {
      this.#failure = cause;
      Atomics.store(this.#memory.words, this.#control / 4 + CONTROL.failed, 1);
    }
    throw new BlindbeatError('INTERNAL', 'a thread of the fast backend failed: open the server again', {
      cause: this.#failure,
    });
  }

  async #start(scratch: number): Promise<void> {
    await new Promise<void>((ready, fail) => {
      const worker = startThread(LIFE, ready, (error) => {
        this.#failure ??= error;
        fail(error);
      });
      this.#workers.push(worker);
      worker.postMessage({
        ...this.set.thread,
        memory: this.#memory.memory,
        control: this.#control,
        scratch: this.#scratch + scratch,
      });
    });
  }

  #note(kernel: number, words: number[]): void {
    if (this.#length + words.length + 2 > this.#calls.length) {
      const longer = new Uint32Array(2 * this.#calls.length);
      longer.set(this.#calls);
      this.#calls = longer;
    }
    this.#calls[this.#length++] = kernel;
    for (const word of words) this.#calls[this.#length++] = word;
  }

  /** Writes the program into the shared memory. */
  #write(phases: number[][]): void {
    const memory = this.#memory;
    const tasks = HEAD + phases.length * PHASE.words;
    const calls = tasks + phases.reduce((sum, phase) => sum + phase.length, 0);
    const length = calls + this.#length;
    if (this.#program.words < length) {
      const words = 2 ** Math.ceil(Math.log2(length));
      const longer = { address: memory.allocate(4 * words), words };
      if (this.#program.words > 0) memory.free(this.#program.address);
      this.#program = longer;
    }
    const { address } = this.#program;
    const { words } = memory;
    const start = address / 4;
    words.fill(0, start, start + tasks);
    words[this.#control / 4 + CONTROL.program] = address;
    words[start] = phases.length;
    let task = tasks;
    phases.forEach((starts, k) => {
      const phase = start + HEAD + k * PHASE.words;
      words[phase + PHASE.count] = starts.length;
      words[phase + PHASE.tasks] = address + 4 * task;
      for (const first of starts) words[start + task++] = address + 4 * (calls + first);
    });
    words.set(this.#calls.subarray(0, this.#length), start + calls);
  }
}

interface ThreadHandle {
  postMessage(message: unknown): void;
  terminate(): unknown;
}

/** Starts a worker as Node or a browser has it; once `ready`, it keeps no process alive. */
function startThread(life: string, ready: () => void, fail: (error: unknown) => void): ThreadHandle {
  const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  if (node) {
    const worker = new node.Worker(life, { eval: true, execArgv: [] });
    worker.on('error', fail);
    worker.on('message', () => {
      worker.unref();
      ready();
    });
    return worker;
  }
  const url = URL.createObjectURL(new Blob([life], { type: 'text/javascript' }));
  const worker = new Worker(url);
  worker.onerror = fail;
  worker.onmessage = () => {
    URL.revokeObjectURL(url);
    ready();
  };
  return worker;
}
