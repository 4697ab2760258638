import type * as v from 'valibot';
import { choice, list, record, wholeNumber } from '../../schema.ts';
import { MAX_PRIMES, type Parameters, specialIndex } from '../ring/parameters.ts';
import { type Gadget, GadgetSchema, gadgetProblems, type KeySwitching, perPrimeGadget } from './gadget.ts';

/** More rotation keys than any plan has: six blocks of degree 16 with a gigabyte of keys have 97. */
const MAX_ROTATION_KEYS = 512;

/** More slots than any ring degree has. */
const MOST_SLOTS = 2 ** 14;

/** The words for kinds of key switching in format version 1 of the manifest, whose hash covers them. */
export const SWITCHING_WORDS = { hybrid: 'grouped', 'per-prime': 'seal' } as const satisfies Record<
  KeySwitching,
  string
>;

/** The schema of `EvaluationKeySet`. */
export const EvaluationKeySetSchema = record({
  /** `switchingOf` says it in today's words. */
  switching: choice(Object.values(SWITCHING_WORDS)),
  /** One for each number of limbs that hybrid keys have; empty for per-prime keys. */
  gadgets: list(GadgetSchema, MAX_PRIMES),
  relinearisation: list(record({ limbs: wholeNumber(1, MAX_PRIMES) }), MAX_PRIMES),
  galois: list(
    record({ step: wholeNumber(0, MOST_SLOTS - 1), limbs: wholeNumber(1, MAX_PRIMES) }),
    MAX_ROTATION_KEYS,
  ),
});

/**
 * The key-switching keys of a plan. Of the keys of one step, or of relinearisation, the one with fewest limbs
 * that has as many as a ciphertext serves it. Step 0 is the complex conjugation.
 */
export type EvaluationKeySet = v.InferOutput<typeof EvaluationKeySetSchema>;

/** How a plan's keys switch. */
export function switchingOf({ switching }: EvaluationKeySet): KeySwitching {
  return switching === SWITCHING_WORDS.hybrid ? 'hybrid' : 'per-prime';
}

/** A key to make: `step` is null for relinearisation. */
export interface PlannedKey {
  step: number | null;
  gadget: Gadget;
}

/** The key-switching keys in the order of their file. */
export function plannedKeys(parameters: Parameters, keys: EvaluationKeySet): PlannedKey[] {
  const gadget = (limbs: number) =>
    keys.gadgets.find((g) => g.limbs === limbs) ?? perPrimeGadget(parameters, limbs);
  return [
    ...keys.relinearisation.map(({ limbs }) => ({ step: null, gadget: gadget(limbs) })),
    ...keys.galois.map(({ step, limbs }) => ({ step, gadget: gadget(limbs) })),
  ];
}

/** The keys in a file of evaluation keys: those for switching, and the public key. */
export function keyCount({ relinearisation, galois }: EvaluationKeySet): number {
  return relinearisation.length + galois.length + 1;
}

/** All that is wrong with a list of keys of sound structure. */
export function keyProblems({
  keys,
  parameters,
}: {
  keys: EvaluationKeySet;
  parameters: Parameters;
}): string[] {
  const primes = parameters.primes.length;
  const problems = (['gadgets', 'relinearisation', 'galois'] as const).flatMap((name) =>
    keys[name].flatMap(({ limbs }, i) =>
      limbs >= 1 && limbs <= primes
        ? []
        : [`keys.${name}[${i}].limbs: a key of ${limbs} limbs does not fit ${primes} primes`],
    ),
  );
  if (problems.length > 0) return problems;
  keys.gadgets.forEach((gadget, i) => {
    problems.push(
      ...gadgetProblems(gadget, specialIndex(parameters)).map((problem) => `keys.gadgets[${i}]: ${problem}`),
    );
  });
  problems.push(...keySetProblems(keys).map((problem) => `keys: ${problem}`));
  if (parameters.spare && switchingOf(keys) === 'per-prime')
    problems.push('parameters.spare: per-prime keys have no spare primes');
  keys.galois.forEach(({ step }, i) => {
    if (step < 0 || step >= parameters.n / 2)
      problems.push(`keys.galois[${i}].step: a rotation by ${step} slots does not exist`);
  });
  return problems;
}

/** Whether the lists fit the kind of key switching. */
function keySetProblems(keys: EvaluationKeySet): string[] {
  const { gadgets, relinearisation, galois } = keys;
  const problems: string[] = [];
  const twice = (names: (string | number)[]) => new Set(names).size !== names.length;
  if (twice(gadgets.map(({ limbs }) => limbs))) problems.push('a gadget is listed twice');
  const levels = new Set([...relinearisation, ...galois].map(({ limbs }) => limbs));
  if (switchingOf(keys) === 'per-prime') {
    if (gadgets.length > 0) problems.push('per-prime keys have no gadgets');
    if (relinearisation.length !== 1) problems.push('there is one per-prime relinearisation key');
    if (twice(galois.map(({ step }) => step))) problems.push('a rotation key is listed twice');
  } else {
    const listed = new Set(gadgets.map(({ limbs }) => limbs));
    if (listed.size !== levels.size || [...levels].some((limbs) => !listed.has(limbs)))
      problems.push('hybrid keys need a gadget for each number of limbs that they have, and no others');
    if (twice(relinearisation.map(({ limbs }) => limbs)))
      problems.push('a relinearisation key is listed twice');
    if (twice(galois.map(({ step, limbs }) => `${step}:${limbs}`)))
      problems.push('a rotation key is listed twice');
  }
  return problems;
}
