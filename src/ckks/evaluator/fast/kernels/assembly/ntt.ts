import { below, multiply, reduceWord } from './field';

// Negacyclic number-theoretic transforms in SEAL's order (Longa and Naehrig 2016, algorithms 1 and 2) with
// Harvey's lazy butterflies, two layers a pass. A table holds, for its direction: n / 4 factors [w, w'] in
// bit-reversed order, of which layer m uses m ... 2m - 1; then, for the two layers of the smallest blocks, n
// / 16 groups of three factors for four neighbouring blocks: [w1 x 4][w1' x 4][w2 x 4][w2' x 4][w3 x 4][w3' x
// 4].
//
// Bounds. "Tight" (2^28 <= q < 2^30): values stay in [0, 4q), reduced in every layer. "Loose" (q < 2^28):
// every layer adds 2q to the bound, and only the passes in the bit mask `reduce` begin with a reduction; the
// caller keeps the bound below 2^32.

const LOOSE = 0;
const REDUCE = 1;
const TIGHT = 2;

// Two layers on x0 ... x3 (globals would spill: everything is inlined and stored at once).
// @ts-ignore: decorator
@inline
function forwardFour(
  mode: i32, at0: usize, at1: usize, at2: usize, at3: usize,
  x0: v128, x1: v128, x2: v128, x3: v128,
  w1: v128, s1: v128, w2: v128, s2: v128, w3: v128, s3: v128,
  q: v128, q2: v128, one: v128,
): void {
  if (mode == TIGHT) {
    x0 = below(x0, q2);
    x1 = below(x1, q2);
  } else if (mode == REDUCE) {
    x0 = reduceWord(x0, one, q);
    x1 = reduceWord(x1, one, q);
  }
  x2 = multiply(x2, w1, s1, q);
  x3 = multiply(x3, w1, s1, q);
  let y0 = i32x4.add(x0, x2);
  const y1 = i32x4.add(x1, x3);
  let y2 = i32x4.sub(i32x4.add(x0, q2), x2);
  const y3 = i32x4.sub(i32x4.add(x1, q2), x3);
  if (mode == TIGHT) {
    y0 = below(y0, q2);
    y2 = below(y2, q2);
  }
  const v1 = multiply(y1, w2, s2, q);
  const v3 = multiply(y3, w3, s3, q);
  v128.store(at0, i32x4.add(y0, v1));
  v128.store(at1, i32x4.sub(i32x4.add(y0, q2), v1));
  v128.store(at2, i32x4.add(y2, v3));
  v128.store(at3, i32x4.sub(i32x4.add(y2, q2), v3));
}

/** Blocks `first` to `end` of layers m and 2m. */
// @ts-ignore: decorator
@inline
function forwardPass(
  mode: i32, shifts: bool, src: usize, dst: usize, n: u32, m: u32, first: u32, end: u32,
  table: usize, q: v128, q2: v128, one: v128, offset: v128,
): void {
  const bytes = <usize>n / m; // a quarter of a block: n / 4m words
  let from = src + <usize>first * 4 * bytes;
  let to = dst + <usize>first * 4 * bytes;
  for (let i = first; i < end; i++) {
    const a = table + <usize>(m + i) * 8;
    const b = table + <usize>(m + i) * 16;
    const w1 = v128.load32_splat(a), s1 = v128.load32_splat(a, 4);
    const w2 = v128.load32_splat(b), s2 = v128.load32_splat(b, 4);
    const w3 = v128.load32_splat(b, 8), s3 = v128.load32_splat(b, 12);
    for (const end = from + bytes; from < end; from += 16, to += 16) {
      let x0 = v128.load(from), x1 = v128.load(from + bytes);
      let x2 = v128.load(from + bytes * 2), x3 = v128.load(from + bytes * 3);
      if (shifts) {
        x0 = i32x4.add(x0, offset);
        x1 = i32x4.add(x1, offset);
        x2 = i32x4.add(x2, offset);
        x3 = i32x4.add(x3, offset);
      }
      forwardFour(
        mode, to, to + bytes, to + bytes * 2, to + bytes * 3, x0, x1, x2, x3, w1, s1, w2, s2, w3, s3, q, q2, one,
      );
    }
    from += bytes * 3;
    to += bytes * 3;
  }
}

