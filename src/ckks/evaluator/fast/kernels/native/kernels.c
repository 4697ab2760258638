// A task of a program on vectors of LANES words: see ../assembly/work.ts, whose programs these are. Compiled once for
// every kind of vector.

#include <string.h>

#include "vector.h"
#include "ntt.h"
#include "products.h"
#include "seeds.h"

#define NAME_(lanes) execute##lanes
#define NAME(lanes) NAME_(lanes)

/** An address: an odd one stands for the thread's own scratch memory. */
#define P(k) (c[k] & 1 ? base + scratch + c[k] - 1 : base + c[k])
/** The same, of what may be nothing. */
#define O(k) (c[k] ? P(k) : 0)
#define W(k) c[k]
#define M(k) modulus(c[k], c[(k) + 1], c[(k) + 2], c[(k) + 3])

void NAME(LANES)(uint8_t *base, const uint32_t *c, uint32_t scratch) {
  for (;;) {
    switch (c[0]) {
      case 1:
        forwardTight(P(1), P(2), W(3), P(4), W(5), W(6));
        c += 7;
        break;
      case 2:
        forwardLoose(P(1), P(2), W(3), P(4), W(5), W(6), W(7), W(8));
        c += 9;
        break;
      case 3:
        inverse(P(1), P(2), W(3), P(4), W(5), W(6), W(7));
        c += 8;
        break;
      case 4:
        switchProducts(P(1), P(2), O(3), P(4), W(5), P(6), O(7), P(8), P(9), P(10), P(11), W(12), W(13), W(14), W(15),
                       M(16));
        c += 20;
        break;
      case 5:
        periodicProducts(base, (const uint32_t *)P(1), W(2), (const uint32_t *)P(3),
                         (uint8_t *const[4]){P(4), P(5), P(6), P(7)}, W(8), W(9), W(10), W(11), M(12));
        c += 16;
        break;
      case 6:
        square(P(1), P(2), P(3), P(4), P(5), W(6), M(7));
        c += 11;
        break;
      case 7:
        addResidues(P(1), P(2), P(3), W(4), splat(W(5)));
        c += 6;
        break;
      case 8:
        addPeriodic(P(1), (const uint32_t *)P(2), P(3), W(4), W(5), W(6));
        c += 7;
        break;
      case 9:
        shift(P(1), W(2), W(3), W(4));
        c += 5;
        break;
      case 10:
        modDown(P(1), P(2), O(3), O(4), P(5), W(6), W(7), W(8), W(9), W(10));
        c += 11;
        break;
      case 11:
        findZero(P(1), W(2), (uint32_t *)P(3));
        c += 4;
        break;
      case 12:
        fillZeros(P(1), P(2), P(3), W(4), W(5));
        c += 6;
        break;
      case 13:
        switchStart(P(1), (const uint32_t *)P(2), P(3), P(4), W(5), W(6), W(7), W(8), M(9));
        c += 13;
        break;
      case 14:
        memmove(P(2), P(1), (size_t)W(3) * 4);
        c += 4;
        break;
      case 15:
        multiplyPairs(P(1), P(2), P(3), P(4), P(5), P(6), P(7), W(8), M(9));
        c += 13;
        break;
      case 16:
        convertBase(P(1), W(2), (const uint32_t *)P(3), W(4), W(5), P(6), W(7), W(8));
        c += 9;
        break;
      case 17:
        automorphism(P(1), P(2), O(3), P(4), W(5), W(6));
        c += 7;
        break;
      case 18:
        expandSeed((const uint64_t *)P(1), P(2), W(3), W(4), (uint64_t *)P(5));
        c += 7;
        break;
      case 19:
        reduceUniform(P(1), P(2), W(3), M(4), (uint32_t *)P(8));
        c += 9;
        break;
      case 20:
        unpackResidues(P(1), W(2), (uint32_t *)P(3), W(4), W(5), (uint32_t *)P(6));
        c += 7;
        break;
      case 21:
        placeKey(P(1), P(2), W(3), W(4), O(5));
        c += 6;
        break;
      case 22:
        seedState(P(1), P(2), (uint64_t *)P(3));
        c += 5;
        break;
      default:
        return;
    }
  }
}
