import type * as v from 'valibot';
import { choice, list, record, wholeNumber } from '../../schema.ts';
import { MAX_PRIMES, type Parameters } from '../ring/parameters.ts';
import { type Gadget, GadgetSchema, gadgetProblems, KEY_SWITCHINGS, sealGadget } from './gadget.ts';

/** More rotation keys than any plan has: the shipped one has 43. */
const MAX_ROTATION_KEYS = 65536;

/**
 * The key-switching keys of a plan. Of the keys of one step, or of relinearisation, the one with fewest limbs that has as many as a
 * ciphertext serves it. Step 0 is the complex conjugation.
 */
export const KeySetSchema = record({
  switching: choice(KEY_SWITCHINGS),
  /** One for each number of limbs that grouped keys have; empty for SEAL's kind. */
  gadgets: list(GadgetSchema, MAX_PRIMES),
  relinearisation: list(record({ limbs: wholeNumber(1, MAX_PRIMES) }), MAX_PRIMES),
  galois: list(
    record({ step: wholeNumber(0, 2 ** 24), limbs: wholeNumber(1, MAX_PRIMES) }),
    MAX_ROTATION_KEYS,
  ),
});
export type KeySet = v.InferOutput<typeof KeySetSchema>;

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

/** All that is wrong with a list of keys of sound structure. */
export function keyProblems({ keys, parameters }: { keys: KeySet; parameters: Parameters }): string[] {
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
    problems.push(...gadgetProblems(gadget, primes).map((problem) => `keys.gadgets[${i}]: ${problem}`));
  });
  problems.push(...keySetProblems(keys).map((problem) => `keys: ${problem}`));
  keys.galois.forEach(({ step }, i) => {
    if (step < 0 || step >= parameters.n / 2)
      problems.push(`keys.galois[${i}].step: a rotation by ${step} slots does not exist`);
  });
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
