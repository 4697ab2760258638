import { BlindbeatError } from '../../../errors.ts';
import {
  type Gadget,
  type KeySwitching,
  moduli,
  restrict,
  sealGadget,
  serving,
} from '../../keyswitch/gadget.ts';
import { galoisElement } from '../../ring/galois.ts';
import { bitReversal, inverseMod, multiplyMod } from '../../ring/modular.ts';
import type { Parameters } from '../../ring/parameters.ts';
import { PeriodicEncoder, type PeriodicPlain } from '../../ring/periodic-encoder.ts';
import type { RawCiphertext } from '../../seal/bytes.ts';
import type { Backend, RotationTerm } from '../backend.ts';
import { WasmMemory } from './kernels/memory.ts';
import { type Factor, factor, type Lazy, Ring } from './kernels/ring.ts';
import { Threads } from './kernels/threads.ts';

/** A ciphertext in NTT form in the engine's memory: `[polynomials][limbs]` slots of n residues below their primes. */
export interface FastCiphertext {
  address: number;
  polynomials: number;
  limbs: number;
}

/** How a key switches; it serves ciphertexts of at most its gadget's limbs. */
export interface KeyKind {
  switching: KeySwitching;
  gadget: Gadget;
}

/**
 * A key-switching key: `[limbs and special primes][n / 4][digit][2 polynomials][4]` residues, in the order in which they are
 * used: modulo a prime of a digit, that digit comes first. Keys of rotations are turned back, so that digits need not be turned.
 */
export interface FastKey extends KeyKind {
  address: number;
  /** Rotation step, or null. */
  step: number | null;
  /** By limbs of a ciphertext: the address of what its inner products start with, see `FastEngine.starts`. */
  starts: Map<number, number>;
}

/** The keys of one client; freed with `FastEngine.freeKey`. */
export interface FastKeys {
  relinearisation: FastKey[];
  /** By rotation step. */
  galois: Map<number, FastKey[]>;
}

/** Weights of four sums: the columns that carry any, and per limb `[block][column][4]` residues. */
interface RowGroup {
  columns: number[];
  /** Addresses by limb. */
  weights: number[];
  /** Residues per block. */
  run: number;
}

/**
 * How residues modulo some primes p_k are made one representative x modulo another prime: with y_k = x (P / p_k)^-1 mod p_k, for
 * P = p_1 p_2 ..., x is sum_k y_k P / p_k less a multiple of P (fast base conversion: Bajard et al. 2016, eprint 2016/510). Each y_k
 * is centred, so x is, and |x| is at most half the number of primes times P. Of one prime x is y.
 */
interface Conversion {
  /** Address of P / p_k for each k, factors; 0 where there is one prime only. */
  factors: number;
  /** How many primes. */
  count: number;
  /** What the sum starts with: makes up for half of each p_k, which y_k had added. */
  start: number;
  /** The transform that follows: what it adds where nothing is converted, and how lazy it is. */
  offset: number;
  lazy: Lazy;
}

/** Primes to convert from. */
interface Origin {
  ring: Ring;
  /** For the inverse transform: (P / p_k)^-1. */
  scale: Factor;
  /** What is added to centre. */
  half: number;
}

/** Division by a product of primes that are dropped. */
interface Division {
  from: Origin[];
  /** For each prime that remains. */
  to: DivisionTo[];
}

interface DivisionTo extends Conversion {
  inverse: Factor;
  /** Multiple of the prime that is no less than what comes out of the transform. */
  bound: number;
}

/** A gadget as the kernels take it. */
interface Switching {
  limbs: number;
  /** Of the primes that products are modulo: the data primes, then the special ones. */
  rings: Ring[];
  /** The digit that each of these belongs to; -1 for special ones. */
  owners: number[];
  /** The data primes in the order of digits, in which coefficients lie. */
  order: number[];
  origins: Origin[];
  digits: {
    /** The first of its primes in `order`. */
    first: number;
    /** To each of `rings`; null to its own. */
    conversions: (Conversion | null)[];
  }[];
  /** By `rings`: products between folds. */
  groups: number[];
  division: Division;
}

/** What rotating by a number of slots needs. */
interface Rotation {
  /** Address of the table of the automorphism in NTT form, see `placeKey` in ./kernels/assembly. */
  table: number;
  /** Of the inverse automorphism. */
  inverse: number;
  /** Address of n words: 1 where the automorphism changes a coefficient's sign. */
  marks: number;
}

/** A polynomial that is switched to another key, limb by limb. */
interface Source {
  /** Address in NTT form. */
  values: (limb: number) => number;
  /** Address of its digits' coefficients, one prime after another in the order of digits. */
  digits: number;
}

/** A key to switch to, and what to do with the outcome. */
interface Target {
  key: FastKey;
  /** Address of what inner products start with, or 0. */
  start: number;
  /** Address of an automorphism's table, or 0. */
  table: number;
  /** For each source, what is added before the automorphism, and where the sums go. */
  outputs: { addends: (FastCiphertext | null)[]; out: FastCiphertext }[];
}

const OUTPUTS = 4;
/** Bytes of an automorphism's four patterns, before its entries. */
const PATTERNS = 64;
/** Residues of all columns of a convolution that the second-level cache takes beside the sums: 256 KiB. */
const CACHED_WORDS = 65536;

/**
 * What evaluating one plan needs, keys aside: tables, permutations and packed weights, in one memory. Made once per plan.
 */
