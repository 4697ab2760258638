import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KernelKind } from '../../src/ckks/evaluator/executor.ts';
import type { CompileOptions } from '../../src/ckks/planner/compile.ts';
import type { Rhythm } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { Child, type Duration } from '../shared/child.ts';
import { SEED } from '../shared/run.ts';
import { turns } from '../shared/statistics.ts';

const CHILD = join(import.meta.dirname, 'child.ts');
const SECONDS = 30;
const RATE = 300;

/** What is measured, and by whose code. */
export interface ProbeOptions {
  /** The folder of the release. */
  root: string;
  /** The name of a model that the release has, or a folder. */
  model: string;
  /** Default: the release's. */
  threads?: number;
  /** A release that has no choice pays no heed. */
  kernels?: KernelKind;
  compileOptions?: CompileOptions;
  rhythm?: Rhythm;
}

/** What a role's process is told. */
export interface Instructions extends Pick<ProbeOptions, 'root' | 'model' | 'threads' | 'kernels'> {
  compileOptions: CompileOptions;
  recording: { mv: number[]; rate: number };
}

/** What a waiting process is told: to evaluate once more, or to do the next part of its work. */
export type Order = 'run' | 'next';

/** What the server answers when it waits for keys. Opening is: load, compile, encode the weights. */
export interface ServerOpened {
  openMs: number;
  threads: number;
  /** Which kernels compute. */
  kernels: string;
  keySwitching: string;
}

export interface ServerLoaded {
  /** From the file: read and loaded. */
  loadKeysMs: number;
  /** The same of the processor, all threads together. */
  loadKeysCpuMs: number;
  /** Bytes of the backend's memory that the loaded keys take; 0 where it does not tell. */
  loadedKeys: number;
  /** The first evaluation of the process. */
  firstMs: number;
}

/** One evaluation after the first, in all and by stage. */
export interface ServerRun extends Duration {
  stages: { name: string; ms: number }[];
}

export interface ServerEnded {
  peakMemory: number;
}

export interface ClientKeys {
  /** Opened, and the secret key made. */
  readyMs: number;
  /** Evaluation keys made and written to a file. */
  keygenMs: number;
  /** Of those after the first, which find everything made; so is that of decryption. */
  encryptMs: number;
  bytes: { evaluationKeys: number; request: number };
  /** Of making keys and encrypting. */
  peakMemory: number;
}

export interface ClientEnded {
  decryptMs: number;
  class: string;
  scores: number[];
}

/** One classification from start to end, in two processes. */
export interface Probe {
  server: ServerOpened & ServerLoaded & ServerEnded & { runs: ServerRun[] };
  client: ClientKeys & ClientEnded;
}

/** The recording that all benchmarks classify. */
export function benchRecording(rhythm: Rhythm = 'normal') {
  return synthesise({ rhythm, seconds: SECONDS, rate: RATE, seed: SEED });
}

/** What `benchRecording` gives, in words. */
export function describeData(model: string, rhythms: Rhythm[] = ['normal']): string {
  return `${model}; synthetic ECG, ${rhythms.join(', ')}, ${SECONDS} s at ${RATE} Hz`;
}

/**
 * Measures one classification of each release or plan, the server and the client in processes of their own.
 * One process works at a time: all servers are opened, then all clients make keys, and so on, so that the same
 * work of all is done within seconds. Evaluations are done in turns.
 *
 * @param runs evaluations of each server after the first one
 * @param onPart called when the next part begins
 */
export async function probe<const T extends readonly ProbeOptions[]>(
  all: T,
  runs: number,
  onPart: (part: string) => void = () => {},
): Promise<{ [K in keyof T]: Probe }> {
  await using held = new AsyncDisposableStack();
  const running: Running[] = [];
  const each = async <U>(part: string, work: (of: Running) => Promise<U>): Promise<U[]> => {
    onPart(part);
    const results: U[] = [];
    for (const of of running) results.push(await work(of));
    return results;
  };
  for (const options of all) running.push(held.use(await Running.prepare(options)));
  const opened = await each('opening the server', (of) => of.open());
  const made = await each('making keys', (of) => of.makeKeys());
  const loaded = await each('loading keys', (of) => of.load());
  onPart('evaluating');
  const evaluated: ServerRun[][] = running.map(() => []);
  for (const { thing: k } of turns([...running.keys()], runs)) evaluated[k].push(await running[k].run());
  const ended = await each('decrypting', (of) => of.end());
  const probes = ended.map(
    ({ server, client }, k): Probe => ({
      server: { ...opened[k], ...loaded[k], runs: evaluated[k], ...server },
      client: { ...made[k], ...client },
    }),
  );
  return probes as { [K in keyof T]: Probe };
}

/** The two processes of a probe, and their files. */
class Running implements AsyncDisposable {
  readonly #folder: string;
  #server?: Child;
  #client?: Child;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async prepare({
    root,
    model,
    threads,
    kernels,
    compileOptions = {},
    rhythm,
  }: ProbeOptions): Promise<Running> {
    const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
    const { leads, rate } = benchRecording(rhythm);
    const recording = { mv: Array.from(leads[0].mv), rate };
    const instructions: Instructions = { root, model, threads, kernels, compileOptions, recording };
    await writeFile(join(folder, 'instructions.json'), JSON.stringify(instructions));
    return new Running(folder);
  }

  open(): Promise<ServerOpened> {
    this.#server = new Child(CHILD, ['server', this.#folder], 'the server');
    return this.#server.answer();
  }

  makeKeys(): Promise<ClientKeys> {
    this.#client = new Child(CHILD, ['client', this.#folder], 'the client');
    return this.#client.answer();
  }

  load(): Promise<ServerLoaded> {
    return this.#server!.ask('next' satisfies Order);
  }

  run(): Promise<ServerRun> {
    return this.#server!.ask('run' satisfies Order);
  }

  async end(): Promise<{ server: ServerEnded; client: ClientEnded }> {
    return {
      server: await this.#server!.ask('next' satisfies Order),
      client: await this.#client!.ask('next' satisfies Order),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.[Symbol.dispose]();
    this.#client?.[Symbol.dispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
