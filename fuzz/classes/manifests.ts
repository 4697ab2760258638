/** Cases of manifests: as files, and handed to a client as values. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { Manifest } from '../../src/ckks/wire/manifest.ts';
import { readManifest } from '../../src/cli/files/input.ts';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import type { Random } from '../../src/ecg/random.ts';
import { synthesise } from '../../src/ecg/synth.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { randomModel } from '../../test/helpers/random-model.ts';
import { manifestProblems } from '../manifest-oracle.ts';
import { mutate, parsedOrUndefined, respell, SPELLINGS, toText } from '../mutate.ts';
import { planHashOf } from '../oracles.ts';
import { openClient } from '../subject.ts';
import { directed, pick, type Subject, type Trial } from '../trial.ts';

type Change = (m: Manifest) => object;
/** Larger rings take more time than their cases are worth. */
const LARGEST_RING = 8192;
const RATE = 300;

const parameters = (m: Manifest, change: object) => ({ parameters: { ...m.parameters, ...change } });
const preprocessing = (m: Manifest, change: object) => ({ preprocessing: { ...m.preprocessing, ...change } });
const reply = (m: Manifest, change: object) => ({ reply: { ...m.reply, ...change } });

/** The primes of keys alone. */
const besides = ({ parameters: { spare = [], special } }: Manifest) => [...spare, special];

