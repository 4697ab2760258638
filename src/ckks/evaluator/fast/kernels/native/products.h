// The kernels of ../assembly/products.ts, where each is described. A key has LANES positions where that of the
// WebAssembly kernels has four: [n / LANES][digit][2 polynomials][LANES].

/** The inner products of one or two polynomials' digits with a key. */
INLINE void switchBoth(int two, const uint8_t *firstA, const uint8_t *restA, const uint8_t *firstB, const uint8_t *restB,
                       size_t step, const uint8_t *key, const uint8_t *start, uint8_t *outA0, uint8_t *outA1,
                       uint8_t *outB0, uint8_t *outB1, uint32_t n, uint32_t count, uint32_t stride, uint32_t group,
                       Modulus m) {
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES, key += (size_t)stride * 2 * BYTES) {
    V x = load(firstA + at), a = load(key), b = load(key + BYTES);
    Sums a0 = product64(x, a), a1 = product64(x, b), b0 = a0, b1 = a1;
    if (two) {
      x = load(firstB + at);
      b0 = product64(x, a);
      b1 = product64(x, b);
    }
    if (start) {
      const V s0 = load(start), s1 = load(start + BYTES), mask = splat64(0xffffffff);
      const Sums t0 = {and(s0, mask), odd(s0)}, t1 = {and(s1, mask), odd(s1)};
      start += 2 * BYTES;
      a0 = plus(a0, t0);
      a1 = plus(a1, t1);
      if (two) {
        b0 = plus(b0, t0);
        b1 = plus(b1, t1);
      }
    }
    const uint8_t *k = key + 2 * BYTES, *digit = restA + at;
    const uint8_t *digitB = restB + at;
    for (uint32_t left = count - 1, room = group - 1;; room = group) {
      const uint32_t turn = left < room ? left : room;
      for (uint32_t j = 0; j < turn; j++, k += 2 * BYTES, digit += step, digitB += step) {
        x = load(digit);
        a = load(k);
        b = load(k + BYTES);
        a0 = plus(a0, product64(x, a));
        a1 = plus(a1, product64(x, b));
        if (two) {
          x = load(digitB);
          b0 = plus(b0, product64(x, a));
          b1 = plus(b1, product64(x, b));
        }
      }
      left -= turn;
      if (left == 0) break;
      a0 = fold(a0, m);
      a1 = fold(a1, m);
      if (two) {
        b0 = fold(b0, m);
        b1 = fold(b1, m);
      }
    }
    store(outA0 + at, reduceSums(a0, m));
    store(outA1 + at, reduceSums(a1, m));
    if (two) {
      store(outB0 + at, reduceSums(b0, m));
      store(outB1 + at, reduceSums(b1, m));
    }
  }
}

static void switchProducts(const uint8_t *firstA, const uint8_t *restA, const uint8_t *firstB, const uint8_t *restB,
                           size_t step, const uint8_t *key, const uint8_t *start, uint8_t *outA0, uint8_t *outA1,
                           uint8_t *outB0, uint8_t *outB1, uint32_t n, uint32_t count, uint32_t stride, uint32_t group,
                           Modulus m) {
  if (firstB)
    switchBoth(1, firstA, restA, firstB, restB, step, key, start, outA0, outA1, outB0, outB1, n, count, stride, group,
               m);
  else
    switchBoth(0, firstA, restA, firstA, restA, step, key, start, outA0, outA1, outA0, outA1, n, count, stride, group,
               m);
}

static void switchStart(const uint8_t *key, const uint32_t *factors, const uint8_t *f, uint8_t *out, uint32_t n,
                        uint32_t count, uint32_t stride, uint32_t group, Modulus m) {
  const V none = splat(0);
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES, out += 2 * BYTES, key += (size_t)stride * 2 * BYTES) {
    Sums s0 = {none, none}, s1 = s0;
    const uint8_t *k = key;
    for (uint32_t j = 0; j < count;) {
      const uint32_t stop = count - j < group ? count : j + group;
      for (; j < stop; j++, k += 2 * BYTES) {
        const V x = splat(factors[j]);
        s0 = plus(s0, product64(x, load(k)));
        s1 = plus(s1, product64(x, load(k + BYTES)));
      }
      if (j < count) {
        s0 = fold(s0, m);
        s1 = fold(s1, m);
      }
    }
    const V y = load(f + at);
    store(out, below(sub(m.q, reduceSums(product64(reduceSums(s0, m), y), m)), m.q));
    store(out + BYTES, below(sub(m.q, reduceSums(product64(reduceSums(s1, m), y), m)), m.q));
  }
}

