import { below, multiply, reduceSums } from './field';

/**
 * Removes all but 2^62 + 2^32 of two 64-bit sums each in (low, high), modulo q: word + carry * (2^32 mod q),
 * interleaved.
 */
// @ts-ignore: decorator
@inline
function foldLow(low: v128, high: v128, c: v128, mask: v128): v128 {
  const carries = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
  return i64x2.add(v128.and(low, mask), i64x2.extmul_low_i32x4_u(carries, c));
}

// @ts-ignore: decorator
@inline
function foldHigh(low: v128, high: v128, c: v128, mask: v128): v128 {
  const carries = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
  return i64x2.add(v128.and(high, mask), i64x2.extmul_high_i32x4_u(carries, c));
}

/**
 * The inner products of key switching for one prime and one or two ciphertexts: out_k[i] = start_k[i] + sum_j
 * digit_j[i] key[i / 4][j][k][i % 4] mod q, k = 0, 1, in [0, q). Digit 0 of ciphertext A is at `firstA`, the
 * others at `restA`, `step` bytes apart; likewise B, which is left out where `firstB` is 0. `start` is 0 or
 * the address of [n / 4][2][4] residues. The key has room for `stride` digits at each four positions. Sums
 * are folded after every `group` (>= 2) products.
 */
export function switchProducts(
  firstA: usize, restA: usize, firstB: usize, restB: usize, step: usize, key: usize, start: usize,
  outA0: usize, outA1: usize, outB0: usize, outB1: usize, n: u32, count: u32, stride: u32, group: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  if (firstB) {
    switchBoth(
      true, firstA, restA, firstB, restB, step, key, start, outA0, outA1, outB0, outB1, n, count, stride, group,
      modulus, one, carry, carryShoup,
    );
  } else {
    switchBoth(
      false, firstA, restA, 0, 0, step, key, start, outA0, outA1, 0, 0, n, count, stride, group,
      modulus, one, carry, carryShoup,
    );
  }
}

// @ts-ignore: decorator
@inline
function switchBoth(
  two: bool, firstA: usize, restA: usize, firstB: usize, restB: usize, step: usize, key: usize, start: usize,
  outA0: usize, outA1: usize, outB0: usize, outB1: usize, n: u32, count: u32, stride: u32, group: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup), mask = i64x2.splat(0xffffffff);
  const row = <usize>stride * 32;
  const other = restB - restA;
  let low2 = i64x2.splat(0), high2 = low2, low3 = low2, high3 = low2;
  for (let at: usize = 0; at < <usize>n * 4; at += 16, key += row) {
    let x = v128.load(firstA + at);
    let a = v128.load(key), b = v128.load(key, 16);
    let low0 = i64x2.extmul_low_i32x4_u(x, a), high0 = i64x2.extmul_high_i32x4_u(x, a);
    let low1 = i64x2.extmul_low_i32x4_u(x, b), high1 = i64x2.extmul_high_i32x4_u(x, b);
    if (two) {
      x = v128.load(firstB + at);
      low2 = i64x2.extmul_low_i32x4_u(x, a);
      high2 = i64x2.extmul_high_i32x4_u(x, a);
      low3 = i64x2.extmul_low_i32x4_u(x, b);
      high3 = i64x2.extmul_high_i32x4_u(x, b);
    }
    if (start) {
      const s0 = v128.load(start), s1 = v128.load(start, 16);
      start += 32;
      const e0 = i64x2.extend_low_i32x4_u(s0), f0 = i64x2.extend_high_i32x4_u(s0);
      const e1 = i64x2.extend_low_i32x4_u(s1), f1 = i64x2.extend_high_i32x4_u(s1);
      low0 = i64x2.add(low0, e0);
      high0 = i64x2.add(high0, f0);
      low1 = i64x2.add(low1, e1);
      high1 = i64x2.add(high1, f1);
      if (two) {
        low2 = i64x2.add(low2, e0);
        high2 = i64x2.add(high2, f0);
        low3 = i64x2.add(low3, e1);
        high3 = i64x2.add(high3, f1);
      }
    }
    let k = key + 32;
    const end = key + <usize>count * 32;
    let digit = restA + at;
    for (let stop = min(end, key + <usize>group * 32); ; stop = min(end, k + <usize>group * 32)) {
      for (; k < stop; k += 32, digit += step) {
        x = v128.load(digit);
        a = v128.load(k);
        b = v128.load(k, 16);
        low0 = i64x2.add(low0, i64x2.extmul_low_i32x4_u(x, a));
        high0 = i64x2.add(high0, i64x2.extmul_high_i32x4_u(x, a));
        low1 = i64x2.add(low1, i64x2.extmul_low_i32x4_u(x, b));
        high1 = i64x2.add(high1, i64x2.extmul_high_i32x4_u(x, b));
        if (two) {
          x = v128.load(digit + other);
          low2 = i64x2.add(low2, i64x2.extmul_low_i32x4_u(x, a));
          high2 = i64x2.add(high2, i64x2.extmul_high_i32x4_u(x, a));
          low3 = i64x2.add(low3, i64x2.extmul_low_i32x4_u(x, b));
          high3 = i64x2.add(high3, i64x2.extmul_high_i32x4_u(x, b));
        }
      }
      if (k >= end) break;
      const l0 = low0, l1 = low1;
      low0 = foldLow(l0, high0, c, mask);
      high0 = foldHigh(l0, high0, c, mask);
      low1 = foldLow(l1, high1, c, mask);
      high1 = foldHigh(l1, high1, c, mask);
      if (two) {
        const l2 = low2, l3 = low3;
        low2 = foldLow(l2, high2, c, mask);
        high2 = foldHigh(l2, high2, c, mask);
        low3 = foldLow(l3, high3, c, mask);
        high3 = foldHigh(l3, high3, c, mask);
      }
    }
    v128.store(outA0 + at, reduceSums(low0, high0, c, cs, inverse, q, q2));
    v128.store(outA1 + at, reduceSums(low1, high1, c, cs, inverse, q, q2));
    if (two) {
      v128.store(outB0 + at, reduceSums(low2, high2, c, cs, inverse, q, q2));
      v128.store(outB1 + at, reduceSums(low3, high3, c, cs, inverse, q, q2));
    }
  }
}

