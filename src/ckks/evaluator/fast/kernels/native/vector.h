// Vectors of 32-bit words, LANES of them: 8 with AVX2, 16 with AVX-512. Products of words have 64 bits, so they are made
// of the words at even and at odd places separately, in two vectors.

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

#if LANES == 16

typedef __m512i V;

INLINE V load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void store(void *p, V a) { _mm512_storeu_si512(p, a); }
INLINE V splat(uint32_t a) { return _mm512_set1_epi32((int)a); }
INLINE V splat64(uint64_t a) { return _mm512_set1_epi64((long long)a); }
INLINE V add(V a, V b) { return _mm512_add_epi32(a, b); }
INLINE V add64(V a, V b) { return _mm512_add_epi64(a, b); }
INLINE V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
INLINE V mul(V a, V b) { return _mm512_mullo_epi32(a, b); }
INLINE V min(V a, V b) { return _mm512_min_epu32(a, b); }
INLINE V max(V a, V b) { return _mm512_max_epu32(a, b); }
INLINE V and(V a, V b) { return _mm512_and_si512(a, b); }
INLINE V xor(V a, V b) { return _mm512_xor_si512(a, b); }
/** The words at odd places, as 64-bit numbers. */
INLINE V odd(V a) { return _mm512_srli_epi64(a, 32); }
/** Products of the words at even places. */
INLINE V products(V a, V b) { return _mm512_mul_epu32(a, b); }
/** The lower halves of 64-bit numbers, at even and at odd places. */
INLINE V joinLow(V even, V odds) { return _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odds, 32)); }
/** The upper halves. */
INLINE V joinHigh(V even, V odds) { return _mm512_mask_shuffle_epi32(odds, 0x5555, even, 0xf5); }
/** The words of a at these places. */
INLINE V permute(V a, V places) { return _mm512_permutexvar_epi32(places, a); }
/** Whether a word is the same in both. */
INLINE int anyEqual(V a, V b) { return _mm512_cmpeq_epi32_mask(a, b) != 0; }
/** All words where a is zero, otherwise 0. */
INLINE V zeroOr(V a, V otherwise) { return _mm512_maskz_mov_epi32(_mm512_testn_epi32_mask(a, a), otherwise); }
/** The lower and the upper halves of LANES 64-bit numbers. */
INLINE V lowHalves(V a, V b) {
  return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
INLINE V highHalves(V a, V b) {
  return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}

#define UNPACK_LOW(a, b) _mm512_unpacklo_epi32(a, b)
#define UNPACK_HIGH(a, b) _mm512_unpackhi_epi32(a, b)
#define UNPACK_LOW64(a, b) _mm512_unpacklo_epi64(a, b)
#define UNPACK_HIGH64(a, b) _mm512_unpackhi_epi64(a, b)
#define SPREAD(a, lane) _mm512_shuffle_epi32(a, (lane) * 0x55)

/** Runs of four words as rows and columns of a square: run k of vector i goes to run i of vector k. */
INLINE void exchangeRuns(V x[4]) {
  const V a = _mm512_shuffle_i32x4(x[0], x[1], 0x44), b = _mm512_shuffle_i32x4(x[0], x[1], 0xee);
  const V c = _mm512_shuffle_i32x4(x[2], x[3], 0x44), d = _mm512_shuffle_i32x4(x[2], x[3], 0xee);
  x[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  x[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  x[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  x[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}
INLINE void exchangeBack(V x[4]) { exchangeRuns(x); }

/** Each of LANES / 4 factors [w, w'] in a run of its own: w, and w'. */
INLINE void spreadPairs(const void *pairs, V *w, V *ws) {
  const V all = _mm512_castsi256_si512(_mm256_loadu_si256(pairs));
  *w = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6), all);
  *ws = _mm512_permutexvar_epi32(_mm512_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 7, 7), all);
}

#elif LANES == 8

typedef __m256i V;

INLINE V load(const void *p) { return _mm256_loadu_si256(p); }
INLINE void store(void *p, V a) { _mm256_storeu_si256(p, a); }
INLINE V splat(uint32_t a) { return _mm256_set1_epi32((int)a); }
INLINE V splat64(uint64_t a) { return _mm256_set1_epi64x((long long)a); }
INLINE V add(V a, V b) { return _mm256_add_epi32(a, b); }
INLINE V add64(V a, V b) { return _mm256_add_epi64(a, b); }
INLINE V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
INLINE V mul(V a, V b) { return _mm256_mullo_epi32(a, b); }
INLINE V min(V a, V b) { return _mm256_min_epu32(a, b); }
INLINE V max(V a, V b) { return _mm256_max_epu32(a, b); }
INLINE V and(V a, V b) { return _mm256_and_si256(a, b); }
INLINE V xor(V a, V b) { return _mm256_xor_si256(a, b); }
INLINE V odd(V a) { return _mm256_srli_epi64(a, 32); }
INLINE V products(V a, V b) { return _mm256_mul_epu32(a, b); }
INLINE V joinLow(V even, V odds) { return _mm256_blend_epi32(even, _mm256_slli_epi64(odds, 32), 0xaa); }
INLINE V joinHigh(V even, V odds) { return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odds, 0xaa); }
INLINE V permute(V a, V places) { return _mm256_permutevar8x32_epi32(a, places); }
INLINE int anyEqual(V a, V b) { return _mm256_movemask_epi8(_mm256_cmpeq_epi32(a, b)) != 0; }
INLINE V zeroOr(V a, V otherwise) { return and(_mm256_cmpeq_epi32(a, _mm256_setzero_si256()), otherwise); }
INLINE V lowHalves(V a, V b) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}
INLINE V highHalves(V a, V b) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}

