import { bitLength, isPrime, log2Product, MAX_PRIME_BITS } from './primes.ts';
/**
 * Largest log2(Q P) at 128-bit security for a uniform ternary secret, by ring degree
 * (Bossuat et al. 2024, Security Guidelines for Implementing Homomorphic Encryption, eprint 2024/463, table 5.2;
 * a little below SEAL's own limits).
 */
export const MAX_LOG_QP: Readonly<Record<number, number>> = {
  4096: 106,
  8192: 214,
  16384: 430,
  32768: 868,
};

/** CKKS parameters: the ring degree and the chain of primes. */
export interface Parameters {
  /** Ring degree N; a ciphertext has N / 2 slots. */
  n: number;
  /** The data primes q_0, q_1, ...; a ciphertext at l limbs is modulo the first l. Rescaling drops the last. */
  primes: number[];
  /** The key-switching prime P. */
  special: number;
  /** log2 of the product of all primes: what security depends on. */
  logQP: number;
  /** Classical security in bits. Always 128. */
  security: 128;
}

/** All primes of a chain in SEAL's order. */
export function allPrimes({ primes, special }: Parameters): number[] {
  return [...primes, special];
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

/** Ring degree, bits of all primes (the special one last), their product, security: for --json. */
export function parametersJson(parameters: Parameters) {
  const { n, logQP, security } = parameters;
  return { n, primeBits: allPrimes(parameters).map(bitLength), logQP, security };
}
