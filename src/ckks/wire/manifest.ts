import * as v from 'valibot';
import { hexDigest } from '../../digest.ts';
import { PreprocessingSchema, preprocessingProblems } from '../../ecg/preprocess.ts';
import { RHYTHMS } from '../../ecg/rhythm.ts';
import {
  choice,
  distinctNames,
  type Fault,
  hex,
  list,
  name,
  number,
  plain,
  positive,
  powerOfTwo,
  record,
  refuse,
  requireFormat,
  validate,
  wholeNumber,
} from '../../schema.ts';
import { EvaluationKeySetSchema, keyProblems } from '../keyswitch/key-set.ts';
import { evaluationKeysSize } from '../keyswitch/key-size.ts';
import { ParametersSchema, parameterProblems } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';
import {
  MOST_CLASS_CHARACTERS,
  MOST_CLASSES,
  mostScoreLimit,
  ReplyLayoutSchema,
  replyProblems,
  scoreBoundOf,
} from './reply-layout.ts';

const FORMAT = 'blindbeat manifest';
const VERSION = 1;
const FAULT: Fault = { code: 'FORMAT', title: 'not a usable manifest', root: 'manifest' };
const PLAN_FAULT: Fault = { ...FAULT, code: 'PLAN', title: 'no client would take this plan' };
/** Characters of a model's name. */
const MOST_NAME = 64;
/** More slots than any ring degree has. */
const MOST_SAMPLES = 2 ** 14;
/** log2 of the scale of the encrypted input, at least and at most; plans have 33. */
const INPUT_SCALE_BITS = [20, 50] as const;
/** More check values than a plan has. */
const MOST_CHECKS = 16;
/** Bytes of evaluation keys at most; `--key-budget` goes as far. */
const MOST_KEY_BYTES = 1e9;

/** The schema of `Outputs`. */
const OutputsSchema = choice(['scores', 'scores+map']);

/** What the reply carries: the scores, or also where in the recording the evidence for them is. */
export type Outputs = v.InferOutput<typeof OutputsSchema>;

/** The schema of `Manifest`. */
const ManifestSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  /** The model's name and the SHA-256 of its content: a commitment, not the content. */
  model: record({ name: name(MOST_NAME), fingerprint: hex(64) }),
  classes: distinctNames(MOST_CLASS_CHARACTERS, MOST_CLASSES),
  preprocessing: PreprocessingSchema,
  /** Samples of one segment. */
  samples: powerOfTwo(1, MOST_SAMPLES),
  parameters: ParametersSchema,
  outputs: OutputsSchema,
  /** Scale of the encrypted input. */
  inputScale: powerOfTwo(2 ** INPUT_SCALE_BITS[0], 2 ** INPUT_SCALE_BITS[1]),
  keys: EvaluationKeySetSchema,
  reply: ReplyLayoutSchema,
  /** |score| that the last prime has room for, and beyond which the client names no class. */
  scoreBound: positive(),
  scoreLimit: positive(),
  /** What the model makes of synthetic ECGs, [classes] each: for clients that audit its server. */
  checks: v.optional(
    list(
      record({
        rhythm: choice(RHYTHMS),
        seed: wholeNumber(0, 2 ** 32 - 1),
        scores: list(number(), MOST_CLASSES),
      }),
      MOST_CHECKS,
    ),
  ),
  /** SHA-256 of all of the above; in every file that belongs to this plan. */
  planHash: hex(64),
});

/**
 * What a client needs to take part, and all that it gets: parameters, keys to make, input format, where the
 * results are, classes. No weights.
 */
export type Manifest = v.InferOutput<typeof ManifestSchema>;

/** Has no value: a private field, which a copy with other content loses. */
declare class Checked {
  private readonly checked: true;
}

/** A manifest that was checked, and is frozen; `parseManifest` makes it of one from elsewhere. */
export type ParsedManifest = Manifest & Checked;

/**
 * Adds the hash to what was planned, and checks it as a client will.
 *
 * @throws BlindbeatError PLAN that lists what a client would refuse
 */
export function sealManifest(content: Omit<Manifest, 'planHash'>): ParsedManifest {
  return checked({ ...content, planHash: hashOf(content) }, PLAN_FAULT);
}

/**
 * Checks a manifest that came from elsewhere, security included. Unknown fields stay, and count for the hash.
 *
 * @returns a frozen copy
 * @throws BlindbeatError FORMAT that lists all that is wrong
 */
export function parseManifest(value: unknown): ParsedManifest {
  requireFormat(value, FORMAT, VERSION, FAULT);
  return checked(value, FAULT);
}

/** A manifest as the text of its file. */
export function manifestText(manifest: ParsedManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Structure first; then what each part says by itself; then what follows from other parts. */
function checked(value: unknown, fault: Fault): ParsedManifest {
  const manifest = validate(ManifestSchema, plain(value, fault), fault);
  refuse(fault, [
    ...preprocessingProblems(manifest.preprocessing, 'preprocessing.'),
    ...parameterProblems(manifest.parameters),
    ...keyProblems(manifest),
    ...replyProblems(manifest.reply, { ...manifest, classes: manifest.classes.length }),
  ]);
  refuse(fault, planProblems(manifest));
  const { planHash, ...content } = manifest;
  if (planHash !== hashOf(content))
    refuse(fault, ['planHash does not fit the content: the manifest was changed or damaged']);
  return manifest as ParsedManifest;
}

/** All that contradicts parts which are sound by themselves. */
function planProblems(manifest: Manifest): string[] {
  const { samples, preprocessing, parameters, inputScale, keys, scoreBound, scoreLimit, classes } = manifest;
  const { checks = [] } = manifest;
  const slots = parameters.n / 2;
  const inputBits = Math.log2(inputScale * preprocessing.bound);
  const room = log2Product(parameters.primes) - 2;
  const keyBytes = evaluationKeysSize(parameters, keys);
  const bound = scoreBoundOf(parameters.primes);
  const rules: [boolean, string][] = [
    [
      preprocessing.samples === samples,
      `samples: preprocessing makes ${preprocessing.samples} samples, but a segment has ${samples}`,
    ],
    [slots % samples === 0, `samples: ${samples} samples do not fill ${slots} slots evenly`],
    [
      inputBits <= room,
      `inputScale: samples up to ${preprocessing.bound} need ${inputBits.toFixed(1)} bits, but the primes ` +
        `hold ${room.toFixed(1)}`,
    ],
    [
      keyBytes <= MOST_KEY_BYTES,
      `keys: these take ${Math.ceil(keyBytes / 1e6)} MB, at most ${MOST_KEY_BYTES / 1e6} MB are allowed: plan ` +
        'with fewer (--key-budget)',
    ],
    [scoreBound === bound, `scoreBound: expected ${bound}, which the first prime holds, got ${scoreBound}`],
    [
      scoreLimit <= mostScoreLimit(bound),
      `scoreLimit: expected at most ${mostScoreLimit(bound).toFixed(2)}, a sixteenth of what the first prime ` +
        `holds, got ${scoreLimit}; a model of an earlier version with a larger limit must be exported again`,
    ],
    [
      checks.every(
        ({ scores }) => scores.length === classes.length && scores.every((s) => Math.abs(s) <= scoreLimit),
      ),
      `checks: expected ${classes.length} scores within +-${scoreLimit} of each ECG`,
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, problem]) => problem);
}

function hashOf(content: object): string {
  return hexDigest(JSON.stringify(canonical(content)));
}

/** The same value with all object keys sorted, so that equal content hashes equally. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, canonical(v)]));
}