export class FastEngine {
  readonly parameters: Parameters;
  readonly encoder: PeriodicEncoder;
  readonly memory: WasmMemory;
  readonly threads: Threads;
  /** One for each data prime, then the special one; their transforms are noted down for the threads. */
  readonly rings: Ring[];
  /** Bytes from one limb to the next: a cache line more than it needs, so that equal places fall in different cache sets. */
  readonly stride: number;
  readonly #rotations = new Map<number, Rotation>();
  readonly #divisions = new Map<string, Division>();
  /** By gadget (null for SEAL's) and limbs. */
  readonly #switchings = new Map<Gadget | null, Map<number, Switching>>();
  readonly #packed = new WeakMap<object, (RowGroup | null)[]>();

  private constructor(parameters: Parameters, memory: WasmMemory, threads: Threads) {
    const { n, primes, special } = parameters;
    this.parameters = parameters;
    this.memory = memory;
    this.threads = threads;
    this.encoder = new PeriodicEncoder(n, primes);
    this.rings = [...primes, special].map((q) => new Ring(threads.kernels, memory, n, q));
    this.stride = limbStride(n);
  }

  /**
   * @param threads how many compute, this one included; the results are the same
   * @throws BlindbeatError USAGE for what is no number of threads, ENVIRONMENT where WebAssembly has no SIMD or not enough
   * memory
   */
  static async open(parameters: Parameters, threads = 1): Promise<FastEngine> {
    const memory = new WasmMemory();
    // Two ciphertexts' digits and products.
    const scratch = (2 * parameters.primes.length + 4) * limbStride(parameters.n);
    return new FastEngine(parameters, memory, await Threads.open(memory, threads, scratch));
  }

  /** Lets the threads end. */
  [Symbol.dispose](): void {
    this.threads[Symbol.dispose]();
  }

  allocate(polynomials: number, limbs: number): FastCiphertext {
    const count = polynomials * limbs;
    // An odd number of cache lines: see `stride`.
    const address = this.memory.allocate(count * this.stride + (count % 2 === 0 ? 64 : 0));
    return { address, polynomials, limbs };
  }

  /** Address of one limb of one polynomial. */
  limb(v: FastCiphertext, polynomial: number, limb: number): number {
    return v.address + (polynomial * v.limbs + limb) * this.stride;
  }

  /** A copy of the residues of one limb. */
  read(v: FastCiphertext, polynomial: number, limb: number): Uint32Array {
    const at = this.limb(v, polynomial, limb) / 4;
    return this.memory.words.slice(at, at + this.parameters.n);
  }

  /** A ciphertext that SEAL saved, at any level. */
  load(raw: RawCiphertext): FastCiphertext {
    const { n } = this.parameters;
    const v = this.allocate(raw.polynomials, raw.limbs);
    for (let k = 0; k < raw.polynomials; k++)
      for (let i = 0; i < raw.limbs; i++) {
        const from = 2 * n * (k * raw.limbs + i);
        const to = this.limb(v, k, i) / 4;
        const { words } = this.memory;
        for (let j = 0; j < n; j++) words[to + j] = raw.words[from + 2 * j];
      }
    return v;
  }