/** The one layer left over when log2(n) is odd: layer m = 1. */
// @ts-ignore: decorator
@inline
function forwardOdd(mode: i32, src: usize, dst: usize, n: u32, table: usize, q: v128, q2: v128, offset: v128): void {
  const bytes = <usize>n * 2;
  const w = v128.load32_splat(table, 8), s = v128.load32_splat(table, 12);
  for (let at: usize = 0; at < bytes; at += 16) {
    let u = i32x4.add(v128.load(src + at), offset);
    if (mode == TIGHT) u = below(u, q2);
    const v = multiply(i32x4.add(v128.load(src + at + bytes), offset), w, s, q);
    v128.store(dst + at, i32x4.add(u, v));
    v128.store(dst + at + bytes, i32x4.sub(i32x4.add(u, q2), v));
  }
}

/**
 * The last two layers, m = n / 4 and n / 2: four blocks of four values at a time, transposed to lanes and
 * back; `count` times.
 */
// @ts-ignore: decorator
@inline
function forwardLast(
  mode: i32, data: usize, n: u32, first: usize, count: usize, table: usize, q: v128, q2: v128, one: v128,
): void {
  let group = table + <usize>n * 2 + first * 96;
  data += first * 64;
  for (const end = data + count * 64; data < end; data += 64, group += 96) {
    const a = v128.load(data), b = v128.load(data, 16), c = v128.load(data, 32), d = v128.load(data, 48);
    const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    let x0 = v128.shuffle<i64>(ab0, cd0, 0, 2), x1 = v128.shuffle<i64>(ab0, cd0, 1, 3);
    let x2 = v128.shuffle<i64>(ab1, cd1, 0, 2), x3 = v128.shuffle<i64>(ab1, cd1, 1, 3);
    if (mode == TIGHT) {
      x0 = below(x0, q2);
      x1 = below(x1, q2);
    } else if (mode == REDUCE) {
      x0 = reduceWord(x0, one, q);
      x1 = reduceWord(x1, one, q);
    }
    const w1 = v128.load(group), s1 = v128.load(group, 16);
    x2 = multiply(x2, w1, s1, q);
    x3 = multiply(x3, w1, s1, q);
    let y0 = i32x4.add(x0, x2);
    const y1 = i32x4.add(x1, x3);
    let y2 = i32x4.sub(i32x4.add(x0, q2), x2);
    const y3 = i32x4.sub(i32x4.add(x1, q2), x3);
    if (mode == TIGHT) {
      y0 = below(y0, q2);
      y2 = below(y2, q2);
    }
    const v1 = multiply(y1, v128.load(group, 32), v128.load(group, 48), q);
    const v3 = multiply(y3, v128.load(group, 64), v128.load(group, 80), q);
    let z0 = i32x4.add(y0, v1), z1 = i32x4.sub(i32x4.add(y0, q2), v1);
    let z2 = i32x4.add(y2, v3), z3 = i32x4.sub(i32x4.add(y2, q2), v3);
    if (mode == TIGHT) {
      z0 = below(below(z0, q2), q);
      z1 = below(below(z1, q2), q);
      z2 = below(below(z2, q2), q);
      z3 = below(below(z3, q2), q);
    }
    const p0 = v128.shuffle<i32>(z0, z1, 0, 4, 1, 5), p1 = v128.shuffle<i32>(z0, z1, 2, 6, 3, 7);
    const r0 = v128.shuffle<i32>(z2, z3, 0, 4, 1, 5), r1 = v128.shuffle<i32>(z2, z3, 2, 6, 3, 7);
    v128.store(data, v128.shuffle<i64>(p0, r0, 0, 2));
    v128.store(data, v128.shuffle<i64>(p0, r0, 1, 3), 16);
    v128.store(data, v128.shuffle<i64>(p1, r1, 0, 2), 32);
    v128.store(data, v128.shuffle<i64>(p1, r1, 1, 3), 48);
  }
}

/**
 * Coefficients to values for 2^28 <= q < 2^30: dst = NTT(src + offset) in [0, q); inputs and offset add up to
 * less than 4q.
 */
