// The kernels of ../assembly/seeds.ts, with LANES / 2 hashes side by side.

#define HASHES (LANES / 2)

#if LANES == 16
#define ROTATE(x, bits) _mm512_ror_epi64(x, bits)
#else
INLINE V rotateBytes(V x, int bytes) {
  const __m256i from = bytes == 3 ? _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3, 4, 5, 6, 7,
                                                     0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10)
                                  : _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2, 3, 4, 5, 6,
                                                     7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
  return _mm256_shuffle_epi8(x, from);
}
#define ROTATE(x, bits)                                                                                               \
  ((bits) == 32   ? _mm256_shuffle_epi32(x, 0xb1)                                                                     \
   : (bits) == 63 ? xor(add64(x, x), _mm256_srli_epi64(x, 63))                                                        \
                  : rotateBytes(x, (bits) / 8))
#endif

/** A quarter of a round on columns or diagonals a, b, c, d with two words of the message. */
#define MIX(a, b, c, d, x, y)                                                                                         \
  do {                                                                                                                \
    v[a] = add64(add64(v[a], v[b]), splat64(words[(x) >> 3]));                                                        \
    v[d] = ROTATE(xor(v[d], v[a]), 32);                                                                               \
    v[c] = add64(v[c], v[d]);                                                                                         \
    v[b] = ROTATE(xor(v[b], v[c]), 24);                                                                               \
    v[a] = add64(add64(v[a], v[b]), splat64(words[(y) >> 3]));                                                        \
    v[d] = ROTATE(xor(v[d], v[a]), 16);                                                                               \
    v[c] = add64(v[c], v[d]);                                                                                         \
    v[b] = ROTATE(xor(v[b], v[c]), 63);                                                                               \
  } while (0)

/** BLAKE2b's compression of HASHES states h with one message: see `compress` in ../assembly/seeds.ts. */
INLINE void compress(V h[8], const uint64_t *words, const uint8_t *table, uint64_t length, uint64_t last) {
  const uint64_t *vector = (const uint64_t *)(table + 192);
  V v[16];
  for (int k = 0; k < 8; k++) {
    v[k] = h[k];
    v[k + 8] = splat64(vector[k]);
  }
  v[12] = xor(v[12], splat64(length));
  v[14] = xor(v[14], splat64(last));
  for (const uint8_t *r = table; r < table + 192; r += 16) {
    MIX(0, 4, 8, 12, r[0], r[1]);
    MIX(1, 5, 9, 13, r[2], r[3]);
    MIX(2, 6, 10, 14, r[4], r[5]);
    MIX(3, 7, 11, 15, r[6], r[7]);
    MIX(0, 5, 10, 15, r[8], r[9]);
    MIX(1, 6, 11, 12, r[10], r[11]);
    MIX(2, 7, 8, 13, r[12], r[13]);
    MIX(3, 4, 9, 14, r[14], r[15]);
  }
  for (int k = 0; k < 8; k++) h[k] = xor(h[k], xor(v[k], v[k + 8]));
}

static void seedState(const uint8_t *seed, const uint8_t *table, uint64_t *state) {
  const uint64_t *vector = (const uint64_t *)(table + 192);
  uint64_t words[16] = {0};
  memcpy(words, seed, 64);
  V h[8];
  for (int k = 0; k < 8; k++) h[k] = splat64(vector[k]);
  h[0] = xor(h[0], splat64(0x01014040));
  h[1] = xor(h[1], splat64((uint64_t)4096 << 32));
  compress(h, words, table, 128, 0);
  for (int k = 0; k < 8; k++) memcpy(state + k, &h[k], 8);
}

static void expandSeed(const uint64_t *state, const uint8_t *table, uint32_t first, uint32_t count, uint64_t *out) {
  const uint64_t *vector = (const uint64_t *)(table + 192);
  for (uint32_t buffer = 0; buffer < count; buffer++) {
    uint64_t words[16] = {(uint64_t)first + buffer};
    V h[8];
    for (int k = 0; k < 8; k++) h[k] = splat64(state[k]);
    compress(h, words, table, 136, UINT64_MAX);
    for (int k = 0; k < 8; k++) memcpy(words + k, &h[k], 8);
    for (uint32_t node = 0; node < 64; node += HASHES, out += 8 * HASHES) {
      uint64_t numbers[HASHES];
      for (uint32_t lane = 0; lane < HASHES; lane++) numbers[lane] = ((uint64_t)4096 << 32 | (node + lane)) ^ vector[1];
      for (int k = 0; k < 8; k++) h[k] = splat64(vector[k]);
      h[0] = xor(h[0], splat64((uint64_t)64 << 32 | 64));
      h[1] = load(numbers);
      h[2] = xor(h[2], splat64(64 << 8));
      compress(h, words, table, 64, UINT64_MAX);
      for (int k = 0; k < 8; k++) {
        uint64_t lanes[HASHES];
        store(lanes, h[k]);
        for (uint32_t lane = 0; lane < HASHES; lane++) out[8 * lane + k] = lanes[lane];
      }
    }
  }
}

static void reduceUniform(const uint8_t *words, uint8_t *out, uint32_t n, Modulus m, uint32_t *flag) {
  V highest = splat(0);
  for (size_t at = 0; at < (size_t)n * 4; at += BYTES) {
    const V a = load(words + 2 * at), b = load(words + 2 * at + BYTES);
    const V carries = highHalves(a, b);
    highest = max(highest, carries);
    store(out + at, reduceHalves(lowHalves(a, b), carries, m));
  }
  if (anyEqual(highest, splat(0xffffffff))) *flag = 1;
}

static void unpackResidues(const uint8_t *bytes, uint32_t bits, uint32_t *out, uint32_t n, uint32_t modulus,
                           uint32_t *flag) {
  const uint64_t mask = ((uint64_t)1 << bits) - 1;
  uint32_t highest = 0;
  for (size_t i = 0, position = 0; i < n; i++, position += bits) {
    uint64_t word;
    memcpy(&word, bytes + (position >> 3), 8);
    const uint32_t value = (word >> (position & 7)) & mask;
    highest = value > highest ? value : highest;
    out[i] = value;
  }
  if (highest >= modulus) *flag = 1;
}
