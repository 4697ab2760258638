import { BlindbeatError } from '../../errors.ts';
import { multiplyMod, powerMod } from './modular.ts';

/** Primes stay below 2^30 so that 32-bit lanes can hold lazy sums of residues. */
export const MAX_PRIME_BITS = 30;

const MILLER_RABIN_BASES = [2, 3, 5, 7]; // deterministic below 3,215,031,751 (Jaeschke 1993)

/** Whether the odd number 3 < n < 2^30 is prime. */
export function isPrime(n: number): boolean {
  if (n < 9) return n === 2 || n === 3 || n === 5 || n === 7;
  if (n % 2 === 0 || n % 3 === 0 || n % 5 === 0 || n % 7 === 0) return false;
  let d = n - 1;
  let r = 0;
  while (d % 2 === 0) {
    d /= 2;
    r++;
  }
  return MILLER_RABIN_BASES.every((base) => {
    let x = powerMod(base, d, n);
    if (x === 1 || x === n - 1) return true;
    for (let i = 1; i < r; i++) {
      x = multiplyMod(x, x, n);
      if (x === n - 1) return true;
    }
    return false;
  });
}

/**
 * Distinct primes = 1 mod 2n, one of each wanted bit size, each the largest below 2^bits that is not taken
 * yet.
 *
 * @throws BlindbeatError PLAN when a size has too few such primes.
 */
export function choosePrimes(n: number, bits: number[]): number[] {
  const taken = new Set<number>();
  return bits.map((size) => {
    if (size > MAX_PRIME_BITS) {
      throw new BlindbeatError(
        'PLAN',
        `primes must stay below 2^${MAX_PRIME_BITS}, but one of ${size} bits was asked for`,
      );
    }
    const top = 2 ** size;
    for (let p = top - (top % (2 * n)) + 1; p > top / 2; p -= 2 * n) {
      if (p < top && !taken.has(p) && isPrime(p)) {
        taken.add(p);
        return p;
      }
    }
    throw new BlindbeatError(
      'PLAN',
      `too few primes of ${size} bits are 1 mod ${2 * n}: choose larger primes or mix two sizes`,
    );
  });
}

/**
 * The prime = 1 mod 2n below 2^30 that is nearest to a number on a logarithmic scale and not taken; it is
 * taken then.
 */
export function nearestPrime(n: number, value: number, taken: Set<number>): number {
  const middle = Math.min(2 ** MAX_PRIME_BITS, Math.max(2 ** 16, value));
  const start = middle - (middle % (2 * n)) + 1;
  const usable = (p: number) => !taken.has(p) && isPrime(p);
  let above = start + 2 * n;
  while (above < 2 ** MAX_PRIME_BITS && !usable(above)) above += 2 * n;
  let below = start;
  while (below > 2 ** 16 && !(below < 2 ** MAX_PRIME_BITS && usable(below))) below -= 2 * n;
  if (below <= 2 ** 16 && above >= 2 ** MAX_PRIME_BITS)
    throw new BlindbeatError('PLAN', `too few primes below 2^${MAX_PRIME_BITS} are 1 mod ${2 * n}`);
  const nearer = above < 2 ** MAX_PRIME_BITS && (below <= 2 ** 16 || above / value < value / below);
  const prime = nearer ? above : below;
  taken.add(prime);
  return prime;
}

/** log2 of a product of numbers. */
export function log2Product(factors: number[]): number {
  return factors.reduce((sum, f) => sum + Math.log2(f), 0);
}

/** Bits needed to hold a residue modulo q. */
export function bitLength(q: number): number {
  return 32 - Math.clz32(q - 1);
}