/**
 * The constant part of a rotation's inner products for one prime: out[i / 4][k][i % 4] = -f[i] sum_j
 * factors[j] key[i / 4][j][k][i % 4] mod q in [0, q), for `count` digits; `factors` and `f` below q.
 */
export function switchStart(
  key: usize, factors: usize, f: usize, out: usize, n: u32, count: u32, stride: u32, group: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup), mask = i64x2.splat(0xffffffff);
  const none = i64x2.splat(0);
  const row = <usize>stride * 32;
  const end = factors + <usize>count * 4;
  for (const last = f + <usize>n * 4; f < last; f += 16, out += 32, key += row) {
    let low0 = none, high0 = none, low1 = none, high1 = none;
    let k = key;
    for (let j = factors; ; ) {
      for (const stop = min(end, j + <usize>group * 4); j < stop; j += 4, k += 32) {
        const x = v128.load32_splat(j);
        const a = v128.load(k), b = v128.load(k, 16);
        low0 = i64x2.add(low0, i64x2.extmul_low_i32x4_u(x, a));
        high0 = i64x2.add(high0, i64x2.extmul_high_i32x4_u(x, a));
        low1 = i64x2.add(low1, i64x2.extmul_low_i32x4_u(x, b));
        high1 = i64x2.add(high1, i64x2.extmul_high_i32x4_u(x, b));
      }
      if (j >= end) break;
      const l0 = low0, l1 = low1;
      low0 = foldLow(l0, high0, c, mask);
      high0 = foldHigh(l0, high0, c, mask);
      low1 = foldLow(l1, high1, c, mask);
      high1 = foldHigh(l1, high1, c, mask);
    }
    const y = v128.load(f);
    const p0 = product(reduceSums(low0, high0, c, cs, inverse, q, q2), y, c, cs, inverse, q, q2);
    const p1 = product(reduceSums(low1, high1, c, cs, inverse, q, q2), y, c, cs, inverse, q, q2);
    v128.store(out, below(i32x4.sub(q, p0), q));
    v128.store(out, below(i32x4.sub(q, p1), q), 16);
  }
}

