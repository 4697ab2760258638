import * as v from 'valibot';
import type { Manifest } from '../../ckks/wire/manifest.ts';
import { hexDigest } from '../../digest.ts';
import { ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { choice, type Fault, hex, list, notNegative, record, text, wholeNumber } from '../../schema.ts';

/** The stream of requests that wait, and the bucket of evaluation keys, each by its hash. */
export const STREAM = 'BLINDBEAT_JOBS';
export const BUCKET = 'blindbeat-keys';
/** Parts of each model's requests, by the hash of the keys: one worker takes all of a part. */
export const PARTITIONS = 16;
/** Milliseconds that a request may wait; then nobody does any more. */
export const MOST_AGE_MS = 600_000;
/** Of a message, with JSON: what the bytes are. */
export const HEADER = 'Blindbeat';

/** Subjects. Names in them are hexadecimal digits. */
export const ALL_JOBS = 'blindbeat.jobs.>';
export const ALL_ALIVE = 'blindbeat.worker.*.alive';
export const jobsSubject = (planHash: string, partition: number) => `blindbeat.jobs.${planHash}.${partition}`;
export const workerSubject = (worker: string, what: 'alive' | 'models' | 'forget') =>
  `blindbeat.worker.${worker}.${what}`;
/** Where a front door is asked whether it still waits for a job (an empty message), and told what came of it. */
export const doorSubject = (door: string, job: string) => `blindbeat.door.${door}.${job}`;

const MOST_MODELS = 1000;
const MOST_COUNT = 1e9;
const MOST_STAGES = 1000;
const count = () => wholeNumber(0, MOST_COUNT);

/** What a message that cannot be is reported as. */
export const FAULT: Fault = {
  code: 'INTERNAL',
  title: 'a message through NATS that no blindbeat sends',
  root: 'message',
};

/** In front of a request: who waits for it, for which job, and the hash of the keys. */
export const JobSchema = record({ door: hex(32), job: hex(32), keys: hex(64) });
export type JobHeader = v.InferOutput<typeof JobSchema>;

/** What a worker says every second: its models by their plan hashes, without any when it is leaving, and its load. */
export const AliveSchema = record({
  worker: hex(32),
  models: list(hex(64), MOST_MODELS),
  workers: count(),
  running: count(),
  restarts: count(),
  loadedKeys: count(),
});
export type Alive = v.InferOutput<typeof AliveSchema>;

/** What a worker has open; manifests are checked by `parseManifest`. */
export const ModelsSchema = record({
  models: v.pipe(
    v.array(record({ manifest: v.unknown(), keyBytes: wholeNumber(1, 2 ** 32) }), 'a list of models'),
    v.maxLength(MOST_MODELS, 'fewer models'),
  ),
});
export interface Models {
  models: { manifest: Manifest; keyBytes: number }[];
}

/** A client's keys, to be forgotten. */
export const ForgetSchema = record({ keys: hex(64) });

/** What came of a job; with `evaluated`, the message has the reply's bytes. */
export const AnswerSchema = v.variant(
  'type',
  [
    record({
      type: v.literal('evaluated'),
      loadKeysMs: notNegative(),
      evaluateMs: notNegative(),
      layers: list(record({ name: text(), ms: notNegative() }), MOST_STAGES),
    }),
    record({
      type: v.literal('error'),
      code: choice(Object.keys(ERROR_CODES) as ErrorCode[]),
      message: text(),
    }),
  ],
  'an answer',
);
export type Answer = v.InferOutput<typeof AnswerSchema>;

/** The part of the requests to which those with these keys belong. */
export function partitionOf(keys: string): number {
  return Number.parseInt(keys.slice(0, 8), 16) % PARTITIONS;
}

/** Which of these workers takes a part: the same by everybody's reckoning, and hardly any changes when one comes or goes. */
export function ownerOf(workers: readonly string[], planHash: string, partition: number): string | undefined {
  const rank = (worker: string) => hexDigest(`${worker}.${planHash}.${partition}`);
  return [...workers].sort((a, b) => (rank(a) < rank(b) ? 1 : -1))[0];
}