/** One vector of four outputs of a convolution. */
INLINE void periodicVector(const uint8_t *base, const uint32_t *columns, size_t at, const uint32_t *weights,
                           uint32_t count, uint32_t group, Modulus m, V out[4]) {
  const V none = splat(0);
  Sums s0 = {none, none}, s1 = s0, s2 = s0, s3 = s0;
  for (uint32_t k = 0; k < count;) {
    const uint32_t stop = count - k < group ? count : k + group;
    for (; k < stop; k++, weights += 4) {
      const V x = load(base + columns[k] + at), y = odd(x);
      // Only the lower halves of 64-bit lanes are multiplied.
      const V w0 = splat(weights[0]), w1 = splat(weights[1]), w2 = splat(weights[2]), w3 = splat(weights[3]);
      s0 = plus(s0, (Sums){products(x, w0), products(y, w0)});
      s1 = plus(s1, (Sums){products(x, w1), products(y, w1)});
      s2 = plus(s2, (Sums){products(x, w2), products(y, w2)});
      s3 = plus(s3, (Sums){products(x, w3), products(y, w3)});
    }
    if (k < count) {
      s0 = fold(s0, m);
      s1 = fold(s1, m);
      s2 = fold(s2, m);
      s3 = fold(s3, m);
    }
  }
  out[0] = reduceSums(s0, m);
  out[1] = reduceSums(s1, m);
  out[2] = reduceSums(s2, m);
  out[3] = reduceSums(s3, m);
}

/** Blocks shorter than a vector are done in whole vectors, of which `run` words are kept. */
static void periodicProducts(const uint8_t *base, const uint32_t *columns, size_t offset, const uint32_t *weights,
                             uint8_t *const outputs[4], uint32_t n, uint32_t run, uint32_t count, uint32_t group,
                             Modulus m) {
  V out[4];
  for (size_t to = 0; to < (size_t)n * 4; weights += 4 * count) {
    const size_t stop = to + (size_t)run * 4;
    for (; to + BYTES <= stop; to += BYTES) {
      periodicVector(base, columns, offset + to, weights, count, group, m, out);
      for (int o = 0; o < 4; o++) store(outputs[o] + to, out[o]);
    }
    if (to == stop) continue;
    periodicVector(base, columns, offset + to, weights, count, group, m, out);
    for (int o = 0; o < 4; o++) memcpy(outputs[o] + to, &out[o], stop - to);
    to = stop;
  }
}

static void square(const uint8_t *c0, const uint8_t *c1, uint8_t *out0, uint8_t *out1, uint8_t *out2, uint32_t n,
                   Modulus m) {
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) {
    const V a = load(c0 + at), b = load(c1 + at);
    store(out0 + at, reduceSums(product64(a, a), m));
    store(out1 + at, reduceSums(product64(a, add(b, b)), m));
    store(out2 + at, reduceSums(product64(b, b), m));
  }
}

static void multiplyPairs(const uint8_t *a0, const uint8_t *a1, const uint8_t *b0, const uint8_t *b1, uint8_t *out0,
                          uint8_t *out1, uint8_t *out2, uint32_t n, Modulus m) {
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) {
    const V x0 = load(a0 + at), x1 = load(a1 + at), y0 = load(b0 + at), y1 = load(b1 + at);
    store(out0 + at, reduceSums(product64(x0, y0), m));
    store(out1 + at, reduceSums(plus(product64(x0, y1), product64(x1, y0)), m));
    store(out2 + at, reduceSums(product64(x1, y1), m));
  }
}

static void addResidues(const uint8_t *a, const uint8_t *b, uint8_t *out, uint32_t n, V q) {
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) store(out + at, below(add(load(a + at), load(b + at)), q));
}

static void addPeriodic(const uint8_t *a, const uint32_t *values, uint8_t *out, uint32_t n, uint32_t run,
                        uint32_t modulus) {
  if (run % LANES == 0) {
    const V q = splat(modulus);
    for (size_t at = 0; at < (size_t)n * 4; values++) {
      const V w = splat(*values);
      for (const size_t stop = at + (size_t)run * 4; at < stop; at += BYTES)
        store(out + at, below(add(load(a + at), w), q));
    }
    return;
  }
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t sum = ((const uint32_t *)a)[i] + values[i / run];
    ((uint32_t *)out)[i] = sum < modulus ? sum : sum - modulus;
  }
}

