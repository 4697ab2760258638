import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import * as v from 'valibot';
import { PreprocessingSchema, preprocessingProblems } from '../../ecg/preprocess.ts';
import {
  choice,
  type Fault,
  list,
  positive,
  record,
  refuse,
  requireFormat,
  text,
  validate,
  wholeNumber,
} from '../../schema.ts';
import { EvaluationKeySetSchema, keyProblems } from '../keyswitch/key-set.ts';
import { ParametersSchema, parameterProblems } from '../ring/parameters.ts';

const FORMAT = 'blindbeat manifest';
const VERSION = 1;
const FAULT: Fault = { code: 'FORMAT', title: 'not a usable manifest', root: 'manifest' };
/** Larger than any number of classes, and of slots. */
const MAX_CLASSES = 1024;
const MAX_SLOTS = 2 ** 24;
/** Levels of lists and objects in each other; unknown fields might have more than can be hashed. */
const MAX_DEPTH = 64;

/** The schema of `Outputs`. */
const OutputsSchema = choice(['scores', 'scores+map']);

/** What the reply carries: the scores, or also where in the recording the evidence for them is. */
export type Outputs = v.InferOutput<typeof OutputsSchema>;

/** The schema of `ReplyLayout`. */
const ReplyLayoutSchema = record({
  /** Scale of the decrypted values. */
  scale: positive(),
  /** Slots per copy of the scores; slot j holds class (j + offset) mod group. */
  group: wholeNumber(1, MAX_SLOTS),
  offset: wholeNumber(0, MAX_SLOTS),
  /** Windows of the map; absent for outputs 'scores'. */
  map: v.optional(
    record({
      /** Number of windows, positions (of the last layer) per window, and from one window to the next. */
      windows: wholeNumber(1, MAX_SLOTS),
      width: wholeNumber(1, MAX_SLOTS),
      hop: wholeNumber(1, MAX_SLOTS),
      positions: wholeNumber(1, MAX_SLOTS),
      /** Slots per position. */
      interleave: wholeNumber(1, MAX_SLOTS),
    }),
  ),
});

/** Where the client finds the results in the reply's slots. */
export type ReplyLayout = v.InferOutput<typeof ReplyLayoutSchema>;

/** The schema of `Manifest`. */
const ManifestSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  /** The model's name and the SHA-256 of its content: a commitment, not the content. */
  model: record({ name: text(), fingerprint: text() }),
  classes: list(text(), MAX_CLASSES),
  preprocessing: PreprocessingSchema,
  /** Samples of one segment. */
  samples: wholeNumber(1, MAX_SLOTS),
  parameters: ParametersSchema,
  outputs: OutputsSchema,
  /** Scale of the encrypted input. */
  inputScale: positive(),
  keys: EvaluationKeySetSchema,
  reply: ReplyLayoutSchema,
  /** |score| that the last prime has room for, and beyond which the client names no class. */
  scoreBound: positive(),
  scoreLimit: positive(),
  /** SHA-256 of all of the above; in every file that belongs to this plan. */
  planHash: text(),
});

/**
 * What a client needs to take part, and all that it gets: parameters, keys to make, input format, where the
 * results are, classes. No weights.
 */
export type Manifest = v.InferOutput<typeof ManifestSchema>;

/** Adds the hash. */
export function sealManifest(content: Omit<Manifest, 'planHash'>): Manifest {
  return { ...content, planHash: hashOf(content) };
}

function hashOf(content: object): string {
  return bytesToHex(sha256(utf8ToBytes(JSON.stringify(canonical(content)))));
}

/** The same value with all object keys sorted, so that equal content hashes equally. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, canonical(v)]));
}

/**
 * Checks a manifest that came from elsewhere, security included. Unknown fields stay, and count for the hash.
 *
 * @throws BlindbeatError FORMAT that lists all that is wrong
 */
export function parseManifest(value: unknown): Manifest {
  requireFormat(value, FORMAT, VERSION, FAULT);
  const manifest = validate(ManifestSchema, value, FAULT);
  refuse(FAULT, [
    ...preprocessingProblems(manifest.preprocessing, 'preprocessing.'),
    ...parameterProblems(manifest.parameters),
    ...keyProblems(manifest),
    ...layoutProblems(manifest),
  ]);
  if (isDeeper(manifest, MAX_DEPTH)) refuse(FAULT, [`more than ${MAX_DEPTH} lists or objects in each other`]);
  const { planHash, ...content } = manifest;
  if (planHash !== hashOf(content))
    refuse(FAULT, ['planHash does not fit the content: the manifest was changed or damaged']);
  return manifest;
}

/** Whether input and results fit the slots. */
function layoutProblems({ samples, preprocessing, parameters, classes, outputs, reply }: Manifest): string[] {
  const slots = parameters.n / 2;
  const { group, offset, map } = reply;
  const windowsFit =
    !map || (map.windows * map.hop <= map.positions && map.positions * map.interleave <= slots);
  const rules: [boolean, string][] = [
    [
      preprocessing.samples === samples,
      `samples: preprocessing makes ${preprocessing.samples} samples, but a segment has ${samples}`,
    ],
    [slots % samples === 0, `samples: ${samples} samples do not fill ${slots} slots evenly`],
    [
      slots % group === 0 && group >= classes.length,
      `reply.group: ${classes.length} classes do not repeat every ${group} of ${slots} slots`,
    ],
    [offset < slots, `reply.offset: ${offset} is not below ${slots}, the number of slots`],
    [
      (outputs === 'scores+map') === (map !== undefined),
      `reply.map: outputs "${outputs}" ${map ? 'have no' : 'need a'} map`,
    ],
    [windowsFit, `reply.map: its windows do not fit ${slots} slots`],
  ];
  return rules.filter(([holds]) => !holds).map(([, problem]) => problem);
}

/** Whether lists and objects are nested more than `levels` deep; finds it out without recursion. */
function isDeeper(value: unknown, levels: number): boolean {
  let level = [value];
  for (let depth = 0; depth <= levels; depth++) {
    level = level.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []));
    if (level.length === 0) return false;
  }
  return true;
}
