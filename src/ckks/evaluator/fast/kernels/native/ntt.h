// The transforms of ../assembly/ntt.ts, word for word the same results where these are in [0, q). Four layers are done
// at once where blocks are shorter than a vector: the last pass of two layers on blocks of 16 words and the last two
// layers. Tables are those of the WebAssembly kernels, but the last groups have three factors for LANES blocks.

enum { LOOSE, REDUCE, TIGHT };

/** Two layers of a forward transform, on x[0] ... x[3]. */
#define FORWARD_FOUR(MULTIPLY, mode, x, w1, s1, w2, s2, w3, s3)                                                       \
  do {                                                                                                                \
    if (mode == TIGHT) x[0] = below(x[0], q2), x[1] = below(x[1], q2);                                                \
    else if (mode == REDUCE) x[0] = reduceWord(x[0], one, q), x[1] = reduceWord(x[1], one, q);                        \
    x[2] = MULTIPLY(x[2], w1, s1, q);                                                                                 \
    x[3] = MULTIPLY(x[3], w1, s1, q);                                                                                 \
    V y0 = add(x[0], x[2]);                                                                                           \
    const V y1 = add(x[1], x[3]);                                                                                     \
    V y2 = sub(add(x[0], q2), x[2]);                                                                                  \
    const V y3 = sub(add(x[1], q2), x[3]);                                                                            \
    if (mode == TIGHT) y0 = below(y0, q2), y2 = below(y2, q2);                                                        \
    const V v1 = MULTIPLY(y1, w2, s2, q);                                                                             \
    const V v3 = MULTIPLY(y3, w3, s3, q);                                                                             \
    x[0] = add(y0, v1);                                                                                               \
    x[1] = sub(add(y0, q2), v1);                                                                                      \
    x[2] = add(y2, v3);                                                                                               \
    x[3] = sub(add(y2, q2), v3);                                                                                      \
  } while (0)

/** Blocks `first` to `end` of layers m and 2m, whose quarters are whole vectors. */
INLINE void forwardPass(int mode, int shifts, const uint8_t *src, uint8_t *dst, uint32_t n, uint32_t m, uint32_t first,
                        uint32_t end, const uint8_t *table, V q, V q2, V one, V offset) {
  const size_t bytes = n / m; // a quarter of a block: n / 4m words
  const uint8_t *from = src + first * 4 * bytes;
  uint8_t *to = dst + first * 4 * bytes;
  for (uint32_t i = first; i < end; i++, from += 4 * bytes, to += 4 * bytes) {
    const uint32_t *a = (const uint32_t *)(table + (size_t)(m + i) * 8), *b = (const uint32_t *)(table + (size_t)(m + i) * 16);
    const V w1 = splat(a[0]), s1 = splat(a[1]), w2 = splat(b[0]), s2 = splat(b[1]), w3 = splat(b[2]), s3 = splat(b[3]);
    for (size_t at = 0; at < bytes; at += BYTES) {
      V x[4];
      for (int k = 0; k < 4; k++) x[k] = load(from + at + k * bytes);
      if (shifts)
        for (int k = 0; k < 4; k++) x[k] = add(x[k], offset);
      FORWARD_FOUR(multiply, mode, x, w1, s1, w2, s2, w3, s3);
      for (int k = 0; k < 4; k++) store(to + at + k * bytes, x[k]);
    }
  }
}

/** The last four layers of `count` blocks of 16 words from the block `first` on. */
INLINE void forwardLast(int mode, int lastMode, uint8_t *data, uint32_t n, uint32_t first, uint32_t count,
                        const uint8_t *table, V q, V q2, V one) {
  const uint32_t m = n / 16;
  const uint8_t *pairs = table + (size_t)(m + first) * 8, *fours = table + (size_t)(m + first) * 16;
  const uint8_t *group = table + (size_t)n * 2 + (size_t)first * 96;
  data += (size_t)first * 64;
  for (const uint8_t *end = data + (size_t)count * 64; data < end;
       data += 4 * BYTES, pairs += 2 * LANES, fours += BYTES, group += 6 * BYTES) {
    V x[4], w1, s1;
    for (int k = 0; k < 4; k++) x[k] = load(data + k * BYTES);
    exchangeRuns(x);
    spreadPairs(pairs, &w1, &s1);
    const V w = load(fours);
    const V w2 = SPREAD(w, 0), s2 = SPREAD(w, 1), w3 = SPREAD(w, 2), s3 = SPREAD(w, 3);
    FORWARD_FOUR(multiplyEach, mode, x, w1, s1, w2, s2, w3, s3);
    transposeRuns(x);
    FORWARD_FOUR(multiplyEach, lastMode, x, load(group), load(group + BYTES), load(group + 2 * BYTES),
                 load(group + 3 * BYTES), load(group + 4 * BYTES), load(group + 5 * BYTES));
    if (lastMode == TIGHT)
      for (int k = 0; k < 4; k++) x[k] = below(below(x[k], q2), q);
    transposeRuns(x);
    exchangeBack(x);
    for (int k = 0; k < 4; k++) store(data + k * BYTES, x[k]);
  }
}

