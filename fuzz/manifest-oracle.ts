/** What a manifest must be for a client to take it, written a second time; imports nothing of the product. */
import { layoutOf, type PlanFields, planHashOf, sizeOf } from './oracles.ts';

/** Largest log2 of all primes' product at 128-bit security, by ring degree (eprint 2024/463, table 5.2). */
const SECURE: Record<number, number> = { 4096: 106, 8192: 214, 16384: 430, 32768: 868 };
/** No server can hold more: WebAssembly addresses that many bytes. */
const MOST_KEY_BYTES = 2 ** 32;

/** What the rules are about, once it is known that it is there. */
interface Fields extends PlanFields {
  format: unknown;
  version: unknown;
  model: { name: unknown; fingerprint: unknown };
  classes: unknown[];
  samples: number;
  preprocessing: Settings & { samples: number };
  parameters: PlanFields['parameters'] & { logQP: number; security: unknown };
  inputScale: number;
  scoreBound: number;
  scoreLimit: number;
  checks?: { rhythm: unknown; seed: number; scores: number[] }[];
  keys: PlanFields['keys'] & { switching: unknown };
  reply: PlanFields['reply'] & { scale: number; offset: number; map?: Record<MapField, number> };
}

type MapField = 'windows' | 'width' | 'hop' | 'positions' | 'interleave';

/** Settings of the preprocessing. */
interface Settings {
  version: unknown;
  seconds: number;
  minimumSeconds: number;
  samples: number;
  band: { low: number; lowOrder: number; high: number; highOrder: number };
  scale: { percentile: number; factor: number };
  bound: number;
  rmsLimit: number;
}

/** The rules that a value breaks; none for a manifest that is sound. */
export function manifestProblems(value: unknown): string[] {
  try {
    return problems(value as Fields);
  } catch {
    return ['structure: a field is missing or of another type'];
  }
}

function problems(m: Fields): string[] {
  const { n, primes, spare = [], special, logQP, security } = m.parameters;
  const all = [...primes, ...spare, special];
  const slots = n / 2;
  const rules: [string, boolean][] = [
    ['format and version', m.format === 'blindbeat manifest' && m.version === 1],
    ['the model has a name and a fingerprint', text(m.model.name) && text(m.model.fingerprint)],
    ['ring degree', typeof n === 'number' && SECURE[n] !== undefined],
    ['primes: distinct, prime, 1 mod 2n, 17 to 30 bits', soundPrimes(all, n)],
    ['spare primes: absent or some', m.parameters.spare === undefined || spare.length > 0],
    ['security: 128 bits', security === 128 && logOf(all) <= SECURE[n] && near(logQP, logOf(all), 1e-6)],
    ['classes: 2 or more different texts', soundClasses(m.classes)],
    ['group: the smallest power of two that holds the classes', m.reply.group === powerFor(m.classes.length)],
    ['samples: they fill the slots', whole(m.samples, 1, slots) && slots % m.samples === 0],
    ['samples: those of the preprocessing', m.preprocessing.samples === m.samples],
    ...preprocessingRules(m.preprocessing),
    ['offset: below the slots', whole(m.reply.offset, 0, slots - 1)],
    ['outputs and map belong together', m.outputs === (m.reply.map ? 'scores+map' : 'scores')],
    ['map: its windows are in the slots', !m.reply.map || soundMap(m.reply.map, slots)],
    ['input scale: values fit the primes', fits(m.inputScale, m.preprocessing.bound, primes)],
    ['reply scale: 10 to 30 bits', m.reply.scale >= 2 ** 10 && m.reply.scale <= 2 ** 30],
    ['score bound: the room under the last prime', isRoom(m.scoreBound, primes[0], m.reply.scale)],
    ['score limit: at most a quarter of the bound', m.scoreLimit > 0 && m.scoreLimit <= m.scoreBound / 4],
    ['check values: of ECGs that can be made, one score below the limit for every class', soundChecks(m)],
    ['keys: each fits the primes, once', soundKeys(m)],
    ['keys: no more bytes than a server can hold', soundKeys(m) && keyBytes(m) <= MOST_KEY_BYTES],
    ['hash: that of the content', m.planHash === planHashOf(m as unknown as Record<string, unknown>)],
  ];
  return rules.filter(([, holds]) => !holds).map(([rule]) => rule);
}

function soundChecks({ checks = [], classes, scoreLimit }: Fields): boolean {
  return (
    checks.length <= 100 &&
    checks.every(
      ({ rhythm, seed, scores }) =>
        ['normal', 'af', 'ectopic', 'noise'].includes(String(rhythm)) &&
        whole(seed, 0, 2 ** 32 - 1) &&
        scores.length === classes.length &&
        scores.every((score) => Number.isFinite(score) && Math.abs(score) <= scoreLimit),
    )
  );
}

