import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CompileOptions } from '../../src/ckks/planner/compile.ts';
import type { Rhythm } from '../../src/ecg/rhythm.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { median } from '../../src/measure/machine.ts';
import { Child, type Duration } from '../shared/child.ts';
import { SEED } from '../shared/run.ts';

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
  /** Evaluations after the first one. */
  runs: number;
  compileOptions?: CompileOptions;
  rhythm?: Rhythm;
  /** Called when the next part begins. */
  onPart?: (part: string) => void;
}

/** What a role's process is told. */
export interface Instructions extends Pick<ProbeOptions, 'root' | 'model' | 'threads' | 'runs'> {
  compileOptions: CompileOptions;
  recording: { mv: number[]; rate: number };
}

/** One evaluation, in all and by stage. */
export interface ServerRun extends Duration {
  stages: { name: string; ms: number }[];
}

/** What the server answers when it waits for keys. Opening is: load, compile, encode the weights. */
export interface ServerOpened {
  openMs: number;
  threads: number;
  /** Which kernels compute. */
  kernels: string;
  keySwitching: string;
}

export interface ServerAnswer {
  /** From the file: read and loaded. */
  loadKeysMs: number;
  /** Bytes of the backend's memory that the loaded keys take; 0 where it does not tell. */
  loadedKeys: number;
  /** The first evaluation of the process, and those after it. */
  firstMs: number;
  runs: ServerRun[];
  peakMemory: number;
}

export interface ClientKeys {
  /** Opened, and the secret key made. */
  readyMs: number;
  /** Evaluation keys made and written to a file. */
  keygenMs: number;
  /** Of the second, which finds everything made; so is that of decryption. */
  encryptMs: number;
  bytes: { evaluationKeys: number; request: number };
  /** Of making keys and encrypting. */
  peakMemory: number;
}

export interface ClientAnswer {
  decryptMs: number;
  class: string;
  scores: number[];
}

/** One classification from start to end, in two processes. */
export interface Probe {
  server: ServerOpened & ServerAnswer;
  client: ClientKeys & ClientAnswer;
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
 * Measures one classification of a release, the server and the client in processes of their own. One of them
 * works at a time.
 */
export async function probe(options: ProbeOptions): Promise<Probe> {
  const { root, model, threads, runs, compileOptions = {}, rhythm, onPart = () => {} } = options;
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    const { leads, rate } = benchRecording(rhythm);
    const recording = { mv: Array.from(leads[0].mv), rate };
    const instructions: Instructions = { root, model, threads, runs, compileOptions, recording };
    await writeFile(join(folder, 'instructions.json'), JSON.stringify(instructions));
    onPart('opening the server');
    using server = new Child(CHILD, ['server', folder], 'the server');
    const opened = await server.answer<ServerOpened>();
    onPart('making keys');
    using client = new Child(CHILD, ['client', folder], 'the client');
    const made = await client.answer<ClientKeys>();
    onPart('loading keys and evaluating');
    server.send({});
    const evaluated = await server.answer<ServerAnswer>();
    client.send({});
    const decrypted = await client.answer<ClientAnswer>();
    return { server: { ...opened, ...evaluated }, client: { ...made, ...decrypted } };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Median milliseconds of the evaluations after the first one. */
export function warmMs({ server }: Probe): number {
  return median(server.runs.map(({ ms }) => ms));
}
