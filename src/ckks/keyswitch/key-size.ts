import { packedSize } from '../ring/bit-packing.ts';
import type { Parameters } from '../ring/parameters.ts';
import { bitLength } from '../ring/primes.ts';
import { SEED_SIZE } from '../seal/bytes.ts';
import { type Gadget, moduli, primesOf } from './gadget.ts';
import { type EvaluationKeySet, plannedKeys } from './key-set.ts';

/** Bytes of the bit-packed residues of `limbs` limbs and, for keys, the special prime. */
export function packedPolynomial(parameters: Parameters, primes: number[]): number {
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
export function evaluationKeysSize(parameters: Parameters, keys: EvaluationKeySet): number {
  return plannedKeys(parameters, keys).reduce(
    (sum, { gadget }) => sum + switchingKeySize(parameters, gadget),
    publicKeySize(parameters),
  );
}