export function forwardTight(src: usize, dst: usize, n: u32, table: usize, modulus: u32, offset: u32): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), add = i32x4.splat(offset), none = i32x4.splat(0);
  let parts: u32 = 4;
  if (ctz(n) & 1) {
    forwardOdd(TIGHT, src, dst, n, table, q, q2, add);
    parts = 2;
  } else forwardPass(TIGHT, true, src, dst, n, 1, 0, 1, table, q, q2, none, add);
  // From here on parts do not depend on each other: each is finished while it is in the first-level cache.
  for (let part: u32 = 0; part < parts; part++) {
    for (let m = parts; m * 4 < n; m *= 4) {
      const blocks = m / parts;
      forwardPass(TIGHT, false, dst, dst, n, m, part * blocks, (part + 1) * blocks, table, q, q2, none, none);
    }
    const groups = n / 16 / parts;
    forwardLast(TIGHT, dst, n, part * groups, groups, table, q, q2, none);
  }
}

/**
 * Coefficients to values for q < 2^28: dst = NTT(src + offset), not fully reduced. Bit k of `reduce` says
 * whether pass k begins with a reduction; `one` is floor(2^32 / q).
 */
export function forwardLoose(src: usize, dst: usize, n: u32, table: usize, modulus: u32, offset: u32, reduce: u32, inverse: u32): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus), add = i32x4.splat(offset), none = i32x4.splat(0);
  const one = i32x4.splat(inverse);
  let parts: u32 = 4;
  if (ctz(n) & 1) {
    forwardOdd(LOOSE, src, dst, n, table, q, q2, add);
    parts = 2;
  } else if (reduce & 1) forwardPass(REDUCE, true, src, dst, n, 1, 0, 1, table, q, q2, one, add);
  else forwardPass(LOOSE, true, src, dst, n, 1, 0, 1, table, q, q2, one, add);
  for (let part: u32 = 0; part < parts; part++) {
    let reduces = reduce >> 1;
    for (let m = parts; m * 4 < n; m *= 4, reduces >>= 1) {
      const first = part * (m / parts), end = first + m / parts;
      if (reduces & 1) forwardPass(REDUCE, false, dst, dst, n, m, first, end, table, q, q2, one, none);
      else forwardPass(LOOSE, false, dst, dst, n, m, first, end, table, q, q2, one, none);
    }
    const groups = n / 16 / parts;
    if (reduces & 1) forwardLast(REDUCE, dst, n, part * groups, groups, table, q, q2, one);
    else forwardLast(LOOSE, dst, n, part * groups, groups, table, q, q2, one);
  }
}

/**
 * Values in [0, 2q) to coefficients in [0, q), for any q < 2^30; (scale, scaled) is the factor 1 / n.
 */
export function inverse(src: usize, dst: usize, n: u32, table: usize, modulus: u32, scale: u32, scaled: u32): void {
  const q = i32x4.splat(modulus), q2 = i32x4.splat(2 * modulus);
  const f = i32x4.splat(scale), fs = i32x4.splat(scaled);
  const parts: u32 = ctz(n) & 1 ? 2 : 4;
  for (let part: u32 = 0; part < parts; part++) {
    const groups = n / 16 / parts;
    inverseFirst(src, dst, n, part * groups, groups, table, q, q2);
    for (let m = n >> 4; m >= parts; m >>= 2) {
      const blocks = m / parts;
      inversePass(false, dst, n, m, part * blocks, (part + 1) * blocks, table, q, q2, f, fs);
    }
  }
  if (parts == 4) {
    inversePass(true, dst, n, 1, 0, 1, table, q, q2, f, fs);
    return;
  }
  const bytes = <usize>n * 2;
  const w = v128.load32_splat(table, 8), s = v128.load32_splat(table, 12);
  for (let at = dst; at < dst + bytes; at += 16) {
    const u = v128.load(at), v = v128.load(at + bytes);
    const x = multiply(i32x4.add(u, v), f, fs, q);
    const y = multiply(multiply(i32x4.sub(i32x4.add(u, q2), v), w, s, q), f, fs, q);
    v128.store(at, below(x, q));
    v128.store(at + bytes, below(y, q));
  }
}