/**
 * A row group of a convolution for one polynomial modulo one prime: out_o[i] = sum_k columns[k][i]
 * weights[b][k][o] mod q for four outputs o, where b = i / run is the block that i is in. `columns` points to
 * `count` addresses, to each of which `offset` is added. Sums are folded after every `group` products.
 */
export function periodicProducts(
  columns: usize, offset: usize, weights: usize, out0: usize, out1: usize, out2: usize, out3: usize,
  n: u32, run: u32, count: u32, group: u32, modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup), mask = i64x2.splat(0xffffffff);
  const none = i64x2.splat(0);
  const block = <usize>count * 16;
  const end = columns + <usize>count * 4;
  let at = offset;
  let to: usize = 0;
  for (const last = <usize>n * 4; to < last; weights += block) {
    for (const stopRun = to + <usize>run * 4; to < stopRun; to += 16, at += 16) {
      let low0 = none, high0 = none, low1 = none, high1 = none;
      let low2 = none, high2 = none, low3 = none, high3 = none;
      let w = weights;
      for (let k = columns; ; ) {
        for (const stop = min(end, k + <usize>group * 4); k < stop; k += 4, w += 16) {
          const x = v128.load(<usize>load<u32>(k) + at);
          const w0 = v128.load32_splat(w), w1 = v128.load32_splat(w, 4);
          low0 = i64x2.add(low0, i64x2.extmul_low_i32x4_u(x, w0));
          high0 = i64x2.add(high0, i64x2.extmul_high_i32x4_u(x, w0));
          low1 = i64x2.add(low1, i64x2.extmul_low_i32x4_u(x, w1));
          high1 = i64x2.add(high1, i64x2.extmul_high_i32x4_u(x, w1));
          const w2 = v128.load32_splat(w, 8), w3 = v128.load32_splat(w, 12);
          low2 = i64x2.add(low2, i64x2.extmul_low_i32x4_u(x, w2));
          high2 = i64x2.add(high2, i64x2.extmul_high_i32x4_u(x, w2));
          low3 = i64x2.add(low3, i64x2.extmul_low_i32x4_u(x, w3));
          high3 = i64x2.add(high3, i64x2.extmul_high_i32x4_u(x, w3));
        }
        if (k >= end) break;
        const l0 = low0, l1 = low1, l2 = low2, l3 = low3;
        low0 = foldLow(l0, high0, c, mask);
        high0 = foldHigh(l0, high0, c, mask);
        low1 = foldLow(l1, high1, c, mask);
        high1 = foldHigh(l1, high1, c, mask);
        low2 = foldLow(l2, high2, c, mask);
        high2 = foldHigh(l2, high2, c, mask);
        low3 = foldLow(l3, high3, c, mask);
        high3 = foldHigh(l3, high3, c, mask);
      }
      v128.store(out0 + to, reduceSums(low0, high0, c, cs, inverse, q, q2));
      v128.store(out1 + to, reduceSums(low1, high1, c, cs, inverse, q, q2));
      v128.store(out2 + to, reduceSums(low2, high2, c, cs, inverse, q, q2));
      v128.store(out3 + to, reduceSums(low3, high3, c, cs, inverse, q, q2));
    }
  }
}

/** The square of (c0, c1) in NTT form modulo one prime: c0^2, 2 c0 c1, c1^2, all in [0, q). */
export function square(
  c0: usize, c1: usize, out0: usize, out1: usize, out2: usize, n: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const a = v128.load(c0 + at), b = v128.load(c1 + at);
    const b2 = i32x4.add(b, b);
    v128.store(out0 + at, product(a, a, c, cs, inverse, q, q2));
    v128.store(out1 + at, product(a, b2, c, cs, inverse, q, q2));
    v128.store(out2 + at, product(b, b, c, cs, inverse, q, q2));
  }
}

/**
 * The product of (a0, a1) and (b0, b1) in NTT form modulo one prime: a0 b0, a0 b1 + a1 b0, a1 b1, all in [0,
 * q).
 */