  /** Bytes of one limb of a key. */
  #keyBlock({ gadget }: KeyKind): number {
    return 8 * this.parameters.n * gadget.digits.length;
  }

  /**
   * The first digits of a key as SEAL saves them, modulo all primes, without the limbs that they are not used at.
   *
   * @param step what the key rotates by, or null
   */
  loadKey(digits: Iterable<RawCiphertext>, kind: KeyKind, step: number | null): FastKey {
    const count = kind.gadget.digits.length;
    const address = this.memory.allocate(moduli(kind.gadget).length * this.#keyBlock(kind));
    const key: FastKey = { ...kind, address, step, starts: new Map() };
    const scratch = this.memory.allocate(8 * this.parameters.n);
    let digit = 0;
    try {
      for (const { words } of digits) if (digit < count) this.#placeDigit(key, digit++, words, scratch);
      if (digit < count)
        throw new BlindbeatError('INTERNAL', `a key has ${digit} digits instead of ${count}`);
      return key;
    } catch (error) {
      this.freeKey(key);
      throw error;
    } finally {
      this.memory.free(scratch);
    }
  }

  freeKey(key: FastKey): void {
    for (const address of [key.address, ...key.starts.values()]) this.memory.free(address);
  }

  /** Address of a key's part for one limb of a ciphertext of `limbs` limbs, after which come the special primes'. */
  keyLimb(key: FastKey, limb: number, limbs: number): number {
    const place = limb < limbs ? limb : key.gadget.limbs + limb - limbs;
    return key.address + place * this.#keyBlock(key);
  }

  #placeDigit(key: FastKey, digit: number, words: Uint32Array, scratch: number): void {
    const { n, primes } = this.parameters;
    const { digits } = key.gadget;
    const all = primes.length + 1;
    const table = key.step === null ? 0 : this.rotation(key.step).inverse;
    moduli(key.gadget).forEach((from, limb) => {
      const owner = digits.findIndex((group) => group.includes(from));
      const position = owner === digit ? 0 : digit < owner ? digit + 1 : digit;
      for (let k = 0; k < 2; k++) {
        const start = 2 * n * (k * all + from);
        this.memory.words.set(words.subarray(start, start + 2 * n), scratch / 4);
        const place = key.address + limb * this.#keyBlock(key) + 32 * position + 16 * k;
        this.threads.module.placeKey(scratch, place, n, digits.length, table);
      }
    });
  }

  /**
   * What the inner products of a rotation start with, `[limbs and special][n / 4][2 polynomials][4]` residues; made once.
   *
   * SEAL's digits are those of the turned polynomial, in [0, q_j): turned back, they are the polynomial's own digits less
   * q_j wherever the automorphism changes a sign, zeros aside. So hoisting leaves out -f sum_j q_j key_j, where f has
   * coefficient 1 at those places.
   */
  starts(key: FastKey, limbs: number): number {
    const there = key.starts.get(limbs);
    if (there !== undefined || key.step === null) return there ?? 0;
    const { memory, threads, rings } = this;
    const { n, primes } = this.parameters;
    const address = memory.allocate((limbs + 1) * 8 * n);
    const factors = memory.allocate((limbs + 1) * 4 * limbs);
    const { marks } = this.rotation(key.step);
    for (let i = 0; i <= limbs; i++) {
      const ring = rings[i < limbs ? i : primes.length];
      const { q, one, carry } = ring;
      const order = primes.slice(0, limbs).map((prime) => prime % q);
      if (i < limbs) order.unshift(...order.splice(i, 1));
      const list = factors + i * 4 * limbs;
      memory.words.set(order, list / 4);
      threads.task();
      const f = threads.local(0);
      ring.forward(marks, f, ring.lazy(2));
      const part = this.keyLimb(key, i, limbs);
      const group = ring.group(q);
      threads.kernels.switchStart(
        ...([part, list, f, address + i * 8 * n, n, limbs, key.gadget.limbs, group, q, one] as const),
        ...carry,
      );
    }
    threads.run();
    memory.free(factors);
    key.starts.set(limbs, address);
    return address;
  }

  /** Tables of the rotation by `step` slots. */
  rotation(step: number): Rotation {
    let rotation = this.#rotations.get(step);
    if (!rotation) {
      const { n } = this.parameters;
      const element = galoisElement(step, n);
      let inverse = 1;
      while ((inverse * element) % (2 * n) !== 1) inverse = (inverse * element) % (2 * n);
      const marks = this.memory.allocate(4 * n);
      for (let m = 0; m < n; m++) this.memory.words[marks / 4 + m] = (element * m) % (2 * n) < n ? 0 : 1;
      rotation = { table: this.#automorphism(element), inverse: this.#automorphism(inverse), marks };
      this.#rotations.set(step, rotation);
    }
    return rotation;
  }

  /**
   * Address of a table of X -> X^element in NTT form (SEAL native/src/seal/util/galois.cpp). Place i holds the value at
   * root^(2 reversed(i) + 1), so the four of an aligned group have exponents that are equal modulo n / 2, and still are when
   * multiplied by the element: groups of four move as wholes.
   */
  #automorphism(element: number): number {
    const { n } = this.parameters;
    const address = this.memory.allocate(PATTERNS + n);
    const { words } = this.memory;
    const reversed = bitReversal(n);
    const patterns: number[] = [];
    for (let group = 0; group < n; group += 4) {
      const from = [0, 1, 2, 3].map((lane) => {
        const exponent = (element * (2 * reversed[group + lane] + 1)) % (2 * n);
        return reversed[(exponent - 1) / 2];
      });
      const source = from[0] & ~3;
      // Lanes as 16 byte indices, four to a word.
      const pattern = from.map((i) => (i & 3) * 0x04040404 + 0x03020100);
      let index = 0;
      while (index < patterns.length && pattern.some((word, lane) => patterns[index + lane] !== word))
        index += 4;
      if (index === patterns.length) patterns.push(...pattern);
      words[(address + PATTERNS + source) / 4] = 4 * group + index / 4;
    }
    words.set(patterns, address / 4);
    return address;
  }

  /** Dividing by the product of the primes `dropped` (indices), for each prime below `limbs`. */
  division(dropped: number[], limbs: number): Division {
    const key = `${dropped} ${limbs}`;
    let division = this.#divisions.get(key);
    if (!division) {
      const from = this.#origins(dropped);
      const to = this.rings.slice(0, limbs).map((ring): DivisionTo => {
        const { q } = ring;
        const conversion = this.#conversion(from, ring);
        return {
          ...conversion,
          inverse: factor(inverseMod(productMod(from, q), q), q),
          bound: q * Math.ceil((conversion.lazy.bound - 1) / q),
        };
      });
      division = { from, to };
      this.#divisions.set(key, division);
    }
    return division;
  }

  #origins(primes: number[]): Origin[] {
    const rings = primes.map((i) => this.rings[i]);
    return rings.map((ring) => {
      const others = rings.filter((other) => other !== ring).map(({ q }) => ({ ring: { q } }));
      const { q } = ring;
      return { ring, scale: ring.scale(inverseMod(productMod(others, q), q)), half: q >> 1 };
    });
  }

  #conversion(from: Origin[], ring: Ring): Conversion {
    const { q } = ring;
    if (from.length === 1) {
      const [{ ring: origin, half }] = from;
      // x + half mod p becomes x - half mod q when a multiple of q, no less than half, is added.
      const offset = q * Math.ceil(half / q) - half;
      return { factors: 0, count: 1, start: 0, offset, lazy: ring.lazy(origin.q + offset) };
    }
    const shares = from.map((origin) =>
      productMod(
        from.filter((other) => other !== origin),
        q,
      ),
    );
    const factors = this.memory.allocate(8 * from.length);
    this.memory.words.set(
      shares.flatMap((share) => factor(share, q)),
      factors / 4,
    );
    const halves = from.reduce((sum, { half }, k) => (sum + multiplyMod(half % q, shares[k], q)) % q, 0);
    const start = (q - halves) % q;
    return { factors, count: from.length, start, offset: 0, lazy: ring.lazy(2 * q) };
  }

  /** What switching to a key takes, for ciphertexts of `limbs` limbs. */
  switching(key: KeyKind, limbs: number): Switching {
    const gadget = key.switching === 'seal' ? null : key.gadget;
    const byLimbs = this.#switchings.get(gadget) ?? new Map<number, Switching>();
    const switching = byLimbs.get(limbs) ?? this.#prepare(key, limbs);
    this.#switchings.set(gadget, byLimbs.set(limbs, switching));
    return switching;
  }

  #prepare(key: KeyKind, limbs: number): Switching {
    const { parameters } = this;
    const exact = key.switching === 'seal';
    const gadget = exact ? sealGadget(parameters, limbs) : restrict(key.gadget, limbs);
    const rings = moduli(gadget).map((i) => this.rings[i]);
    // SEAL's digits are not centred; one where zeros became primes is at most the largest prime.
    const plain = Math.max(...parameters.primes) + 1;
    const groups = rings.map(() => 2 ** 20);
    let first = 0;
    const origins: Origin[] = [];
    const digits = gadget.digits.map((group) => {
      const from = this.#origins(group).map((origin) => (exact ? { ...origin, half: 0 } : origin));
      origins.push(...from);
      const conversions = rings.map((ring, i): Conversion | null => {
        if (group.some((own) => this.rings[own] === ring)) return null;
        const conversion = exact
          ? { factors: 0, count: 1, start: 0, offset: 0, lazy: ring.lazy(plain) }
          : this.#conversion(from, ring);
        groups[i] = Math.min(groups[i], ring.group(conversion.lazy.bound));
        return conversion;
      });
      first += group.length;
      return { first: first - group.length, conversions };
    });
    return {
      limbs,
      rings,
      owners: moduli(gadget).map((i) => gadget.digits.findIndex((group) => group.includes(i))),
      order: gadget.digits.flat(),
      origins,
      digits,
      groups: groups.map((group, i) => Math.min(group, rings[i].group(rings[i].q))),
      division: this.division(gadget.special, limbs),
    };
  }

  /** Weights in the order in which the kernel reads them, four rows at a time; made once for each `owner`. */
  pack(owner: object, rows: (PeriodicPlain | null)[][], limbs: number): (RowGroup | null)[] {
    let groups = this.#packed.get(owner);
    if (!groups) {
      groups = [];
      for (let o = 0; o < rows.length; o += OUTPUTS)
        groups.push(this.#packGroup(rows.slice(o, o + OUTPUTS), limbs));
      this.#packed.set(owner, groups);
    }
    return groups;
  }

  #packGroup(rows: (PeriodicPlain | null)[][], limbs: number): RowGroup | null {
    const plains = rows.flatMap((row) => row.filter((p) => p !== null));
    if (plains.length === 0) return null;
    const columns = rows[0].map((_, k) => k).filter((k) => rows.some((row) => row[k] !== null));
    const blocks = Math.max(...plains.map((p) => p.residues.length / p.limbs));
    const run = this.parameters.n / blocks;
    if (run < 4) {
      throw new BlindbeatError(
        'INTERNAL',
        `a period of ${blocks / 2} slots is too long for the fast backend`,
      );
    }
    const size = 4 * OUTPUTS * blocks * columns.length;
    const weights = Array.from({ length: limbs }, () => this.memory.allocate(size));
    const { words } = this.memory;
    weights.forEach((address, limb) => {
      words.fill(0, address / 4, (address + size) / 4);
      rows.forEach((row, o) => {
        columns.forEach((k, column) => {
          const plain = row[k];
          if (!plain) return;
          const own = plain.residues.length / plain.limbs;
          for (let b = 0; b < blocks; b++) {
            words[address / 4 + (b * columns.length + column) * OUTPUTS + o] =
              plain.residues[limb * own + Math.floor((b * own) / blocks)];
          }
        });
      });
    });
    return { columns, weights, run };
  }
}

