import * as v from 'valibot';
import type { CompileOptions } from '../../ckks/planner/compile.ts';
import type { ServerOptions } from '../../ckks/server.ts';
import type { Manifest } from '../../ckks/wire/manifest.ts';
import type { StageTime } from '../../measure/stages.ts';
import { type Fault, hex, list, notNegative, record, text, wholeNumber } from '../../schema.ts';
import type { ErrorAnswer } from '../processes/parent.ts';

/** What a worker opens. */
export interface WorkerOptions {
  /** Names or folders. */
  models: readonly string[];
  compile: CompileOptions;
  /** Of the server of each model. */
  server: ServerOptions;
}

/** What the scheduler sends to a worker process; one call at a time, but `forget` at any time. */
export type ToWorker =
  /** The first message. */
  | { type: 'open'; options: WorkerOptions }
  | { type: 'evaluate'; model: string; keys: string; keyFile: string; request: Uint8Array }
  | { type: 'forget'; keys: string };

/** What a worker process says. */
export type FromWorker =
  | { type: 'opened'; models: { manifest: Manifest; keyBytes: number }[] }
  /** A part of the work is done. */
  | { type: 'alive' }
  /** The hashes of all keys that are loaded now; after every change and before the answer. */
  | { type: 'loaded'; keys: string[] }
  | { type: 'reply'; reply: Uint8Array; loadKeysMs: number; evaluateMs: number; layers: StageTime[] }
  /** In the order of what was to be forgotten. */
  | { type: 'forgotten' }
  | ErrorAnswer;

/** A message of a worker that no worker sends. */
export const FAULT: Fault = {
  code: 'INTERNAL',
  title: 'the server process tells what cannot be',
  root: 'message',
};
/** More than WebAssembly's 4 GiB no keys can hold. */
const MOST_BYTES = 2 ** 32;
/** More keys than memory holds. */
const MOST_KEYS = 100_000;
/** More than plans have. */
const MOST_STAGES = 1000;
const MOST_MODELS = 1000;

const manifests = v.array(
  record({ manifest: v.unknown(), keyBytes: wholeNumber(1, MOST_BYTES) }),
  'a list of models',
);

/** Manifests are checked by `parseManifest`. */
export const OpenedSchema = record({
  type: v.literal('opened', 'opened'),
  models: v.pipe(manifests, v.maxLength(MOST_MODELS, 'fewer models')),
});
export const LoadedSchema = record({ keys: list(hex(64), MOST_KEYS) });

/** @param bytes that a reply has by the model's manifest */
export function replySchema(bytes: number) {
  const words = `a reply of ${bytes} bytes`;
  return record({
    type: v.literal('reply', 'reply'),
    reply: v.pipe(
      v.instance(Uint8Array, words),
      v.check((reply) => reply.length === bytes, words),
    ),
    loadKeysMs: notNegative(),
    evaluateMs: notNegative(),
    layers: list(record({ name: text(), ms: notNegative() }), MOST_STAGES),
  });
}
