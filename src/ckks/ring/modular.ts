/**
 * Arithmetic modulo primes below 2^30, in plain numbers: for planning, weights and single limbs, not for the
 * hot path.
 */

/**
 * `a * b mod q` for 0 <= a, b < q < 2^30. The quotient estimated in floating point is off by at most one,
 * so the remainder computed modulo 2^32 is exact after one correction.
 */
export function multiplyMod(a: number, b: number, q: number): number {
  const quotient = Math.floor((a * b) / q);
  let r = (Math.imul(a, b) - Math.imul(quotient, q)) | 0;
  if (r < 0) r += q;
  else if (r >= q) r -= q;
  return r;
}

/** `base^exponent mod q` for a non-negative integer exponent. */
export function powerMod(base: number, exponent: number, q: number): number {
  let result = 1;
  for (let b = base % q, e = exponent; e > 0; e = Math.floor(e / 2), b = multiplyMod(b, b, q)) {
    if (e % 2 === 1) result = multiplyMod(result, b, q);
  }
  return result;
}

/** Inverse of `a` modulo the prime q (Fermat). */
export function inverseMod(a: number, q: number): number {
  return powerMod(a, q - 2, q);
}

/** `x mod q` in [0, q) for any integer |x| < 2^53. */
export function reduce(x: number, q: number): number {
  const r = x % q;
  return r < 0 ? r + q : r;
}

/** Index with its lowest `bits` bits reversed: bitReverse(0b001, 3) = 0b100. */
export function bitReverse(index: number, bits: number): number {
  let r = 0;
  for (let i = 0; i < bits; i++) r |= ((index >> i) & 1) << (bits - 1 - i);
  return r;
}

/** The indices below n, a power of two, each with its bits reversed. */
export function bitReversal(n: number): Uint32Array {
  const out = new Uint32Array(n);
  for (let i = 1; i < n; i++) out[i] = (out[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
  return out;
}