/**
 * The network on real ciphertexts, by our own kernels: with keys of SEAL's kind bit for bit what node-seal's Evaluator computes;
 * with grouped keys the same but for low-order noise.
 */
export class FastBackend implements Backend<FastCiphertext, PeriodicPlain>, Disposable {
  readonly #engine: FastEngine;
  readonly #keys: FastKeys | null;
  readonly #made = new Set<FastCiphertext>();
  /** While computations are noted down together: what they gave back, which is used until they are carried out. */
  #released: number[] | null = null;

  /** With grouped keys only: SEAL divides every rotation. */
  readonly rotateAndSum?: (
    terms: RotationTerm<FastCiphertext>[],
    plus: (FastCiphertext | null)[],
  ) => (FastCiphertext | null)[];

  /** @param keys null for encoding weights only */
  constructor(engine: FastEngine, keys: FastKeys | null) {
    this.#engine = engine;
    this.#keys = keys;
    if (keys && [...keys.galois.values()].some(([key]) => key.switching === 'grouped'))
      this.rotateAndSum = (terms, plus) => this.#rotateAndSum(terms, plus);
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    for (const v of this.#made) this.#engine.memory.free(v.address);
    this.#made.clear();
  }

  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): PeriodicPlain {
    return { residues: this.#engine.encoder.encode(real, scale, limbs, imaginary), limbs, scale };
  }

  parallel<R>(computations: (() => R)[]): R[] {
    const released: number[] = [];
    this.#released = released;
    try {
      return this.#engine.threads.parallel(computations);
    } finally {
      this.#released = null;
      for (const address of released) this.#engine.memory.free(address);
    }
  }

  rotate(v: FastCiphertext, step: number): FastCiphertext {
    return this.rotateAll([v], [step])[0][0];
  }

  /**
   * Hoisted: digits are taken and transformed once for all steps; keys are turned back, so that only the outcome is turned. It must
   * run, so it cannot be part of `parallel`.
   */
  rotateAll(values: FastCiphertext[], steps: number[]): FastCiphertext[][] {
    if (this.#released) throw new BlindbeatError('INTERNAL', 'a rotation cannot be noted down with others');
    const engine = this.#engine;
    const { limbs } = values[0];
    const targets = steps.map((step): Target => {
      const key = this.#key(this.#keys?.galois.get(step), limbs);
      const outputs = values.map((v) => ({ addends: [v, null], out: this.#make(2, limbs) }));
      return { key, start: 0, table: engine.rotation(step).table, outputs };
    });
    if (targets[0].key.switching === 'seal') this.#rotateAsSeal(values, steps, targets);
    else {
      const digits = values.map((v) => this.#decompose((i) => engine.limb(v, 1, i), targets[0].key, limbs));
      this.#engine.threads.phase();
      const sources = values.map(
        (v, c): Source => ({ values: (i) => engine.limb(v, 1, i), digits: digits[c].address }),
      );
      this.#switchKeys(sources, targets, limbs);
      for (const { address } of digits) this.#release(address);
    }
    return targets.map(({ outputs }) => outputs.map(({ out }) => out));
  }

  /** Products with keys are turned and added up modulo the special primes too; the sum is divided. */
  #rotateAndSum(
    terms: RotationTerm<FastCiphertext>[],
    plus: (FastCiphertext | null)[],
  ): (FastCiphertext | null)[] {
    if (this.#released) throw new BlindbeatError('INTERNAL', 'a rotation cannot be noted down with others');
    const engine = this.#engine;
    const { memory, threads } = engine;
    const { limbs } = terms.flatMap(({ values }) => values).find((v) => v !== null) ?? { limbs: 0 };
    const turns = terms.map(({ values, step }) => {
      const key = this.#key(this.#keys?.galois.get(step), limbs);
      const digits = values.map((v) => v && this.#decompose((i) => engine.limb(v, 1, i), key, limbs));
      return { values, digits, key, table: engine.rotation(step).table };
    });
    threads.phase();
    const columns = plus.map((_, a) => a).filter((a) => turns.some(({ values }) => values[a] !== null));
    if (columns.length === 0) return plus;
    const switching = engine.switching(turns[0].key, limbs);
    const { rings } = switching;
    const sums = engine.allocate(2 * columns.length, rings.length);
    const firsts = engine.allocate(columns.length, limbs);
    rings.forEach((ring, i) => {
      for (let c = 0; c < columns.length; c += 2) {
        const pair = columns.slice(c, c + 2);
        threads.task();
        const begun = new Set<number>();
        for (const { values, digits, key, table } of turns) {
          const present = pair.filter((a) => values[a] !== null);
          if (present.length === 0) continue;
          const sources = present.map((a) => ({
            values: (limb: number) => engine.limb(values[a]!, 1, limb),
            digits: digits[a]!.address,
          }));
          const outputs = present.flatMap((_, half) => [
            threads.local(2 * half * engine.stride),
            threads.local((2 * half + 1) * engine.stride),
          ]);
          const digitsAt = this.#digitsModulo(sources, switching, i, 4);
          this.#keyProducts(digitsAt, { key, start: 0 }, switching, i, outputs);
          present.forEach((a, half) => {
            for (let k = 0; k < 2; k++) {
              const sum = engine.limb(sums, 2 * columns.indexOf(a) + k, i);
              threads.kernels.turn(outputs[2 * half + k], table, begun.has(a) ? sum : 0, sum, ring.n, ring.q);
            }
            begun.add(a);
          });
        }
      }
    });
    columns.forEach((a, c) => {
      for (let i = 0; i < limbs; i++) {
        const { n, q } = engine.rings[i];
        const sum = engine.limb(firsts, c, i);
        threads.task();
        let added = plus[a] ? engine.limb(plus[a], 0, i) : 0;
        for (const { values, table } of turns) {
          if (values[a] === null) continue;
          threads.kernels.turn(engine.limb(values[a], 0, i), table, added, sum, n, q);
          added = sum;
        }
      }
    });
    threads.phase();
    const made = columns.map(() => this.#make(2, limbs));
    const divisions = columns.flatMap((a, c) =>
      [0, 1].map((k): Dividend => {
        const more = plus[a];
        const second = more && ((i: number) => engine.limb(more, 1, i));
        return {
          from: (special) => engine.limb(sums, 2 * c + k, limbs + special),
          remainder: engine.limb(sums, 2 * c + k, limbs),
          values: (i) => engine.limb(sums, 2 * c + k, i),
          addend: k === 0 ? (i) => engine.limb(firsts, c, i) : second,
          table: 0,
          out: (i) => engine.limb(made[c], k, i),
        };
      }),
    );
    this.#divide(divisions, switching.division);
    threads.run();
    for (const { address } of [
      sums,
      firsts,
      ...turns.flatMap(({ digits }) => digits.filter((d) => d !== null)),
    ])
      memory.free(address);
    return plus.map((v, a) => (columns.includes(a) ? made[columns.indexOf(a)] : v));
  }

  /** Notes down the coefficients of a polynomial's digits. */
  #decompose(values: (limb: number) => number, key: KeyKind, limbs: number): FastCiphertext {
    const engine = this.#engine;
    const { threads } = engine;
    const digits = engine.allocate(1, limbs);
    const { order, origins } = engine.switching(key, limbs);
    order.forEach((i, k) => {
      const { ring, scale, half } = origins[k];
      const to = engine.limb(digits, 0, k);
      threads.task();
      ring.inverse(values(i), to, scale);
      if (half > 0) threads.kernels.shift(to, ring.n, half, ring.q);
    });
    return digits;
  }

  /**
   * Hoisted, and yet bit for bit as SEAL: digits are taken and transformed once for all steps; keys are turned back, so that
   * only the outcome is turned; `starts` makes up for the signs. A zero digit keeps its value under a change of sign, which
   * is rare: such a value's digits are taken anew for each step.
   */
  #rotateAsSeal(values: FastCiphertext[], steps: number[], noted: Target[]): void {
    const engine = this.#engine;
    const { memory, threads, rings } = engine;
    const { n } = engine.parameters;
    const { limbs } = values[0];
    const targets = noted.map((target) => ({ ...target, start: engine.starts(target.key, limbs) }));
    const digits = engine.allocate(values.length, limbs);
    const zeros = memory.allocate(4 * values.length);
    memory.words.fill(0, zeros / 4, zeros / 4 + values.length);
    values.forEach((v, c) => {
      for (let j = 0; j < limbs; j++) {
        const to = engine.limb(digits, c, j);
        threads.task();
        rings[j].inverse(engine.limb(v, 1, j), to);
        threads.kernels.findZero(to, n, zeros + 4 * c);
      }
    });
    threads.run();
    const sources = values.map(
      (v, c): Source => ({
        values: (j) => engine.limb(v, 1, j),
        digits: engine.limb(digits, c, 0),
      }),
    );
    const hasZero = (c: number) => memory.words[zeros / 4 + c] !== 0;
    const clean = values.map((_, c) => c).filter((c) => !hasZero(c));
    if (clean.length > 0) {
      this.#switchKeys(
        clean.map((c) => sources[c]),
        targets.map((target) => ({ ...target, outputs: clean.map((c) => target.outputs[c]) })),
        limbs,
      );
    }
    values.forEach((_, c) => {
      if (!hasZero(c)) return;
      const filled = engine.allocate(1, limbs);
      steps.forEach((step, t) => {
        const { marks } = engine.rotation(step);
        for (let j = 0; j < limbs; j++) {
          threads.task();
          const to = engine.limb(filled, 0, j);
          threads.kernels.fillZeros(engine.limb(digits, c, j), marks, to, n, rings[j].q);
        }
        threads.phase();
        this.#switchKeys(
          [{ values: sources[c].values, digits: filled.address }],
          [{ ...targets[t], outputs: [targets[t].outputs[c]] }],
          limbs,
        );
      });
      memory.free(filled.address);
    });
    memory.free(zeros);
    memory.free(digits.address);
  }

  add(a: FastCiphertext, b: FastCiphertext): FastCiphertext {
    const engine = this.#engine;
    const out = this.#make(a.polynomials, a.limbs);
    this.#eachLimb(out, (k, i) => {
      const { n, q } = engine.rings[i];
      engine.threads.kernels.add(engine.limb(a, k, i), engine.limb(b, k, i), engine.limb(out, k, i), n, q);
    });
    engine.threads.run();
    return out;
  }

  addPlain(v: FastCiphertext, p: PeriodicPlain): FastCiphertext {
    const engine = this.#engine;
    const { memory, rings, threads } = engine;
    const out = this.#make(v.polynomials, v.limbs);
    const values = memory.allocate(4 * p.residues.length);
    memory.words.set(p.residues, values / 4);
    const blocks = p.residues.length / p.limbs;
    this.#eachLimb(out, (k, i) => {
      const { n, q } = rings[i];
      const [from, to] = [engine.limb(v, k, i), engine.limb(out, k, i)];
      if (k > 0) threads.kernels.copy(from, to, n);
      else threads.kernels.addPeriodic(from, values + 4 * i * blocks, to, n, n / blocks, q);
    });
    threads.run();
    this.#release(values);
    return out;
  }

