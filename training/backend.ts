import { createRequire } from 'node:module';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { BlindbeatError } from '../src/errors.ts';

/** What multiplies the matrices: native TensorFlow, or WebAssembly on one thread. */
export type TensorBackendName = 'tfjs-node' | 'wasm';

/** The backend that is in use. */
export interface TensorBackend {
  name: TensorBackendName;
  /** For the log: which backend, and why not the faster one. */
  description: string;
}

/** What `tfjs-node` needs of `node:util` and Node >= 23 no longer has (tensorflow/tfjs#8609). */
const GONE_FROM_UTIL: Record<string, unknown> = {
  isNullOrUndefined: (x: unknown) => x === null || x === undefined,
  isArray: Array.isArray,
};

/**
 * Loads the fastest TensorFlow.js backend that is installed and makes it the one in use: native TensorFlow
 * (`@tensorflow/tfjs-node`), else WebAssembly, whose epochs take six times as long (docs/training.md).
 *
 * @param prefer insists on one
 * @throws BlindbeatError ENVIRONMENT if neither, or not the one insisted on, can be loaded
 */
export async function loadBackend(prefer?: TensorBackendName): Promise<TensorBackend> {
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
    `No TensorFlow.js backend to train with: ${reasons.join('; ')}. In a clone of blindbeat run ` +
      '`npm ci`, or for the faster tfjs-node `npm install --no-save ./training`; elsewhere ' +
      '`npm install @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0`, ' +
      'or @tensorflow/tfjs-node@4.22.0 in place of the second.',
  );
}

async function loadNative(): Promise<void> {
  const shimmed = util as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(GONE_FROM_UTIL)) shimmed[name] ??= value;
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const name = '@tensorflow/tfjs-node'; // a variable, since types of a missing package are missing too
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
