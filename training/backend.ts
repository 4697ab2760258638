import { createRequire } from 'node:module';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { BlindbeatError } from '../src/errors.ts';

export type BackendName = 'tfjs-node' | 'wasm';

export interface Backend {
  name: BackendName;
  /** One line for the log: which backend, and why not the faster one. */
  description: string;
}

/** What `tfjs-node` needs of `node:util` and Node >= 23 no longer has (tensorflow/tfjs#8609). */
const GONE_FROM_UTIL: Record<string, unknown> = {
  isNullOrUndefined: (x: unknown) => x === null || x === undefined,
  isArray: Array.isArray,
};

/**
 * Loads the TensorFlow.js backend that trains fastest here: native TensorFlow (`@tensorflow/tfjs-node`) when
 * it is installed and loads, else WebAssembly (3-5 times slower). `prefer` insists on one.
 * Throws `ENVIRONMENT` when neither, or not the one insisted on, can be loaded.
 */
export async function loadBackend(prefer?: BackendName): Promise<Backend> {
  const reasons: string[] = [];
  if (prefer !== 'wasm') {
    try {
      await loadNative();
      return { name: 'tfjs-node', description: 'tfjs-node (native TensorFlow)' };
    } catch (error) {
      reasons.push(`@tensorflow/tfjs-node does not load (${firstLine(error)})`);
    }
  }
  if (prefer !== 'tfjs-node') {
    try {
      await loadWasm();
      const why = reasons[0] ?? 'asked for';
      return { name: 'wasm', description: `wasm (WebAssembly, one thread; ${why})` };
    } catch (error) {
      reasons.push(`@tensorflow/tfjs-backend-wasm does not load (${firstLine(error)})`);
    }
  }
  throw new BlindbeatError(
    'ENVIRONMENT',
    `No TensorFlow.js backend to train with: ${reasons.join('; ')}. ` +
      'Install one: npm install --no-save @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-node@4.22.0 (fast), or ' +
      '@tensorflow/tfjs-backend-wasm@4.22.0 in place of tfjs-node.',
  );
}

async function loadNative(): Promise<void> {
  const shimmed = util as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(GONE_FROM_UTIL)) shimmed[name] ??= value;
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const name = '@tensorflow/tfjs-node'; // a variable, because the package is not one of ours: see docs/training.md
  await import(name);
  await use('tensorflow');
}

async function loadWasm(): Promise<void> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  const entry = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(entry.slice(0, entry.lastIndexOf('dist') + 'dist'.length + 1));
  await use('wasm');
}

async function use(backend: string): Promise<void> {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not registered`);
  await tf.ready();
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0];
}