/** What somebody who thinks would change; the hash is made to fit. */
const CHANGES: Record<string, Change> = {
  'nothing changed': () => ({}),
  'more primes than security allows': (m) => {
    const many = primesAbove(m.parameters.n, 2 ** 29, 14);
    const all = [...m.parameters.primes, ...many];
    return parameters(m, { primes: all, logQP: logOf([...all, ...besides(m)]) });
  },
  'security of 128.5 bits': (m) => parameters(m, { security: 128.5 }),
  'a ring degree as text': (m) => parameters(m, { n: String(m.parameters.n) }),
  'a ring degree of 2048': (m) => parameters(m, { n: 2048 }),
  'no spare primes, as a list': (m) => parameters(m, { spare: [] }),
  'a data prime as spare prime': (m) => {
    const spare = m.parameters.primes.slice(0, 1);
    return parameters(m, { spare, logQP: logOf([...m.parameters.primes, ...spare, m.parameters.special]) });
  },
  'another spare prime': (m) => {
    const spare = primesAbove(m.parameters.n, 2 ** 17, 1);
    return parameters(m, { spare, logQP: logOf([...m.parameters.primes, ...spare, m.parameters.special]) });
  },
  'a special prime of 1': (m) => parameters(m, { special: 1 }),
  'a prime that is none': (m) => {
    const primes = [m.parameters.primes[0] + 2 * m.parameters.n, ...m.parameters.primes.slice(1)];
    return parameters(m, { primes, logQP: logOf([...primes, ...besides(m)]) });
  },
  'a prime twice': (m) => {
    const primes = m.parameters.primes.map((_, i, all) => all[Math.min(i, 1)]);
    return parameters(m, { primes, logQP: logOf([...primes, ...besides(m)]) });
  },
  'no classes': () => ({ classes: [] }),
  'one class': () => ({ classes: ['N'] }),
  'a class twice': (m) => ({ classes: m.classes.map(() => 'N') }),
  'as many classes as slots, in one group': (m) => ({
    classes: Array.from({ length: 1024 }, (_, i) => `c${i}`),
    ...reply(m, { group: m.parameters.n / 2 }),
  }),
  'a group of all slots': (m) => reply(m, { group: m.parameters.n / 2 }),
  'a group of 0.5': (m) => reply(m, { group: 0.5 }),
  'outputs 0.5': () => ({ outputs: 0.5 }),
  'a score limit above the bound': (m) => ({ scoreLimit: 2 * m.scoreBound }),
  'a score limit at the bound': (m) => ({ scoreLimit: m.scoreBound }),
  'a score bound beyond its room': () => ({ scoreBound: 1e6, scoreLimit: 1e5 }),
  'check values of one class': () => ({ checks: [{ rhythm: 'af', seed: 1, scores: [0] }] }),
  'check values beyond the limit': (m) => ({
    checks: [{ rhythm: 'af', seed: 1, scores: m.classes.map(() => 2 * m.scoreLimit) }],
  }),
  'check values of a rhythm that nobody makes': (m) => ({
    checks: [{ rhythm: 'tango', seed: 1, scores: m.classes.map(() => 0) }],
  }),
  'check values of a seed without end': (m) => ({
    checks: [{ rhythm: 'af', seed: 1e308, scores: m.classes.map(() => 0) }],
  }),
  'scores at a smaller scale': (m) => reply(m, { scale: 1e-300 }),
  'scores at a larger scale': (m) => reply(m, { scale: 2 ** 40 }),
  'a map of very many windows': (m) => ({
    outputs: 'scores+map',
    ...reply(m, { map: { windows: 2e7, width: 1, hop: 1, positions: 2e7, interleave: 1 } }),
  }),
  'a map of windows without width': (m) => ({
    outputs: 'scores+map',
    ...reply(m, { map: { windows: 1, width: 0, hop: 0, positions: 1, interleave: 1 } }),
  }),
  'very many samples': (m) => ({ samples: 2 ** 27, ...preprocessing(m, { samples: 2 ** 27 }) }),
  'samples over hours': (m) =>
    preprocessing(m, { seconds: 1e6, band: { ...m.preprocessing.band, high: 1e-6, low: 1e-9 } }),
  'a rate below 0.5 Hz': (m) =>
    preprocessing(m, {
      seconds: 200,
      minimumSeconds: 1,
      band: { ...m.preprocessing.band, low: 1e-3, high: 0.1 },
    }),
  'a band from almost nothing': (m) => preprocessing(m, { band: { ...m.preprocessing.band, low: 1e-300 } }),
  'a segment of microseconds': (m) => preprocessing(m, { seconds: 1e-6, minimumSeconds: 1e-7 }),
  'a bound beyond all': (m) => preprocessing(m, { bound: 1e300, rmsLimit: 1e300 }),
  'a factor of almost nothing': (m) => preprocessing(m, { scale: { percentile: 1, factor: 5e-324 } }),
  'an input scale of 1e308': () => ({ inputScale: 1e308 }),
  'an input scale of almost nothing': () => ({ inputScale: 5e-324 }),
  'an input scale that wraps': () => ({ inputScale: 2 ** 200 }),
  'keys for every rotation': (m) => {
    const limbs = m.keys.relinearisation[0].limbs;
    const galois = Array.from({ length: m.parameters.n / 2 }, (_, step) => ({ step, limbs }));
    return { keys: { ...m.keys, galois, gadgets: m.keys.gadgets.filter((g) => g.limbs === limbs) } };
  },
  'a rotation that is none': (m) => ({
    keys: { ...m.keys, galois: m.keys.galois.map((key) => ({ ...key, step: m.parameters.n })) },
  }),
  'a gadget with a digit twice': (m) => ({
    keys: { ...m.keys, gadgets: m.keys.gadgets.map((g) => ({ ...g, digits: [...g.digits, g.digits[0]] })) },
  }),
  'a class that a terminal obeys': (m) => ({ classes: ['\u001b[2J\u202e', ...m.classes.slice(1)] }),
  'a model name that a terminal obeys': (m) => ({ model: { ...m.model, name: '\u001b]0;x\u0007\u202e' } }),
  'a format that a terminal obeys': () => ({ format: '\u001b[2J\u202e' }),
  'an unknown field': () => ({ note: { by: 'somebody' } }),
  'another version': () => ({ version: 2 }),
};

function logOf(primes: number[]): number {
  return primes.reduce((sum, q) => sum + Math.log2(q), 0);
}

function primesAbove(n: number, from: number, count: number): number[] {
  const found: number[] = [];
  for (let q = from - (from % (2 * n)) + 1 + 2 * n; found.length < count; q += 2 * n) {
    let prime = true;
    for (let d = 3; d * d <= q && prime; d += 2) prime = q % d !== 0;
    if (prime) found.push(q);
  }
  return found;
}

function resealed(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return { ...value, planHash: planHashOf(value as Record<string, unknown>) };
}

