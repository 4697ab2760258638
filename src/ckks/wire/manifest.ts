import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type Preprocessing, parsePreprocessing } from '../../ecg/preprocess.ts';
import { BlindbeatError } from '../../errors.ts';
import {
  type Gadget,
  gadgetProblems,
  KEY_SWITCHINGS,
  type KeySwitching,
  moduli,
  primesOf,
  sealGadget,
} from '../keyswitch/gadget.ts';
import { packedSize } from '../ring/bit-packing.ts';
import {
  bitLength,
  isPrime,
  log2Product,
  MAX_LOG_QP,
  MAX_PRIME_BITS,
  type Parameters,
} from '../ring/parameters.ts';
import { SEED_SIZE } from '../seal/bytes.ts';
import { containerSize } from './container.ts';

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

/**
 * The key-switching keys of a plan. Of the keys of one step, or of relinearisation, the one with fewest limbs that has as many as a
 * ciphertext serves it. Step 0 is the complex conjugation.
 */
export interface KeySet {
  switching: KeySwitching;
  /** One for each number of limbs that grouped keys have; empty for SEAL's kind. */
  gadgets: Gadget[];
  relinearisation: { limbs: number }[];
  galois: { step: number; limbs: number }[];
}

/** A key to make: `step` is null for relinearisation. */
export interface PlannedKey {
  step: number | null;
  gadget: Gadget;
}

/** The key-switching keys in the order of their file. */
export function plannedKeys(parameters: Parameters, keys: KeySet): PlannedKey[] {
  const gadget = (limbs: number) =>
    keys.gadgets.find((g) => g.limbs === limbs) ?? sealGadget(parameters, limbs);
  return [
    ...keys.relinearisation.map(({ limbs }) => ({ step: null, gadget: gadget(limbs) })),
    ...keys.galois.map(({ step, limbs }) => ({ step, gadget: gadget(limbs) })),
  ];
}

