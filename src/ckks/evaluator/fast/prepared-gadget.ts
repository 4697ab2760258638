import { type Gadget, type KeySwitching, moduli, perPrimeGadget, restrict } from '../../keyswitch/gadget.ts';
import type { Parameters } from '../../ring/parameters.ts';
import type { BaseConversions, Conversion, ModDown, Origin } from './base-conversion.ts';
import type { Ring } from './kernels/ring.ts';

/** How a key switches; it serves ciphertexts of at most its gadget's limbs. */
export interface KeyKind {
  switching: KeySwitching;
  gadget: Gadget;
}

/** A gadget as the kernels take it, for ciphertexts of a number of limbs. */
export interface PreparedGadget {
  limbs: number;
  /** Of the primes that products are modulo: the data primes, then the special ones. */
  rings: Ring[];
  /** The digit that each of these belongs to; -1 for special ones. */
  owners: number[];
  /** The data primes in the order of digits, in which coefficients lie. */
  order: number[];
  /** Of the primes in that order. */
  origins: Origin[];
  digits: {
    /** The first of its primes in `order`. */
    first: number;
    /** To each of `rings`; null to the digit's primes. */
    conversions: (Conversion | null)[];
  }[];
  /** By `rings`: products between folds. */
  groups: number[];
  /** The division by the special primes. */
  modDown: ModDown;
}

/** The gadgets of keys, prepared for the kernels. */
export class PreparedGadgets {
  readonly #parameters: Parameters;
  readonly #rings: Ring[];
  readonly #conversions: BaseConversions;
  /** By gadget (null for SEAL's) and limbs. */
  readonly #prepared = new Map<Gadget | null, Map<number, PreparedGadget>>();

  /** @param rings of all primes */
  constructor(parameters: Parameters, rings: Ring[], conversions: BaseConversions) {
    this.#parameters = parameters;
    this.#rings = rings;
    this.#conversions = conversions;
  }

  /** What switching to a key takes, for ciphertexts of `limbs` limbs; made once. */
  prepared(key: KeyKind, limbs: number): PreparedGadget {
    const gadget = key.switching === 'per-prime' ? null : key.gadget;
    const byLimbs = this.#prepared.get(gadget) ?? new Map<number, PreparedGadget>();
    const prepared = byLimbs.get(limbs) ?? this.#conversions.together(() => this.#prepare(key, limbs));
    this.#prepared.set(gadget, byLimbs.set(limbs, prepared));
    return prepared;
  }

  #prepare(key: KeyKind, limbs: number): PreparedGadget {
    const parameters = this.#parameters;
    const conversions = this.#conversions;
    const exact = key.switching === 'per-prime';
    const gadget = exact ? perPrimeGadget(parameters, limbs) : restrict(key.gadget, limbs);
    const rings = moduli(gadget).map((i) => this.#rings[i]);
    // SEAL's digits are not centred; one where zeros became primes is at most the largest prime.
    const plain = Math.max(...parameters.primes) + 1;
    const groups = rings.map(() => 2 ** 20);
    let first = 0;
    const origins: Origin[] = [];
    const digits = gadget.digits.map((primes) => {
      const digitOrigins = conversions
        .origins(primes)
        .map((origin) => (exact ? { ...origin, half: 0 } : origin));
      origins.push(...digitOrigins);
      const digitConversions = rings.map((ring, i): Conversion | null => {
        if (primes.some((prime) => this.#rings[prime] === ring)) return null;
        const conversion = exact
          ? { factors: 0, count: 1, start: 0, offset: 0, lazy: ring.lazy(plain) }
          : conversions.conversion(digitOrigins, ring);
        groups[i] = Math.min(groups[i], ring.group(conversion.lazy.bound));
        return conversion;
      });
      first += primes.length;
      return { first: first - primes.length, conversions: digitConversions };
    });
    return {
      limbs,
      rings,
      owners: moduli(gadget).map((i) => gadget.digits.findIndex((primes) => primes.includes(i))),
      order: gadget.digits.flat(),
      origins,
      digits,
      groups: groups.map((group, i) => Math.min(group, rings[i].group(rings[i].q))),
      modDown: conversions.modDownBy(gadget.special, limbs),
    };
  }
}