#define UNPACK_LOW(a, b) _mm256_unpacklo_epi32(a, b)
#define UNPACK_HIGH(a, b) _mm256_unpackhi_epi32(a, b)
#define UNPACK_LOW64(a, b) _mm256_unpacklo_epi64(a, b)
#define UNPACK_HIGH64(a, b) _mm256_unpackhi_epi64(a, b)
#define SPREAD(a, lane) _mm256_shuffle_epi32(a, (lane) * 0x55)

// A square of two rows and four columns: vectors 0 and 1 hold the first block of 16 words, 2 and 3 the second.
INLINE void exchangeRuns(V x[4]) {
  const V a = _mm256_permute2x128_si256(x[0], x[2], 0x20), b = _mm256_permute2x128_si256(x[0], x[2], 0x31);
  const V c = _mm256_permute2x128_si256(x[1], x[3], 0x20), d = _mm256_permute2x128_si256(x[1], x[3], 0x31);
  x[0] = a;
  x[1] = b;
  x[2] = c;
  x[3] = d;
}
INLINE void exchangeBack(V x[4]) {
  const V a = _mm256_permute2x128_si256(x[0], x[1], 0x20), b = _mm256_permute2x128_si256(x[2], x[3], 0x20);
  const V c = _mm256_permute2x128_si256(x[0], x[1], 0x31), d = _mm256_permute2x128_si256(x[2], x[3], 0x31);
  x[0] = a;
  x[1] = b;
  x[2] = c;
  x[3] = d;
}

INLINE void spreadPairs(const void *pairs, V *w, V *ws) {
  const V all = _mm256_broadcastsi128_si256(_mm_loadu_si128(pairs));
  *w = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
  *ws = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3));
}

#endif

#define BYTES (4 * LANES)

/** In every run of four words, rows become columns. */
INLINE void transposeRuns(V x[4]) {
  const V ab0 = UNPACK_LOW(x[0], x[1]), ab1 = UNPACK_HIGH(x[0], x[1]);
  const V cd0 = UNPACK_LOW(x[2], x[3]), cd1 = UNPACK_HIGH(x[2], x[3]);
  x[0] = UNPACK_LOW64(ab0, cd0);
  x[1] = UNPACK_HIGH64(ab0, cd0);
  x[2] = UNPACK_LOW64(ab1, cd1);
  x[3] = UNPACK_HIGH64(ab1, cd1);
}

// Arithmetic modulo q < 2^30, as ../assembly/field.ts has it: a "factor" is a constant w in [0, q) with its Shoup
// companion w' = floor(2^32 w / q).

/** The upper halves of a b, word by word; `bOdd` is `odd(b)`, or b where all its words are the same. */
INLINE V highProducts(V a, V b, V bOdd) { return joinHigh(products(a, b), products(odd(a), bOdd)); }

/** a w mod q in [0, 2q), for any a < 2^32 and a factor that is the same in all lanes. */
INLINE V multiply(V a, V w, V ws, V q) { return sub(mul(a, w), mul(highProducts(a, ws, ws), q)); }

/** The same for a factor to each lane. */
INLINE V multiplyEach(V a, V w, V ws, V q) { return sub(mul(a, w), mul(highProducts(a, ws, odd(ws)), q)); }

/** a mod q in [0, 2q), for any a < 2^32; `one` is floor(2^32 / q). */
INLINE V reduceWord(V a, V one, V q) { return sub(a, mul(highProducts(a, one, one), q)); }

/** a - m where a >= m, otherwise a. */
INLINE V below(V a, V m) { return min(a, sub(a, m)); }

/** A modulus, and what reducing 64-bit sums takes: the factor (c, cs) is 2^32 mod q, `one` is floor(2^32 / q). */
typedef struct {
  V q, q2, one, c, cs;
} Modulus;

INLINE Modulus modulus(uint32_t q, uint32_t one, uint32_t carry, uint32_t carryShoup) {
  return (Modulus){splat(q), splat(2 * q), splat(one), splat(carry), splat(carryShoup)};
}

/** LANES 64-bit sums, of even and of odd places. */
typedef struct {
  V even, odd;
} Sums;

INLINE Sums product64(V x, V a) { return (Sums){products(x, a), products(odd(x), odd(a))}; }
INLINE Sums plus(Sums a, Sums b) { return (Sums){add64(a.even, b.even), add64(a.odd, b.odd)}; }

/** Removes all but 2^62 + 2^32 of 64-bit sums modulo q: word + carry * (2^32 mod q). */
INLINE V foldHalf(V sums, V c) { return add64(and(sums, splat64(0xffffffff)), products(odd(sums), c)); }
INLINE Sums fold(Sums a, Modulus m) { return (Sums){foldHalf(a.even, m.c), foldHalf(a.odd, m.c)}; }

/** (carries 2^32 + words) mod q in [0, q). */
INLINE V reduceHalves(V words, V carries, Modulus m) {
  const V sum = add(multiply(carries, m.c, m.cs, m.q), reduceWord(words, m.one, m.q));
  return below(below(sum, m.q2), m.q);
}

/** 64-bit sums mod q in [0, q). */
INLINE V reduceSums(Sums a, Modulus m) {
  return reduceHalves(joinLow(a.even, a.odd), joinHigh(a.even, a.odd), m);
}