/** The keys in a file of evaluation keys: those for switching, and the public key. */
export function keyCount({ relinearisation, galois }: KeySet): number {
  return relinearisation.length + galois.length + 1;
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

/** Sizes on the wire, in bytes, of what belongs to a plan. */
export interface WireSizes {
  secretKey: number;
  evaluationKeys: number;
  request: number;
  reply: number;
}

/** Bytes of the bit-packed residues of `limbs` limbs and, for keys, the special prime. */
function packedPolynomial(parameters: Parameters, primes: number[]): number {
  return primes.reduce((sum, q) => sum + packedSize(parameters.n, bitLength(q)), 0);
}

/** Bytes of one key-switching key: per digit one polynomial and a seed. */
export function switchingKeySize(parameters: Parameters, gadget: Gadget): number {
  const primes = primesOf(parameters, moduli(gadget));
  return gadget.digits.length * (packedPolynomial(parameters, primes) + SEED_SIZE);
}

/** Bytes of the public key with which the server re-randomises its reply: the first and the special limb. */
export function publicKeySize(parameters: Parameters): number {
  return packedPolynomial(parameters, [parameters.primes[0], parameters.special]) + SEED_SIZE;
}

/** Bytes of all evaluation keys, without their file's header. */
function evaluationKeysSize(parameters: Parameters, keys: KeySet): number {
  return plannedKeys(parameters, keys).reduce(
    (sum, { gadget }) => sum + switchingKeySize(parameters, gadget),
    publicKeySize(parameters),
  );
}

/** Lengths of the bodies of all files. */
export function bodySizes(manifest: Pick<Manifest, 'parameters' | 'keys' | 'reply'>): WireSizes {
  const { parameters, keys, reply } = manifest;
  const replyPolynomial = packedPolynomial(parameters, [parameters.primes[0]]);
  return {
    secretKey: packedPolynomial(parameters, [...parameters.primes, parameters.special]),
    evaluationKeys: evaluationKeysSize(parameters, keys),
    request: packedPolynomial(parameters, parameters.primes) + SEED_SIZE,
    reply: 4 * 2 * reply.group + replyPolynomial * (reply.map ? 3 : 1),
  };
}

/** Lengths of the files. */
export function wireSizes(manifest: Manifest): WireSizes {
  const sizes = bodySizes(manifest);
  const header = { planHash: manifest.planHash, keyId: '0'.repeat(32) };
  const file = (bodyBytes: number) => containerSize({ ...header, bodyBytes });
  return {
    secretKey: file(sizes.secretKey),
    evaluationKeys: file(sizes.evaluationKeys),
    request: file(sizes.request),
    reply: file(sizes.reply),
  };
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

/** All that is wrong with CKKS parameters; 128-bit security is not negotiable. */
export function parameterProblems(p: Parameters): string[] {
  if (!p || !Array.isArray(p.primes)) return ['parameters should have n, primes and special'];
  const bound = MAX_LOG_QP[p.n];
  if (bound === undefined) return [`ring degree ${p.n} is none of ${Object.keys(MAX_LOG_QP).join(', ')}`];
  const problems: string[] = [];
  const all = [...p.primes, p.special];
  if (new Set(all).size !== all.length) problems.push('the primes are not distinct');
  for (const q of all) {
    if (
      !Number.isInteger(q) ||
      q < 2 ** 16 ||
      q >= 2 ** MAX_PRIME_BITS ||
      q % (2 * p.n) !== 1 ||
      !isPrime(q)
    ) {
      problems.push(`${q} is no prime = 1 mod ${2 * p.n} between 2^16 and 2^${MAX_PRIME_BITS}`);
    }
  }
  const log = log2Product(all);
  if (!(log <= bound))
    problems.push(
      `log2(QP) = ${log.toFixed(1)} is above ${bound}, the limit for 128-bit security at n = ${p.n}`,
    );
  return problems;
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

/** All that is wrong with a list of keys. */
export function keyProblems({ keys, parameters }: Manifest): string[] {
  if (!keys || ![keys.galois, keys.relinearisation, keys.gadgets].every(Array.isArray))
    return ['keys should have switching, gadgets, relinearisation and galois'];
  const problems: string[] = [];
  if (!KEY_SWITCHINGS.includes(keys.switching))
    problems.push(`switching should be one of ${KEY_SWITCHINGS.join(', ')}`);
  const limbs = parameters?.primes?.length ?? 0;
  for (const key of [...keys.relinearisation, ...keys.galois, ...keys.gadgets]) {
    if (!Number.isInteger(key?.limbs) || key.limbs < 1 || key.limbs > limbs)
      problems.push(`a key of ${key?.limbs} limbs does not fit ${limbs} primes`);
  }
  if (problems.length > 0) return problems;
  for (const gadget of keys.gadgets) problems.push(...gadgetProblems(gadget, limbs));
  problems.push(...keySetProblems(keys));
  for (const { step } of keys.galois) {
    if (!Number.isInteger(step) || step < 0 || step >= (parameters?.n ?? 0) / 2)
      problems.push(`a rotation by ${step} slots does not exist`);
  }
  return problems;
}

/** Whether the lists fit the kind of key switching. */
function keySetProblems({ switching, gadgets, relinearisation, galois }: KeySet): string[] {
  const problems: string[] = [];
  const twice = (names: (string | number)[]) => new Set(names).size !== names.length;
  if (twice(gadgets.map(({ limbs }) => limbs))) problems.push('a gadget is listed twice');
  const levels = new Set([...relinearisation, ...galois].map(({ limbs }) => limbs));
  if (switching === 'seal') {
    if (gadgets.length > 0) problems.push("keys of SEAL's kind have no gadgets");
    if (relinearisation.length !== 1) problems.push("there is one relinearisation key of SEAL's kind");
    if (twice(galois.map(({ step }) => step))) problems.push('a rotation key is listed twice');
  } else {
    const listed = new Set(gadgets.map(({ limbs }) => limbs));
    if (listed.size !== levels.size || [...levels].some((limbs) => !listed.has(limbs)))
      problems.push('grouped keys need a gadget for each number of limbs that they have, and no others');
    if (twice(relinearisation.map(({ limbs }) => limbs)))
      problems.push('a relinearisation key is listed twice');
    if (twice(galois.map(({ step, limbs }) => `${step}:${limbs}`)))
      problems.push('a rotation key is listed twice');
  }
  return problems;
}