export function multiplyPairs(
  a0: usize, a1: usize, b0: usize, b1: usize, out0: usize, out1: usize, out2: usize, n: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const x0 = v128.load(a0 + at), x1 = v128.load(a1 + at), y0 = v128.load(b0 + at), y1 = v128.load(b1 + at);
    v128.store(out0 + at, product(x0, y0, c, cs, inverse, q, q2));
    const low = i64x2.add(i64x2.extmul_low_i32x4_u(x0, y1), i64x2.extmul_low_i32x4_u(x1, y0));
    const high = i64x2.add(i64x2.extmul_high_i32x4_u(x0, y1), i64x2.extmul_high_i32x4_u(x1, y0));
    v128.store(out1 + at, reduceSums(low, high, c, cs, inverse, q, q2));
    v128.store(out2 + at, product(x1, y1, c, cs, inverse, q, q2));
  }
}

// @ts-ignore: decorator
@inline
function product(a: v128, b: v128, c: v128, cs: v128, one: v128, q: v128, q2: v128): v128 {
  return reduceSums(
    i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b), c, cs, one, q, q2,
  );
}

/** out = a + b mod q; all in [0, q). */
export function add(a: usize, b: usize, out: usize, n: u32, modulus: u32): void {
  const q = i32x4.splat(modulus);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    v128.store(out + at, below(i32x4.add(v128.load(a + at), v128.load(b + at)), q));
  }
}

/** out = a + the periodic plaintext whose block b = i / run is values[b]; all in [0, q). */
export function addPeriodic(a: usize, values: usize, out: usize, n: u32, run: u32, modulus: u32): void {
  const q = i32x4.splat(modulus);
  let at: usize = 0;
  for (; at < <usize>n * 4; values += 4) {
    const w = v128.load32_splat(values);
    for (const stop = at + <usize>run * 4; at < stop; at += 16) {
      v128.store(out + at, below(i32x4.add(v128.load(a + at), w), q));
    }
  }
}

/**
 * Residues modulo another prime q: out[i] = start + sum_k src_k[i] w_k mod q in [0, 2q), for `count`
 * polynomials `step` bytes apart, whose values may be any words; `factors` points to pairs w_k, w_k'. `start`
 * is below q, n a multiple of 16.
 */
export function convertBase(
  src: usize, step: usize, factors: usize, count: u32, start: u32, out: usize, n: u32, modulus: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), first = i32x4.splat(start);
  const end = factors + <usize>count * 8;
  for (const last = src + <usize>n * 4; src < last; src += 64, out += 64) {
    let a = first, b = first, c = first, d = first;
    for (let f = factors, x = src; f < end; f += 8, x += step) {
      const w = v128.load32_splat(f), ws = v128.load32_splat(f, 4);
      a = below(i32x4.add(a, multiply(v128.load(x), w, ws, q)), q2);
      b = below(i32x4.add(b, multiply(v128.load(x, 16), w, ws, q)), q2);
      c = below(i32x4.add(c, multiply(v128.load(x, 32), w, ws, q)), q2);
      d = below(i32x4.add(d, multiply(v128.load(x, 48), w, ws, q)), q2);
    }
    v128.store(out, a);
    v128.store(out, b, 16);
    v128.store(out, c, 32);
    v128.store(out, d, 48);
  }
}

/** data = data + shift mod q in place, in [0, q): makes the division by q that follows round to nearest. */
export function shift(data: usize, n: u32, value: u32, modulus: u32): void {
  const q = i32x4.splat(modulus), s = i32x4.splat(value);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    v128.store(data + at, below(i32x4.add(v128.load(data + at), s), q));
  }
}

/**
 * The end of a division by a dropped prime: addend + (a - b) f mod q in [0, q), (f, fs) a factor, b <= bound,
 * a multiple of q with q + bound <= 2^32. `addend` may be 0 for nothing; with a `table` (see `placeKey`; 0
 * for none) an automorphism is applied to the outcome.
 */