// @ts-ignore: decorator
@inline
function inversePass(
  last: bool, data: usize, n: u32, m: u32, first: u32, end: u32,
  table: usize, q: v128, q2: v128, f: v128, fs: v128,
): void {
  const bytes = <usize>n / m;
  data += <usize>first * 4 * bytes;
  for (let i = first; i < end; i++) {
    const a = table + <usize>(m + i) * 8;
    const b = table + <usize>(m + i) * 16;
    const w1 = v128.load32_splat(a), s1 = v128.load32_splat(a, 4);
    const w2 = v128.load32_splat(b), s2 = v128.load32_splat(b, 4);
    const w3 = v128.load32_splat(b, 8), s3 = v128.load32_splat(b, 12);
    for (const end = data + bytes; data < end; data += 16) {
      const at1 = data + bytes, at2 = at1 + bytes, at3 = at2 + bytes;
      const x0 = v128.load(data), x1 = v128.load(at1), x2 = v128.load(at2), x3 = v128.load(at3);
      const y0 = below(i32x4.add(x0, x1), q2);
      const y1 = multiply(i32x4.sub(i32x4.add(x0, q2), x1), w2, s2, q);
      const y2 = below(i32x4.add(x2, x3), q2);
      const y3 = multiply(i32x4.sub(i32x4.add(x2, q2), x3), w3, s3, q);
      let z0 = i32x4.add(y0, y2);
      let z1 = i32x4.add(y1, y3);
      let z2 = multiply(i32x4.sub(i32x4.add(y0, q2), y2), w1, s1, q);
      let z3 = multiply(i32x4.sub(i32x4.add(y1, q2), y3), w1, s1, q);
      if (last) {
        z0 = below(multiply(z0, f, fs, q), q);
        z1 = below(multiply(z1, f, fs, q), q);
        z2 = below(multiply(z2, f, fs, q), q);
        z3 = below(multiply(z3, f, fs, q), q);
      } else {
        z0 = below(z0, q2);
        z1 = below(z1, q2);
      }
      v128.store(data, z0);
      v128.store(at1, z1);
      v128.store(at2, z2);
      v128.store(at3, z3);
    }
    data += bytes * 3;
  }
}

/**
 * The first two layers, m = n / 2 and n / 4: four blocks of four values at a time, transposed to lanes and
 * back.
 */
// @ts-ignore: decorator
@inline
function inverseFirst(
  src: usize, dst: usize, n: u32, first: usize, count: usize, table: usize, q: v128, q2: v128,
): void {
  let group = table + <usize>n * 2 + first * 96;
  src += first * 64;
  dst += first * 64;
  for (const end = src + count * 64; src < end; src += 64, dst += 64, group += 96) {
    const a = v128.load(src), b = v128.load(src, 16), c = v128.load(src, 32), d = v128.load(src, 48);
    const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    const x0 = v128.shuffle<i64>(ab0, cd0, 0, 2), x1 = v128.shuffle<i64>(ab0, cd0, 1, 3);
    const x2 = v128.shuffle<i64>(ab1, cd1, 0, 2), x3 = v128.shuffle<i64>(ab1, cd1, 1, 3);
    const w1 = v128.load(group), s1 = v128.load(group, 16);
    const y0 = below(i32x4.add(x0, x1), q2);
    const y1 = multiply(i32x4.sub(i32x4.add(x0, q2), x1), v128.load(group, 32), v128.load(group, 48), q);
    const y2 = below(i32x4.add(x2, x3), q2);
    const y3 = multiply(i32x4.sub(i32x4.add(x2, q2), x3), v128.load(group, 64), v128.load(group, 80), q);
    const z0 = below(i32x4.add(y0, y2), q2);
    const z1 = below(i32x4.add(y1, y3), q2);
    const z2 = multiply(i32x4.sub(i32x4.add(y0, q2), y2), w1, s1, q);
    const z3 = multiply(i32x4.sub(i32x4.add(y1, q2), y3), w1, s1, q);
    const p0 = v128.shuffle<i32>(z0, z1, 0, 4, 1, 5), p1 = v128.shuffle<i32>(z0, z1, 2, 6, 3, 7);
    const r0 = v128.shuffle<i32>(z2, z3, 0, 4, 1, 5), r1 = v128.shuffle<i32>(z2, z3, 2, 6, 3, 7);
    v128.store(dst, v128.shuffle<i64>(p0, r0, 0, 2));
    v128.store(dst, v128.shuffle<i64>(p0, r0, 1, 3), 16);
    v128.store(dst, v128.shuffle<i64>(p1, r1, 0, 2), 32);
    v128.store(dst, v128.shuffle<i64>(p1, r1, 1, 3), 48);
  }
}
