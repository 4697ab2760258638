/**
 * SEAL's `divide_uint128_uint64_inplace_generic` (native/src/seal/util/uintarith.cpp): numerator /
 * denominator, both words of the quotient to `quotient`, the remainder to `numerator`. SEAL divides bit by
 * bit; this takes 32 bits at a time (Knuth, The Art of Computer Programming 2, 4.3.1, algorithm D).
 *
 * @param numerator address of 128 bits, the low word first
 * @param denominator not 0
 * @param quotient address of 128 bits
 */
export function divide(numerator: usize, denominator: u64, quotient: usize): void {
  const high = load<u64>(numerator, 8);
  let low = load<u64>(numerator);
  store<u64>(quotient, high / denominator, 8);
  // The rest is (high mod denominator : low) / denominator, one word. The denominator's highest bit is
  // shifted up.
  const shift = clz(denominator);
  const d = denominator << shift;
  let rest = ((high % denominator) << shift) | ((low >> 1) >> (63 - shift));
  low <<= shift;
  const first = digit(rest, low >> 32, d);
  rest = ((rest << 32) | (low >> 32)) - first * d;
  const second = digit(rest, low & 0xffffffff, d);
  rest = ((rest << 32) | (low & 0xffffffff)) - second * d;
  store<u64>(quotient, (first << 32) | second);
  store<u64>(numerator, rest >> shift);
  store<u64>(numerator, 0, 8);
}

/**
 * The digit of 32 bits (rest : next) / d, for rest < d: estimated from d's upper half, too large by two at
 * most.
 */
// @ts-ignore: decorator
@inline
function digit(rest: u64, next: u64, d: u64): u64 {
  const upper = d >> 32;
  let q = rest / upper;
  let r = rest % upper;
  while (q >> 32 != 0 || q * (d & 0xffffffff) > ((r << 32) | next)) {
    q--;
    r += upper;
    if (r >> 32 != 0) break;
  }
  return q;
}
