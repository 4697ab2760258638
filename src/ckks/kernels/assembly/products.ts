import { below, multiply, reduceSums } from './field';

/**
 * Removes all but 2^62 + 2^32 of two 64-bit sums each in (low, high), modulo q: word + carry * (2^32 mod q), interleaved.
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
 * The inner products of key switching for one prime: out_k[i] = sum_j digits[j][i] key[i / 4][j][k][i % 4] mod q, k = 0, 1,
 * in [0, q). `digits` points to `count` addresses; the key has room for `stride` digits at each four positions. Sums are
 * folded after every `group` products.
 */
export function switchProducts(
  digits: usize, key: usize, out0: usize, out1: usize, n: u32, count: u32, stride: u32, group: u32,
  modulus: u32, one: u32, carry: u32, carryShoup: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), inverse = i32x4.splat(one);
  const c = i32x4.splat(carry), cs = i32x4.splat(carryShoup), mask = i64x2.splat(0xffffffff);
  const none = i64x2.splat(0);
  const row = <usize>stride * 32;
  const end = digits + <usize>count * 4;
  for (let at: usize = 0; at < <usize>n * 4; at += 16, key += row) {
    let low0 = none, high0 = none, low1 = none, high1 = none;
    let k = key;
    for (let j = digits; ; ) {
      for (const stop = min(end, j + <usize>group * 4); j < stop; j += 4, k += 32) {
        const x = v128.load(<usize>load<u32>(j) + at);
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
    v128.store(out0 + at, reduceSums(low0, high0, c, cs, inverse, q, q2));
    v128.store(out1 + at, reduceSums(low1, high1, c, cs, inverse, q, q2));
  }
}

/**
 * A row group of a convolution for one polynomial modulo one prime: out_o[i] = sum_k columns[k][i] weights[b][k][o] mod q for
 * four outputs o, where b = i / run is the block that i is in. `columns` points to `count` addresses, to each of which
 * `offset` is added. Sums are folded after every `group` products.
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

/** data = data + shift mod q in place, in [0, q): makes the division by q that follows round to nearest. */
export function shift(data: usize, n: u32, value: u32, modulus: u32): void {
  const q = i32x4.splat(modulus), s = i32x4.splat(value);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    v128.store(data + at, below(i32x4.add(v128.load(data + at), s), q));
  }
}

/** out = (a - b) f mod q in [0, q), (f, fs) a factor; b <= bound, a multiple of q with q + bound <= 2^32. */
export function subtractMultiply(
  a: usize, b: usize, out: usize, n: u32, modulus: u32, bound: u32, f: u32, fs: u32,
): void {
  const q = i32x4.splat(modulus), top = i32x4.splat(bound), w = i32x4.splat(f), ws = i32x4.splat(fs);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const difference = i32x4.add(v128.load(a + at), i32x4.sub(top, v128.load(b + at)));
    v128.store(out + at, below(multiply(difference, w, ws, q), q));
  }
}

/** out = addend + (a - b) f mod q, otherwise as `subtractMultiply`. */
export function subtractMultiplyAdd(
  a: usize, b: usize, addend: usize, out: usize, n: u32, modulus: u32, bound: u32, f: u32, fs: u32,
): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus);
  const top = i32x4.splat(bound), w = i32x4.splat(f), ws = i32x4.splat(fs);
  for (let at: usize = 0; at < <usize>n * 4; at += 16) {
    const difference = i32x4.add(v128.load(a + at), i32x4.sub(top, v128.load(b + at)));
    const sum = i32x4.add(v128.load(addend + at), multiply(difference, w, ws, q));
    v128.store(out + at, below(below(sum, q2), q));
  }
}

/** out[i] = a[table[i]]: an automorphism in NTT form. */
export function permute(a: usize, out: usize, n: u32, table: usize): void {
  for (const end = table + <usize>n * 4; table < end; table += 16, out += 16) {
    store<u32>(out, load<u32>(a + (<usize>load<u32>(table) << 2)));
    store<u32>(out, load<u32>(a + (<usize>load<u32>(table, 4) << 2)), 4);
    store<u32>(out, load<u32>(a + (<usize>load<u32>(table, 8) << 2)), 8);
    store<u32>(out, load<u32>(a + (<usize>load<u32>(table, 12) << 2)), 12);
  }
}

/**
 * Writes residues of one digit of a key into its place: key[i / 4][j][k][i % 4] = words[2 i], where `key` is the address for
 * digit j and polynomial k, `words` are 64-bit residues as SEAL saves them, and `stride` digits lie between positions.
 */
export function placeKey(words: usize, key: usize, n: u32, stride: u32): void {
  for (const end = words + <usize>n * 8; words < end; words += 32, key += <usize>stride * 32) {
    v128.store(key, v128.shuffle<i32>(v128.load(words), v128.load(words, 16), 0, 2, 4, 6));
  }
}