static void convertBase(const uint8_t *src, size_t step, const uint32_t *factors, uint32_t count, uint32_t start,
                        uint8_t *out, uint32_t n, uint32_t modulus) {
  const V q = splat(modulus), q2 = splat(2 * modulus);
  for (size_t at = 0; at < (size_t)n * 4; at += 4 * BYTES) {
    V sums[4];
    for (int v = 0; v < 4; v++) sums[v] = splat(start);
    for (uint32_t k = 0; k < count; k++) {
      const V w = splat(factors[2 * k]), ws = splat(factors[2 * k + 1]);
      for (int v = 0; v < 4; v++)
        sums[v] = below(add(sums[v], multiply(load(src + k * step + at + v * BYTES), w, ws, q)), q2);
    }
    for (int v = 0; v < 4; v++) store(out + at + v * BYTES, sums[v]);
  }
}

static void shift(uint8_t *data, uint32_t n, uint32_t value, uint32_t modulus) {
  const V q = splat(modulus), s = splat(value);
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) store(data + at, below(add(load(data + at), s), q));
}

// An automorphism moves aligned groups of LANES words and permutes within them. Its table: LANES patterns of a vector of
// places each, then for each group the byte offset that it moves to, plus the number of its pattern.

INLINE const uint32_t *entriesOf(const uint8_t *table) { return (const uint32_t *)(table + LANES * BYTES); }
INLINE size_t placeOf(uint32_t entry) { return entry & ~(uint32_t)(BYTES - 1); }
INLINE V turned(const uint8_t *table, uint32_t entry, V x) {
  return permute(x, load(table + (size_t)(entry & (BYTES - 1)) * BYTES));
}

INLINE void modDownInto(int adds, int permutes, const uint8_t *a, const uint8_t *b, const uint8_t *addend,
                        const uint8_t *table, uint8_t *out, uint32_t n, uint32_t modulus, uint32_t bound, uint32_t f,
                        uint32_t fs) {
  const V q = splat(modulus), q2 = splat(2 * modulus), top = splat(bound), w = splat(f), ws = splat(fs);
  const uint32_t *entry = permutes ? entriesOf(table) : 0;
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) {
    V x = multiply(add(load(a + at), sub(top, load(b + at))), w, ws, q);
    if (adds) x = below(add(load(addend + at), x), q2);
    x = below(x, q);
    if (permutes) {
      store(out + placeOf(*entry), turned(table, *entry, x));
      entry++;
    } else store(out + at, x);
  }
}

static void modDown(const uint8_t *a, const uint8_t *b, const uint8_t *addend, const uint8_t *table, uint8_t *out,
                    uint32_t n, uint32_t modulus, uint32_t bound, uint32_t f, uint32_t fs) {
  if (addend) {
    if (table) modDownInto(1, 1, a, b, addend, table, out, n, modulus, bound, f, fs);
    else modDownInto(1, 0, a, b, addend, table, out, n, modulus, bound, f, fs);
  } else if (table) modDownInto(0, 1, a, b, addend, table, out, n, modulus, bound, f, fs);
  else modDownInto(0, 0, a, b, addend, table, out, n, modulus, bound, f, fs);
}

static void automorphism(const uint8_t *a, const uint8_t *table, const uint8_t *plus, uint8_t *out, uint32_t n,
                         uint32_t modulus) {
  const V q = splat(modulus);
  const uint32_t *entry = entriesOf(table);
  for (size_t from = 0; from < (size_t)n * 4; from += BYTES, entry++) {
    const size_t at = placeOf(*entry);
    V x = turned(table, *entry, load(a + from));
    if (plus) x = below(add(x, load(plus + at)), q);
    store(out + at, x);
  }
}

static void findZero(const uint8_t *a, uint32_t n, uint32_t *flag) {
  const V none = splat(0);
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES)
    if (anyEqual(load(a + at), none)) {
      *flag = 1;
      return;
    }
}

static void fillZeros(const uint8_t *a, const uint8_t *marks, uint8_t *out, uint32_t n, uint32_t modulus) {
  const V q = splat(modulus);
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) {
    const V x = load(a + at);
    store(out + at, xor(x, zeroOr(x, mul(load(marks + at), q))));
  }
}

/** Writes residues of one digit of a key into its place: key[i / LANES][j][k][i % LANES] = residues[i]. */
static void placeKey(const uint8_t *residues, uint8_t *key, uint32_t n, uint32_t stride, const uint8_t *table) {
  const uint32_t *entry = table ? entriesOf(table) : 0;
  for (size_t from = 0; from < (size_t)n * 4; from += BYTES) {
    V x = load(residues + from);
    size_t at = from;
    if (table) {
      x = turned(table, *entry, x);
      at = placeOf(*entry++);
    }
    store(key + at * 2 * stride, x);
  }
}