  multiplyPlainSum(values: FastCiphertext[], rows: (PeriodicPlain | null)[][]): (FastCiphertext | null)[] {
    return this.#multiply(values, rows, rows);
  }

  multiplyPlainSums(
    values: FastCiphertext[],
    matrices: (PeriodicPlain | null)[][][],
  ): (FastCiphertext | null)[][] {
    const sums = this.#multiply(values, matrices.flat(), matrices).values();
    return matrices.map((rows) => rows.map(() => sums.next().value!));
  }

  square(v: FastCiphertext): FastCiphertext {
    const engine = this.#engine;
    const out = this.#make(3, v.limbs);
    for (let i = 0; i < v.limbs; i++) {
      const { n, q, one, carry } = engine.rings[i];
      const [c0, c1] = [engine.limb(v, 0, i), engine.limb(v, 1, i)];
      const [out0, out1, out2] = [0, 1, 2].map((k) => engine.limb(out, k, i));
      engine.threads.task();
      engine.threads.kernels.square(c0, c1, out0, out1, out2, n, q, one, ...carry);
    }
    engine.threads.run();
    return out;
  }

  multiply(a: FastCiphertext, b: FastCiphertext, _times: number): FastCiphertext {
    if (a === b) return this.square(a);
    const engine = this.#engine;
    const out = this.#make(3, a.limbs);
    for (let i = 0; i < a.limbs; i++) {
      const { n, q, one, carry } = engine.rings[i];
      const [a0, a1, b0, b1] = [a, b].flatMap((v) => [engine.limb(v, 0, i), engine.limb(v, 1, i)]);
      const [out0, out1, out2] = [0, 1, 2].map((k) => engine.limb(out, k, i));
      engine.threads.task();
      engine.threads.kernels.multiplyPairs(a0, a1, b0, b1, out0, out1, out2, n, q, one, ...carry);
    }
    engine.threads.run();
    return out;
  }