/** Manifests, of hybrid and per-prime keys, with and without a map. */
export async function openManifests(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-fuzz-'));
  const path = join(folder, 'manifest.json');
  const small = { samples: 64, channels: [2], kernel: 3 };
  const seeds: Manifest[] = [
    compile(randomModel(small)).plan.manifest,
    compile(randomModel({ ...small, channels: [2, 3] }), { outputs: 'scores+map' }).plan.manifest,
    compile(randomModel(small), { keySwitching: 'per-prime' }).plan.manifest,
  ];
  const { mv } = synthesise({ rhythm: 'normal', seconds: 30, rate: RATE, seed: 1 }).leads[0];
  const names = Object.keys(CHANGES);
  const first = [...names, ...SPELLINGS];
  let handles = 0;

  /** What a client does with a manifest before it sends anything. */
  const use = async (manifest: Manifest, seed: Manifest, all: boolean) => {
    const differs = (key: 'preprocessing' | 'parameters' | 'inputScale') =>
      JSON.stringify(manifest[key]) !== JSON.stringify(seed[key]);
    const { samples } = prepared(mv, manifest, all || differs('preprocessing'));
    if (manifest.parameters.n > LARGEST_RING || !(all || differs('parameters') || differs('inputScale')))
      return;
    const client = await openClient(manifest);
    try {
      client.encrypt(client.createSecretKey(), samples);
    } finally {
      client[Symbol.dispose]();
      handles += client.liveHandles;
    }
  };

  const make = (index: number, random: Random, seed: Manifest): { attack: string; bytes: Uint8Array } => {
    const chosen = directed(random, index, first, 0.15);
    if (chosen !== null && chosen in CHANGES)
      return { attack: chosen, bytes: encode(resealed({ ...seed, ...CHANGES[chosen](seed) })) };
    if (chosen !== null) return { attack: chosen, bytes: respell(random, JSON.stringify(seed), chosen) };
    const { value, what } = mutate(random, seed);
    const seal = random.next() < 0.8;
    return {
      attack: `${what}${seal ? '; the hash fits' : ''}`,
      bytes: encode(seal ? safely(resealed, value) : value),
    };
  };

  return {
    trial: (index, random): Trial => {
      const seed = index < first.length ? seeds[0] : pick(random, seeds);
      const { attack, bytes } = make(index, random, seed);
      const value = parsedOrUndefined(bytes);
      const problems = manifestProblems(value);
      const asValue = index >= first.length && random.next() < 0.05;
      const codes = ['FORMAT', 'ECG'];
      const why = problems.length > 0 ? problems[0] : `sound; differs in ${differences(value, seed)}`;
      const must =
        problems.length > 0 ? 'refuse' : JSON.stringify(value) === JSON.stringify(seed) ? 'accept' : 'either';
      const common = { attack, codes, expected: () => ({ must, why }) as const };
      if (asValue)
        return { ...common, format: 'manifest as a value', act: () => opened(value, (n) => (handles += n)) };
      return {
        ...common,
        format: 'manifest',
        act: async () => {
          writeFileSync(path, bytes);
          const read = await readManifest(path);
          // What should have been refused may take for ever.
          if (problems.length === 0) await use(read, seed, random.next() < 0.002);
        },
      };
    },
    control: async () => {
      writeFileSync(path, JSON.stringify(seeds[0]));
      const read = await readManifest(path);
      return JSON.stringify(read) === JSON.stringify(seeds[0]) ? null : 'a good manifest is read otherwise';
    },
    resources: () => ({ handles, kernelBytes: 0 }),
    renew: async () => {},
    close: () => rmSync(folder, { recursive: true }),
  };
}

async function opened(value: unknown, left: (handles: number) => void): Promise<void> {
  const client: Client = await openClient(value);
  client[Symbol.dispose]();
  left(client.liveHandles);
}

/** The segment that a manifest's preprocessing makes of an ECG, finite and within its bounds. */
function prepared(mv: Float64Array, manifest: Manifest, all: boolean): { samples: Float32Array } {
  const p = manifest.preprocessing;
  if (!all) return { samples: new Float32Array(manifest.samples) };
  const { samples } = prepareSegment(mv, RATE, p);
  const square = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
  const sound =
    samples.every((x) => Math.abs(x) <= p.bound * 1.001) && Math.sqrt(square) <= p.rmsLimit * 1.001;
  if (!sound || samples.length !== manifest.samples)
    throw new BlindbeatError('INTERNAL', 'the preprocessing gives samples out of its bounds');
  return { samples };
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(toText(value));
}

/** The fields in which a value differs from its seed. */
function differences(value: unknown, seed: Manifest): string {
  const fields = value as Record<string, unknown>;
  const names = Object.keys(seed).filter(
    (key) => JSON.stringify(fields[key]) !== JSON.stringify(seed[key as 'keys']),
  );
  const unknown = Object.keys(fields).some((key) => !(key in seed)) ? ['unknown fields'] : [];
  return [...names.filter((name) => name !== 'planHash'), ...unknown].join(', ') || 'its spelling';
}

function safely(change: (value: unknown) => unknown, value: unknown): unknown {
  try {
    return change(value);
  } catch {
    return value;
  }
}