/** The one layer left over when log2(n) is odd: layer m = 1. */
INLINE void forwardOdd(int mode, const uint8_t *src, uint8_t *dst, uint32_t n, const uint8_t *table, V q, V q2,
                       V offset) {
  const size_t bytes = (size_t)n * 2;
  const V w = splat(((const uint32_t *)table)[2]), s = splat(((const uint32_t *)table)[3]);
  for (size_t at = 0; at < bytes; at += BYTES) {
    V u = add(load(src + at), offset);
    if (mode == TIGHT) u = below(u, q2);
    const V v = multiply(add(load(src + at + bytes), offset), w, s, q);
    store(dst + at, add(u, v));
    store(dst + at + bytes, sub(add(u, q2), v));
  }
}

/** dst = NTT(src + offset) in [0, q), for 2^28 <= q < 2^30; inputs and offset add up to less than 4q. */
static void forwardTight(const uint8_t *src, uint8_t *dst, uint32_t n, const uint8_t *table, uint32_t modulus,
                         uint32_t offset) {
  const V q = splat(modulus), q2 = splat(2 * modulus), shift = splat(offset), none = splat(0);
  uint32_t parts = 4;
  if (__builtin_ctz(n) & 1) {
    forwardOdd(TIGHT, src, dst, n, table, q, q2, shift);
    parts = 2;
  } else forwardPass(TIGHT, 1, src, dst, n, 1, 0, 1, table, q, q2, none, shift);
  // From here on parts do not depend on each other: each is finished while it is in the first-level cache.
  for (uint32_t part = 0; part < parts; part++) {
    for (uint32_t m = parts; m * 16 < n; m *= 4)
      forwardPass(TIGHT, 0, dst, dst, n, m, part * (m / parts), (part + 1) * (m / parts), table, q, q2, none, none);
    forwardLast(TIGHT, TIGHT, dst, n, part * (n / 16 / parts), n / 16 / parts, table, q, q2, none);
  }
}

/** dst = NTT(src + offset), lazy, for q < 2^28; bit k of `reduce` says whether pass k begins with a reduction. */
static void forwardLoose(const uint8_t *src, uint8_t *dst, uint32_t n, const uint8_t *table, uint32_t modulus,
                         uint32_t offset, uint32_t reduce, uint32_t inverse) {
  const V q = splat(modulus), q2 = splat(2 * modulus), shift = splat(offset), none = splat(0), one = splat(inverse);
  uint32_t parts = 4;
  if (__builtin_ctz(n) & 1) {
    forwardOdd(LOOSE, src, dst, n, table, q, q2, shift);
    parts = 2;
  } else if (reduce & 1) forwardPass(REDUCE, 1, src, dst, n, 1, 0, 1, table, q, q2, one, shift);
  else forwardPass(LOOSE, 1, src, dst, n, 1, 0, 1, table, q, q2, one, shift);
  for (uint32_t part = 0; part < parts; part++) {
    uint32_t reduces = reduce >> 1;
    for (uint32_t m = parts; m * 16 < n; m *= 4, reduces >>= 1) {
      const uint32_t first = part * (m / parts), end = first + m / parts;
      if (reduces & 1) forwardPass(REDUCE, 0, dst, dst, n, m, first, end, table, q, q2, one, none);
      else forwardPass(LOOSE, 0, dst, dst, n, m, first, end, table, q, q2, one, none);
    }
    const uint32_t count = n / 16 / parts, first = part * count;
    switch (reduces & 3) {
      case 0: forwardLast(LOOSE, LOOSE, dst, n, first, count, table, q, q2, one); break;
      case 1: forwardLast(REDUCE, LOOSE, dst, n, first, count, table, q, q2, one); break;
      case 2: forwardLast(LOOSE, REDUCE, dst, n, first, count, table, q, q2, one); break;
      case 3: forwardLast(REDUCE, REDUCE, dst, n, first, count, table, q, q2, one); break;
    }
  }
}

/** Two layers of an inverse transform, on x[0] ... x[3]; x[0] and x[1] remain in [0, 4q). */
#define INVERSE_FOUR(MULTIPLY, x, w1, s1, w2, s2, w3, s3)                                                             \
  do {                                                                                                                \
    const V y0 = below(add(x[0], x[1]), q2);                                                                          \
    const V y1 = MULTIPLY(sub(add(x[0], q2), x[1]), w2, s2, q);                                                       \
    const V y2 = below(add(x[2], x[3]), q2);                                                                          \
    const V y3 = MULTIPLY(sub(add(x[2], q2), x[3]), w3, s3, q);                                                       \
    x[0] = add(y0, y2);                                                                                               \
    x[1] = add(y1, y3);                                                                                               \
    x[2] = MULTIPLY(sub(add(y0, q2), y2), w1, s1, q);                                                                 \
    x[3] = MULTIPLY(sub(add(y1, q2), y3), w1, s1, q);                                                                 \
  } while (0)

