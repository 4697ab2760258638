// Arithmetic modulo q < 2^30 on four 32-bit lanes. "Factor" means a constant w in [0, q) together with its
// Shoup companion w' = floor(2^32 w / q) (Shoup's NTL; Harvey, "Faster arithmetic for number-theoretic
// transforms", 2014, algorithm 2).

/** a w mod q in [0, 2q), for any a < 2^32. */
// @ts-ignore: decorator
@inline
export function multiply(a: v128, w: v128, ws: v128, q: v128): v128 {
  const quotient = v128.shuffle<i32>(
    i64x2.extmul_low_i32x4_u(a, ws),
    i64x2.extmul_high_i32x4_u(a, ws),
    1, 3, 5, 7,
  );
  return i32x4.sub(i32x4.mul(a, w), i32x4.mul(quotient, q));
}

/** a mod q in [0, 2q), for any a < 2^32; `one` is floor(2^32 / q). */
// @ts-ignore: decorator
@inline
export function reduceWord(a: v128, one: v128, q: v128): v128 {
  const quotient = v128.shuffle<i32>(
    i64x2.extmul_low_i32x4_u(a, one),
    i64x2.extmul_high_i32x4_u(a, one),
    1, 3, 5, 7,
  );
  return i32x4.sub(a, i32x4.mul(quotient, q));
}

/** a - m where a >= m, otherwise a. */
// @ts-ignore: decorator
@inline
export function below(a: v128, m: v128): v128 {
  return i32x4.min_u(a, i32x4.sub(a, m));
}

/**
 * The four 64-bit sums in (low, high) mod q in [0, q); (c, cs) is the factor 2^32 mod q, `one` is floor(2^32
 * / q).
 */
// @ts-ignore: decorator
@inline
export function reduceSums(low: v128, high: v128, c: v128, cs: v128, one: v128, q: v128, q2: v128): v128 {
  const words = v128.shuffle<i32>(low, high, 0, 2, 4, 6);
  const carries = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
  const sum = i32x4.add(multiply(carries, c, cs, q), reduceWord(words, one, q));
  return below(below(sum, q2), q);
}
