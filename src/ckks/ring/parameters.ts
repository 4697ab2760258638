import * as v from 'valibot';
import { list, number, record, wholeNumber } from '../../schema.ts';
import { bitLength, isPrime, log2Product, MAX_PRIME_BITS } from './primes.ts';

/**
 * Largest log2(Q P) at 128-bit security for a uniform ternary secret, by ring degree (Bossuat et al. 2024,
 * Security Guidelines for Implementing Homomorphic Encryption, eprint 2024/463, table 5.2; a little below
 * SEAL's own limits).
 */
export const MAX_LOG_QP: Readonly<Record<number, number>> = {
  4096: 106,
  8192: 214,
  16384: 430,
  32768: 868,
};

/** More data primes than the largest log2(Q P) above has room for. */
export const MAX_PRIMES = 64;

/** The schema of `Parameters`. */
export const ParametersSchema = record({
  /** Ring degree N; a ciphertext has N / 2 slots. */
  n: wholeNumber(1, 2 ** 24),
  /**
   * The data primes q_0, q_1, ...; a ciphertext at l limbs is modulo the first l. Rescaling drops the last.
   */
  primes: list(wholeNumber(2, 2 ** MAX_PRIME_BITS), MAX_PRIMES, 1),
  /** More special primes, for hybrid keys alone: no ciphertext is ever modulo one of them. */
  spare: v.optional(list(wholeNumber(2, 2 ** MAX_PRIME_BITS), MAX_PRIMES, 1)),
  /** The special prime: the last of all primes, and the only one of per-prime keys. */
  special: wholeNumber(2, 2 ** MAX_PRIME_BITS),
  /** log2 of the product of all primes: what security depends on. */
  logQP: number(),
  /** Classical security in bits. Always 128. */
  security: v.literal(128, '128'),
});

/** CKKS parameters: the ring degree and the chain of primes. */
export type Parameters = v.InferOutput<typeof ParametersSchema>;

/** All primes of a chain in SEAL's order: the data primes, the spare ones, the special one. */
export function allPrimes({ primes, spare = [], special }: Omit<Parameters, 'logQP' | 'security'>): number[] {
  return [...primes, ...spare, special];
}

/** The place of the special prime among all. */
export function specialIndex({ primes, spare = [] }: Pick<Parameters, 'primes' | 'spare'>): number {
  return primes.length + spare.length;
}

/** All that is wrong with CKKS parameters of sound structure; 128-bit security is not negotiable. */
export function parameterProblems(parameters: Parameters): string[] {
  const { n, primes, logQP } = parameters;
  const bound = MAX_LOG_QP[n];
  if (bound === undefined)
    return [`parameters.n: ring degree ${n} is none of ${Object.keys(MAX_LOG_QP).join(', ')}`];
  const problems: string[] = [];
  const all = allPrimes(parameters);
  if (new Set(all).size !== all.length) problems.push('parameters.primes: the primes are not distinct');
  all.forEach((q, i) => {
    if (q >= 2 ** 16 && q < 2 ** MAX_PRIME_BITS && q % (2 * n) === 1 && isPrime(q)) return;
    const beside = i < all.length - 1 ? `spare[${i - primes.length}]` : 'special';
    const name = i < primes.length ? `primes[${i}]` : beside;
    problems.push(
      `parameters.${name}: ${q} is no prime = 1 mod ${2 * n} between 2^16 and 2^${MAX_PRIME_BITS}`,
    );
  });
  const log = log2Product(all);
  if (!(log <= bound)) {
    problems.push(
      `parameters: log2(QP) = ${log.toFixed(1)} is above ${bound}, ` +
        `the limit for 128-bit security at n = ${n}`,
    );
  }
  if (!(Math.abs(logQP - log) < 1e-6))
    problems.push(`parameters.logQP: ${logQP}, but the primes' is ${log.toFixed(6)}`);
  return problems;
}

/** Ring degree, bits of all primes (the special ones last), their product, security: for --json. */
export function parametersJson(parameters: Parameters) {
  const { n, logQP, security } = parameters;
  return { n, primeBits: allPrimes(parameters).map(bitLength), logQP, security };
}
