import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type Preprocessing, parsePreprocessing } from '../../ecg/preprocess.ts';
import { BlindbeatError } from '../../errors.ts';
import { type KeySet, keyProblems } from '../keyswitch/key-set.ts';
import { type Parameters, parameterProblems } from '../ring/parameters.ts';

/** What the reply carries: the scores, or also where in the recording the evidence for them is. */
export type Outputs = 'scores' | 'scores+map';

/** Where the client finds the results in the reply's slots. */
export interface ReplyLayout {
  /** Scale of the decrypted values. */
  scale: number;
  /** Slots per copy of the scores; slot j holds class (j + offset) mod group. */
  group: number;
  offset: number;
  /** Windows of the map; absent for outputs 'scores'. */
  map?: {
    /** Number of windows, positions (of the last layer) per window, and from one window to the next. */
    windows: number;
    width: number;
    hop: number;
    positions: number;
    /** Slots per position. */
    interleave: number;
  };
}

/**
 * What a client needs to take part, and all that it gets: parameters, keys to make, input format, where the results
 * are, classes. No weights.
 */
export interface Manifest {
  format: 'blindbeat manifest';
  version: 1;
  /** The model's name and the SHA-256 of its content: a commitment, not the content. */
  model: { name: string; fingerprint: string };
  classes: string[];
  preprocessing: Preprocessing;
  /** Samples of one segment. */
  samples: number;
  parameters: Parameters;
  outputs: Outputs;
  /** Scale of the encrypted input. */
  inputScale: number;
  keys: KeySet;
  reply: ReplyLayout;
  /** |score| that the last prime has room for, and beyond which the client names no class. */
  scoreBound: number;
  scoreLimit: number;
  /** SHA-256 of all of the above; in every file that belongs to this plan. */
  planHash: string;
}

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
 * Checks a manifest that came from elsewhere, security included.
 *
 * @throws BlindbeatError FORMAT that lists all that is wrong
 */
export function parseManifest(value: unknown): Manifest {
  const problems: string[] = [];
  const require = (condition: boolean, problem: string) => {
    if (!condition) problems.push(problem);
  };
  const m = (value ?? {}) as Manifest;
  require(m.format ===
    'blindbeat manifest', `format should be "blindbeat manifest" and is ${JSON.stringify(m.format)}`);
  require(m.version === 1, `version should be 1 and is ${JSON.stringify(m.version)}`);
  if (problems.length === 0) {
    require(Array.isArray(m.classes) &&
      m.classes.every((c) => typeof c === 'string'), 'classes should be a list of names');
    require(Number.isInteger(m.samples) && m.samples > 0, 'samples should be a positive integer');
    require(typeof m.model?.name === 'string' &&
      typeof m.model?.fingerprint === 'string', 'model should have name and fingerprint');
    problems.push(...preprocessingProblems(m));
    for (const name of ['inputScale', 'scoreBound', 'scoreLimit'] as const) {
      require(Number.isFinite(m[name]) && m[name] > 0, `${name} should be a positive number`);
    }
    problems.push(...parameterProblems(m.parameters), ...keyProblems(m));
    require(Number.isInteger(m.reply?.group) &&
      Number.isInteger(m.reply?.offset) &&
      m.reply.scale > 0, 'reply should have group, offset and scale');
  }
  if (problems.length === 0) {
    const { planHash, ...content } = m;
    require(planHash ===
      hashOf(content), 'planHash does not fit the content: the manifest was changed or damaged');
  }
  if (problems.length > 0)
    throw new BlindbeatError('FORMAT', `not a usable manifest:\n  - ${problems.join('\n  - ')}`);
  return m;
}

function preprocessingProblems({ preprocessing, samples }: Manifest): string[] {
  try {
    const parsed = parsePreprocessing(preprocessing);
    return parsed.samples === samples
      ? []
      : [`preprocessing makes ${parsed.samples} samples, but a segment has ${samples}`];
  } catch (error) {
    if (error instanceof BlindbeatError) return [error.message];
    throw error;
  }
}