/** What settings of the preprocessing must be. */
export function preprocessingRules(p: Settings): [string, boolean][] {
  const { low, lowOrder, high, highOrder } = p.band;
  const rate = p.samples / p.seconds;
  const order = (k: number) => whole(k, 2, 16) && k % 2 === 0;
  return [
    ['preprocessing: version 1', p.version === 1],
    [
      'preprocessing: seconds',
      positive(p.seconds) && positive(p.minimumSeconds) && p.minimumSeconds <= p.seconds,
    ],
    ['preprocessing: band below half the rate', positive(low) && low < high && high < rate / 2],
    ['preprocessing: orders', order(lowOrder) && order(highOrder)],
    [
      'preprocessing: percentile and factor',
      p.scale.percentile >= 0 && p.scale.percentile < 50 && positive(p.scale.factor),
    ],
    ['preprocessing: bound and rms', positive(p.bound) && positive(p.rmsLimit)],
  ];
}

/** A finite number above 0. */
export function positive(x: unknown): boolean {
  return typeof x === 'number' && Number.isFinite(x) && x > 0;
}

/** A whole number within bounds. */
export function whole(x: unknown, least: number, most: number): x is number {
  return typeof x === 'number' && Number.isInteger(x) && x >= least && x <= most;
}

/** A text of at least one character. */
export function text(x: unknown): x is string {
  return typeof x === 'string' && x.length > 0;
}

/** At least two different texts, at most 1024. */
export function soundClasses(names: unknown[]): boolean {
  const some = Array.isArray(names) && names.length >= 2 && names.length <= 1024;
  return some && names.every(text) && new Set(names).size === names.length;
}

function near(a: number, b: number, by: number): boolean {
  return typeof a === 'number' && Math.abs(a - b) < by;
}

function powerFor(count: number): number {
  let power = 1;
  while (power < count) power *= 2;
  return power;
}

function logOf(primes: number[]): number {
  return primes.reduce((sum, q) => sum + Math.log2(q), 0);
}

function soundPrimes(all: number[], n: number): boolean {
  const distinct = all.length >= 2 && all.length <= 65 && new Set(all).size === all.length;
  return distinct && all.every((q) => whole(q, 2 ** 16, 2 ** 30) && q % (2 * n) === 1 && isPrime(q));
}

/** By trial division: 2^15 steps at most. */
function isPrime(q: number): boolean {
  for (let d = 2; d * d <= q; d++) if (q % d === 0) return false;
  return q > 1;
}

function soundMap(map: Record<MapField, number>, slots: number): boolean {
  const { windows, width, hop, positions, interleave } = map;
  const counts = [windows, width, hop, positions, interleave].every((x) => whole(x, 1, slots));
  return counts && windows * hop <= positions && positions * interleave <= slots;
}

/** Values up to `bound` at this scale are less than half of the primes' product, and more than nothing. */
function fits(scale: number, bound: number, primes: number[]): boolean {
  return positive(scale) && scale >= 2 ** 10 && Math.log2(scale * bound) < logOf(primes) - 1;
}

function isRoom(bound: number, prime: number, scale: number): boolean {
  return positive(bound) && near(bound / (prime / (2 * scale)), 1, 1e-9);
}

function soundKeys({ keys, parameters: { n, primes, spare } }: Fields): boolean {
  const limbs = (x: unknown) => whole(x, 1, primes.length);
  const { gadgets, relinearisation, galois, switching } = keys;
  const levels = [...relinearisation, ...galois].map((key) => key.limbs);
  const listed = gadgets.map((g) => g.limbs);
  const once = (names: unknown[]) => new Set(names).size === names.length;
  if (![...levels, ...listed].every(limbs) || !once(listed)) return false;
  if (!galois.every(({ step }) => whole(step, 0, n / 2 - 1))) return false;
  if (!once(relinearisation.map((key) => key.limbs))) return false;
  if (!once(galois.map(({ step, limbs: l }) => (switching === 'seal' ? step : `${step} ${l}`)))) return false;
  if (switching === 'seal') return !spare && gadgets.length === 0 && relinearisation.length === 1;
  if (switching !== 'grouped') return false;
  const same = new Set(levels).size === listed.length && levels.every((level) => listed.includes(level));
  return same && gadgets.every((gadget) => soundGadget(gadget, primes.length + (spare ?? []).length));
}

function soundGadget({ limbs, digits, special }: Fields['keys']['gadgets'][number], last: number): boolean {
  const data = digits.flat().sort((a, b) => a - b);
  const partition =
    data.length === limbs && data.every((x, i) => x === i) && digits.every((d) => d.length > 0);
  const beside = special.length > 0 && special.every((i) => whole(i, limbs, last));
  return partition && beside && new Set(special).size === special.length;
}

function keyBytes(m: Fields): number {
  return layoutOf('evaluation keys', m).reduce((sum, part) => sum + sizeOf(part), 0);
}
