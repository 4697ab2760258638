import type { Parameters } from '../ring/parameters.ts';
import { type Gadget, gadgetProblems, KEY_SWITCHINGS, type KeySwitching, sealGadget } from './gadget.ts';

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

/** All that is wrong with a list of keys. */
export function keyProblems({ keys, parameters }: { keys: KeySet; parameters: Parameters }): string[] {
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
export function keySetProblems({ switching, gadgets, relinearisation, galois }: KeySet): string[] {
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