INLINE void inversePass(int last, uint8_t *data, uint32_t n, uint32_t m, uint32_t first, uint32_t end,
                        const uint8_t *table, V q, V q2, V f, V fs) {
  const size_t bytes = n / m;
  data += first * 4 * bytes;
  for (uint32_t i = first; i < end; i++, data += 4 * bytes) {
    const uint32_t *a = (const uint32_t *)(table + (size_t)(m + i) * 8), *b = (const uint32_t *)(table + (size_t)(m + i) * 16);
    const V w1 = splat(a[0]), s1 = splat(a[1]), w2 = splat(b[0]), s2 = splat(b[1]), w3 = splat(b[2]), s3 = splat(b[3]);
    for (size_t at = 0; at < bytes; at += BYTES) {
      V x[4];
      for (int k = 0; k < 4; k++) x[k] = load(data + at + k * bytes);
      INVERSE_FOUR(multiply, x, w1, s1, w2, s2, w3, s3);
      if (last)
        for (int k = 0; k < 4; k++) x[k] = below(multiply(x[k], f, fs, q), q);
      else x[0] = below(x[0], q2), x[1] = below(x[1], q2);
      for (int k = 0; k < 4; k++) store(data + at + k * bytes, x[k]);
    }
  }
}

/** The first four layers of `count` blocks of 16 words from the block `first` on. */
INLINE void inverseFirst(const uint8_t *src, uint8_t *dst, uint32_t n, uint32_t first, uint32_t count,
                         const uint8_t *table, V q, V q2) {
  const uint32_t m = n / 16;
  const uint8_t *pairs = table + (size_t)(m + first) * 8, *fours = table + (size_t)(m + first) * 16;
  const uint8_t *group = table + (size_t)n * 2 + (size_t)first * 96;
  src += (size_t)first * 64;
  dst += (size_t)first * 64;
  for (const uint8_t *end = src + (size_t)count * 64; src < end;
       src += 4 * BYTES, dst += 4 * BYTES, pairs += 2 * LANES, fours += BYTES, group += 6 * BYTES) {
    V x[4], w1, s1;
    for (int k = 0; k < 4; k++) x[k] = load(src + k * BYTES);
    exchangeRuns(x);
    transposeRuns(x);
    INVERSE_FOUR(multiplyEach, x, load(group), load(group + BYTES), load(group + 2 * BYTES), load(group + 3 * BYTES),
                 load(group + 4 * BYTES), load(group + 5 * BYTES));
    x[0] = below(x[0], q2), x[1] = below(x[1], q2);
    transposeRuns(x);
    spreadPairs(pairs, &w1, &s1);
    const V w = load(fours);
    const V w2 = SPREAD(w, 0), s2 = SPREAD(w, 1), w3 = SPREAD(w, 2), s3 = SPREAD(w, 3);
    INVERSE_FOUR(multiplyEach, x, w1, s1, w2, s2, w3, s3);
    x[0] = below(x[0], q2), x[1] = below(x[1], q2);
    exchangeBack(x);
    for (int k = 0; k < 4; k++) store(dst + k * BYTES, x[k]);
  }
}

/** Values in [0, 2q) to coefficients in [0, q), for any q < 2^30; (scale, scaled) is the factor 1 / n. */
static void inverse(const uint8_t *src, uint8_t *dst, uint32_t n, const uint8_t *table, uint32_t modulus,
                    uint32_t scale, uint32_t scaled) {
  const V q = splat(modulus), q2 = splat(2 * modulus), f = splat(scale), fs = splat(scaled);
  const uint32_t parts = __builtin_ctz(n) & 1 ? 2 : 4;
  for (uint32_t part = 0; part < parts; part++) {
    inverseFirst(src, dst, n, part * (n / 16 / parts), n / 16 / parts, table, q, q2);
    for (uint32_t m = n >> 6; m >= parts; m >>= 2)
      inversePass(0, dst, n, m, part * (m / parts), (part + 1) * (m / parts), table, q, q2, f, fs);
  }
  if (parts == 4) {
    inversePass(1, dst, n, 1, 0, 1, table, q, q2, f, fs);
    return;
  }
  const size_t bytes = (size_t)n * 2;
  const V w = splat(((const uint32_t *)table)[2]), s = splat(((const uint32_t *)table)[3]);
  for (size_t at = 0; at < bytes; at += BYTES) {
    const V u = load(dst + at), v = load(dst + at + bytes);
    store(dst + at, below(multiply(add(u, v), f, fs, q), q));
    store(dst + at + bytes, below(multiply(multiply(sub(add(u, q2), v), w, s, q), f, fs, q), q));
  }
}