export function modDown(
  a: usize, b: usize, addend: usize, table: usize, out: usize, n: u32, modulus: u32, bound: u32, f: u32, fs: u32,
): void {
  if (addend) {
    if (table) modDownInto(true, true, a, b, addend, table, out, n, modulus, bound, f, fs);
    else modDownInto(true, false, a, b, addend, table, out, n, modulus, bound, f, fs);
  } else if (table) modDownInto(false, true, a, b, addend, table, out, n, modulus, bound, f, fs);
  else modDownInto(false, false, a, b, addend, table, out, n, modulus, bound, f, fs);
}

// @ts-ignore: decorator
@inline
function modDownInto(
  adds: bool, permutes: bool, a: usize, b: usize, addend: usize, table: usize, out: usize, n: u32,
  modulus: u32, bound: u32, f: u32, fs: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus);
  const top = i32x4.splat(bound), w = i32x4.splat(f), ws = i32x4.splat(fs);
  let entry = table + PATTERNS;
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const difference = i32x4.add(v128.load(a + at), i32x4.sub(top, v128.load(b + at)));
    let x = multiply(difference, w, ws, q);
    if (adds) x = below(i32x4.add(v128.load(addend + at), x), q2);
    x = below(x, q);
    if (permutes) {
      v128.store(out + place(entry), v128.swizzle(x, pattern(table, entry)));
      entry += 4;
    } else v128.store(out + at, x);
  }
}

// An automorphism in NTT form moves aligned groups of four and permutes within them. Its table: four patterns
// of 16 byte indices, then for each group the byte offset that it moves to, plus the number of its pattern.

const PATTERNS: usize = 64;

// @ts-ignore: decorator
@inline
function place(entry: usize): usize {
  return <usize>load<u32>(entry) & ~15;
}

// @ts-ignore: decorator
@inline
function pattern(table: usize, entry: usize): v128 {
  return v128.load(table + ((<usize>load<u32>(entry) & 15) << 4));
}

/**
 * out = plus + a under the automorphism of a `table`, mod q, all in [0, q); `plus` may be 0 for nothing, or
 * `out`.
 */
export function automorphism(a: usize, table: usize, plus: usize, out: usize, n: u32, modulus: u32): void {
  const q = i32x4.splat(modulus);
  let entry = table + PATTERNS;
  for (const end = a + <usize>n * 4; a < end; a += 16, entry += 4) {
    const at = place(entry);
    let x = v128.swizzle(v128.load(a), pattern(table, entry));
    if (plus) x = below(i32x4.add(x, v128.load(plus + at)), q);
    v128.store(out + at, x);
  }
}

/** out = a, n words. */
export function copy(a: usize, out: usize, n: u32): void {
  memory.copy(out, a, <usize>n * 4);
}

/** flag = 1 if one of n residues is zero. */
export function findZero(a: usize, n: u32, flag: usize): void {
  let all = i32x4.splat(-1);
  for (const end = a + <usize>n * 4; a < end; a += 16) all = i32x4.min_u(all, v128.load(a));
  if (!i32x4.all_true(all)) store<u32>(flag, 1);
}

/** out = a, but the prime instead of 0 where `marks` is 1. */
export function fillZeros(a: usize, marks: usize, out: usize, n: u32, modulus: u32): void {
  const q = i32x4.splat(modulus), none = i32x4.splat(0);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const x = v128.load(a + at);
    const fill = v128.and(i32x4.eq(x, none), i32x4.mul(v128.load(marks + at), q));
    v128.store(out + at, v128.or(x, fill));
  }
}

/**
 * Writes residues of one digit of a key into its place: key[i / 4][j][k][i % 4] = residues[i], where `key` is
 * the address for digit j and polynomial k, and `stride` digits lie between positions. With a `table` (0 for
 * none) an automorphism is applied on the way.
 */
export function placeKey(residues: usize, key: usize, n: u32, stride: u32, table: usize): void {
  let at: usize = 0;
  let entry = table + PATTERNS;
  for (const end = residues + <usize>n * 4; residues < end; residues += 16, at += 16, entry += 4) {
    const x = v128.load(residues);
    if (table) v128.store(key + (place(entry) << 1) * stride, v128.swizzle(x, pattern(table, entry)));
    else v128.store(key + (at << 1) * stride, x);
  }
}