  dropLevel(v: FastCiphertext, limbs: number, _times: number): FastCiphertext {
    const engine = this.#engine;
    const out = this.#make(v.polynomials, limbs);
    this.#eachLimb(out, (k, i) => {
      engine.threads.kernels.copy(engine.limb(v, k, i), engine.limb(out, k, i), engine.rings[i].n);
    });
    engine.threads.run();
    return out;
  }

  relinearise(v: FastCiphertext): FastCiphertext {
    const engine = this.#engine;
    const { limbs } = v;
    const key = this.#key(this.#keys?.relinearisation, limbs);
    const out = this.#make(2, limbs);
    const values = (limb: number) => engine.limb(v, 2, limb);
    const digits = this.#decompose(values, key, limbs);
    engine.threads.phase();
    this.#switchKeys(
      [{ values, digits: digits.address }],
      [{ key, start: 0, table: 0, outputs: [{ addends: [v, v], out }] }],
      limbs,
    );
    this.#release(digits.address);
    return out;
  }

  /**
   * (c - [c + q/2]_q + q/2) / q for the last prime q, as SEAL does it (native/src/seal/util/rns.cpp,
   * divide_and_round_q_last_ntt_inplace). The scale is the plan's business.
   */
  rescale(v: FastCiphertext, _scale: number): FastCiphertext {
    const engine = this.#engine;
    const limbs = v.limbs - 1;
    const out = this.#make(v.polynomials, limbs);
    const last = engine.allocate(v.polynomials, 1);
    const divisions = Array.from({ length: v.polynomials }, (_, k) => ({
      from: () => engine.limb(v, k, limbs),
      remainder: engine.limb(last, k, 0),
      values: (i: number) => engine.limb(v, k, i),
      addend: null,
      table: 0,
      out: (i: number) => engine.limb(out, k, i),
    }));
    this.#divide(divisions, engine.division([limbs], limbs));
    engine.threads.run();
    this.#release(last.address);
    return out;
  }

  free(v: FastCiphertext): void {
    this.#made.delete(v);
    this.#release(v.address);
  }

  #release(address: number): void {
    if (this.#released) this.#released.push(address);
    else this.#engine.memory.free(address);
  }

  /**
   * Sums of products, whose packed weights belong to `owner`. In chunks of all values that fit the cache, so that they are
   * read from memory once for all rows.
   */
  #multiply(
    values: FastCiphertext[],
    rows: (PeriodicPlain | null)[][],
    owner: object,
  ): (FastCiphertext | null)[] {
    const engine = this.#engine;
    const { rings, stride, threads } = engine;
    const { n } = engine.parameters;
    const { limbs } = values[0];
    const sums = rows.map((row) => (row.some((p) => p !== null) ? this.#make(2, limbs) : null));
    const groups = engine.pack(owner, rows, limbs).flatMap((group, g) => {
      if (!group) return [];
      const outputs = sums.slice(OUTPUTS * g, OUTPUTS * (g + 1));
      return [{ ...group, outputs, pointers: this.#addresses(group.columns.map((k) => values[k])) }];
    });
    const chunk = Math.min(n, Math.max(64, 2 ** Math.floor(Math.log2(CACHED_WORDS / values.length))));
    for (let i = 0; i < limbs; i++) {
      const ring = rings[i];
      const { q, one, carry } = ring;
      const most = ring.group(q);
      for (let k = 0; k < 2; k++) {
        const offset = (k * limbs + i) * stride;
        for (let from = 0; from < n; from += chunk) {
          threads.task();
          for (const { columns, weights, run, outputs, pointers } of groups) {
            const to = (o: number) =>
              (outputs[o] ? engine.limb(outputs[o], k, i) : threads.local(0)) + 4 * from;
            const block = Math.floor(from / run);
            threads.kernels.periodicProducts(
              pointers,
              offset + 4 * from,
              weights[i] + 4 * OUTPUTS * columns.length * block,
              to(0),
              to(1),
              to(2),
              to(3),
              chunk,
              Math.min(run, chunk),
              columns.length,
              most,
              q,
              one,
              ...carry,
            );
          }
        }
      }
    }
    threads.run();
    for (const { pointers } of groups) this.#release(pointers);
    return sums;
  }

  /**
   * Switches every source to every target's key. With keys of SEAL's kind as SEAL does it (native/src/seal/evaluator.cpp,
   * switch_key_inplace): digits of one prime each in [0, q), division by the special prime with rounding. Grouped keys (Han and Ki
   * 2020, eprint 2019/688): digits and the division's remainders are centred, and up to half as many times their modulus as they
   * have primes. All targets have one gadget. Runs what was noted.
   */
  #switchKeys(sources: Source[], targets: Target[], limbs: number): void {
    const engine = this.#engine;
    const { threads } = engine;
    const { n } = engine.parameters;
    const switching = engine.switching(targets[0].key, limbs);
    const { rings } = switching;
    const products = engine.allocate(2 * targets.length * sources.length, rings.length);
    const product = (t: number, c: number, k: number, i: number) =>
      engine.limb(products, 2 * (t * sources.length + c) + k, i);
    rings.forEach((_, i) => {
      // Two ciphertexts at a time, while a piece of the key is in the cache.
      for (let c = 0; c < sources.length; c += 2) {
        threads.task();
        const pair = sources.slice(c, c + 2);
        const digits = this.#digitsModulo(pair, switching, i, 0);
        targets.forEach(({ key, start }, t) => {
          const to = pair.flatMap((_, half) => [0, 1].map((k) => product(t, c + half, k, i)));
          this.#keyProducts(digits, { key, start: start && start + i * 8 * n }, switching, i, to);
        });
      }
    });
    threads.phase();
    const divisions = targets.flatMap(({ table, outputs }, t) =>
      outputs.flatMap(({ addends, out }, c) =>
        [0, 1].map((k) => {
          const addend = addends[k];
          return {
            from: (special: number) => product(t, c, k, limbs + special),
            remainder: product(t, c, k, limbs),
            values: (i: number) => product(t, c, k, i),
            addend: addend && ((i: number) => engine.limb(addend, k, i)),
            table,
            out: (i: number) => engine.limb(out, k, i),
          };
        }),
      ),
    );
    this.#divide(divisions, switching.division);
    threads.run();
    this.#release(products.address);
  }

  /**
   * Notes down the transforms of one or two polynomials' digits modulo one of the switching's primes, in scratch memory from limb
   * `from` on; where each polynomial's first digit will be, and the others.
   */
  #digitsModulo(
    sources: Source[],
    { rings, owners, digits }: Switching,
    i: number,
    from: number,
  ): [number, number][] {
    const { stride, threads } = this.#engine;
    return sources.map((source, half) => {
      const local = threads.local((from + half * digits.length) * stride);
      let to = local;
      for (const { first, conversions } of digits) {
        const conversion = conversions[i];
        if (!conversion) continue;
        this.#convert(source.digits + first * stride, conversion, rings[i], to);
        to += stride;
      }
      return owners[i] < 0 ? [local, local + stride] : [source.values(i), local];
    });
  }

  /** Notes down the products of one or two polynomials' digits with a key, modulo one of the switching's primes. */
  #keyProducts(
    digits: [number, number][],
    { key, start }: { key: FastKey; start: number },
    { limbs, rings, digits: { length }, groups }: Switching,
    i: number,
    out: number[],
  ): void {
    const engine = this.#engine;
    const [[firstA, restA], [firstB, restB] = [0, 0]] = digits;
    const [outA0, outA1, outB0 = 0, outB1 = 0] = out;
    const { n, q, one, carry } = rings[i];
    engine.threads.kernels.switchProducts(
      ...([firstA, restA, firstB, restB, engine.stride, engine.keyLimb(key, i, limbs), start] as const),
      ...([outA0, outA1, outB0, outB1, n, length, key.gadget.digits.length, groups[i], q, one] as const),
      ...carry,
    );
  }

  /** Notes down divisions, rounding. */
  #divide(polynomials: Dividend[], { from: origins, to }: Division): void {
    const engine = this.#engine;
    const { rings, stride, threads } = engine;
    for (const { from, remainder } of polynomials) {
      origins.forEach(({ ring, scale, half }, k) => {
        const coefficients = remainder + k * stride;
        threads.task();
        ring.inverse(from(k), coefficients, scale);
        threads.kernels.shift(coefficients, ring.n, half, ring.q);
      });
    }
    threads.phase();
    const turned = threads.local(0);
    for (const { remainder, values, addend, table, out } of polynomials) {
      to.forEach((conversion, i) => {
        const { n, q } = rings[i];
        threads.task();
        this.#convert(remainder, conversion, rings[i], turned);
        threads.kernels.divide(
          ...([values(i), turned, addend ? addend(i) : 0, table, out(i), n, q, conversion.bound] as const),
          ...conversion.inverse,
        );
      });
    }
  }

  /** Notes down the transform modulo a prime of coefficients modulo others, which are one after another. */
  #convert(
    coefficients: number,
    { factors, count, start, offset, lazy }: Conversion,
    ring: Ring,
    out: number,
  ): void {
    const { stride, threads } = this.#engine;
    if (factors === 0) {
      ring.forward(coefficients, out, lazy, offset);
      return;
    }
    threads.kernels.convert(coefficients, stride, factors, count, start, out, ring.n, ring.q);
    ring.forward(out, out, lazy);
  }

  #key(keys: FastKey[] | undefined, limbs: number): FastKey {
    const key = serving(keys ?? [], limbs, ({ gadget }) => gadget.limbs);
    if (key) return key;
    throw new BlindbeatError('INTERNAL', `no key for a ciphertext of ${limbs} limbs was planned`);
  }

  #make(polynomials: number, limbs: number): FastCiphertext {
    const made = this.#engine.allocate(polynomials, limbs);
    this.#made.add(made);
    return made;
  }

  /** A task for every limb of every polynomial. */
  #eachLimb({ polynomials, limbs }: FastCiphertext, note: (polynomial: number, limb: number) => void): void {
    for (let k = 0; k < polynomials; k++)
      for (let i = 0; i < limbs; i++) {
        this.#engine.threads.task();
        note(k, i);
      }
  }

  /** A new list of the addresses of ciphertexts, for a kernel. */
  #addresses(values: FastCiphertext[]): number {
    const { memory } = this.#engine;
    const list = memory.allocate(4 * values.length);
    memory.words.set(
      values.map((v) => v.address),
      list / 4,
    );
    return list;
  }
}

/** A polynomial to be divided by primes that are dropped. */
interface Dividend {
  /** Address of the limb of the k-th of them. */
  from: (k: number) => number;
  /** Room for their coefficients, one after another. */
  remainder: number;
  values: (limb: number) => number;
  /** What is added to the quotient. */
  addend: ((limb: number) => number) | null;
  /** Of an automorphism, or 0. */
  table: number;
  out: (limb: number) => number;
}

/** The product of some primes modulo another. */
function productMod(from: { ring: { q: number } }[], q: number): number {
  return from.reduce((product, { ring }) => multiplyMod(product, ring.q % q, q), 1 % q);
}

function limbStride(n: number): number {
  return 4 * n + 64;
}
