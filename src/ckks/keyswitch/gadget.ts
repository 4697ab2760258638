import type * as v from 'valibot';
import { list, record, wholeNumber } from '../../schema.ts';
import { allPrimes, MAX_PRIMES, type Parameters, specialIndex } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';

/** How keys switch: hybrid keys of our own, with several primes to a digit, or per-prime keys, as SEAL's are. */
export const KEY_SWITCHINGS = ['hybrid', 'per-prime'] as const;
/** One of `KEY_SWITCHINGS`. */
export type KeySwitching = (typeof KEY_SWITCHINGS)[number];

/** The schema of `Gadget`. */
export const GadgetSchema = record({
  /** Limbs of the ciphertexts. */
  limbs: wholeNumber(1, MAX_PRIMES),
  /** The data primes of each digit. */
  digits: list(list(wholeNumber(0, MAX_PRIMES), MAX_PRIMES, 1), MAX_PRIMES, 1),
  /** The special primes. */
  special: list(wholeNumber(0, MAX_PRIMES), MAX_PRIMES, 1),
});

/**
 * How ciphertexts of a number of limbs are decomposed when their key is switched (hybrid key switching: Han
 * and Ki 2020, eprint 2019/688, section 3): into digits modulo the product Q_j of each group of primes; keys
 * are modulo the data primes and the special ones, by whose product P the outcome is divided. Primes are
 * given by their place in `allPrimes`. Spare primes and data primes that were dropped serve as special ones
 * too, so a key for few limbs may have few, long digits.
 */
export type Gadget = v.InferOutput<typeof GadgetSchema>;

/** SEAL's: a digit for each prime, one special prime. */
export function perPrimeGadget(parameters: Parameters, limbs: number): Gadget {
  return { limbs, digits: Array.from({ length: limbs }, (_, i) => [i]), special: [specialIndex(parameters)] };
}

/** The gadget by which its keys serve ciphertexts of fewer limbs: what is left of its digits. */
export function restrict({ digits, special }: Gadget, limbs: number): Gadget {
  const left = digits.map((group) => group.filter((i) => i < limbs)).filter((group) => group.length > 0);
  return { limbs, digits: left, special };
}

/** The gadgets of hybrid keys by what they are for; per-prime keys have none listed. */
export interface LevelGadgets {
  rotation: Gadget[];
  relinearisation: Gadget[];
}

/** What serves ciphertexts of a number of limbs: of those that have as many or more, the one with fewest. */
export function serving<T>(all: T[], limbs: number, limbsOf: (t: T) => number): T | undefined {
  return all
    .filter((t) => limbsOf(t) >= limbs)
    .reduce<T | undefined>((least, t) => (least && limbsOf(least) <= limbsOf(t) ? least : t), undefined);
}

/** The primes that a gadget's keys are modulo, by their index: the data primes, then the special ones. */
export function moduli({ limbs, special }: Gadget): number[] {
  return [...Array.from({ length: limbs }, (_, i) => i), ...special];
}

/** Values of gadgets' primes. */
export function primesOf(parameters: Parameters, indices: number[]): number[] {
  const all = allPrimes(parameters);
  return indices.map((i) => all[i]);
}

/**
 * Standard deviation of what switching adds to each coefficient, before the division's rounding, in units of
 * sigma sqrt(n): a digit's terms are centred, sum_j |group_j| (Q_j / P)^2 / 12. SEAL's digits are not: its
 * mean square is q^2 / 3.
 */
export function gadgetNoise(parameters: Parameters, { digits, special }: Gadget): number {
  const logP = log2Product(primesOf(parameters, special));
  return Math.sqrt(
    digits.reduce(
      (sum, group) => sum + (group.length * 4 ** (log2Product(primesOf(parameters, group)) - logP)) / 12,
      0,
    ),
  );
}

/** The same for per-prime keys. */
function perPrimeNoise({ primes, special }: Parameters, limbs: number): number {
  return Math.sqrt(primes.slice(0, limbs).reduce((sum, q) => sum + (q / special) ** 2 / 3, 0));
}

/**
 * The gadgets worth considering for a number of limbs: for every number of special primes, the longest of
 * those that are free, as few digits as keep the noise at SEAL's, their sizes balanced.
 */
export function gadgets(parameters: Parameters, limbs: number): Gadget[] {
  const last = specialIndex(parameters);
  const all = allPrimes(parameters);
  const longestFirst = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, k) => from + k).sort((a, b) => all[b] - all[a]);
  const free = longestFirst(limbs, last);
  const data = longestFirst(0, limbs);
  const limit = Math.max(
    perPrimeNoise(parameters, limbs),
    perPrimeNoise({ ...parameters, primes: [parameters.special] }, 1),
  );
  return [0, ...free].map((_, k) => {
    const special = [last, ...free.slice(0, k)];
    for (let d = 1; d < limbs; d++) {
      const gadget = { limbs, digits: balance(data, all, d), special };
      if (gadgetNoise(parameters, gadget) <= limit) return gadget;
    }
    return { limbs, digits: data.map((i) => [i]).sort(([a], [b]) => a - b), special };
  });
}

/** Distributes primes over `count` groups, the longest first, each to the group with the smallest product. */
function balance(primes: number[], all: number[], count: number): number[][] {
  const groups = Array.from({ length: count }, () => ({ log: 0, primes: [] as number[] }));
  for (const i of primes) {
    const smallest = groups.reduce((least, group) => (group.log < least.log ? group : least));
    smallest.primes.push(i);
    smallest.log += Math.log2(all[i]);
  }
  // Digits that lower levels lack come last: see `restrict`.
  return groups.map((group) => group.primes.sort((a, b) => a - b)).sort(([a], [b]) => a - b);
}

/**
 * All that is wrong with a gadget of sound structure: its digits are the data primes, its special primes
 * others.
 *
 * @param last place of the special prime
 */
export function gadgetProblems({ limbs, digits, special }: Gadget, last: number): string[] {
  const problems: string[] = [];
  if (digits.some((group, j) => j > 0 && Math.min(...group) < Math.min(...digits[j - 1])))
    problems.push('the digits of a gadget are not in the order of their first primes');
  const data = digits.flat().sort((a, b) => a - b);
  if (data.length !== limbs || data.some((i, k) => i !== k))
    problems.push(`the digits of a gadget of ${limbs} limbs are not these limbs, each once`);
  if (new Set(special).size !== special.length || special.some((i) => i < limbs || i > last))
    problems.push(`the special primes of a gadget of ${limbs} limbs are not distinct primes beside them`);
  return problems;
}
