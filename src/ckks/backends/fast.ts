import { BlindbeatError } from '../../errors.ts';
import type { Backend } from '../backend.ts';
import { WasmMemory } from '../kernels/memory.ts';
import { type Factor, factor, type Lazy, Ring } from '../kernels/ring.ts';
import { Threads } from '../kernels/threads.ts';
import { inverseMod } from '../modular.ts';
import type { Parameters } from '../parameters.ts';
import { PeriodicEncoder, type PeriodicPlain } from '../periodic.ts';
import { galoisElement, type RawCiphertext } from '../seal-bytes.ts';

/** A ciphertext in NTT form in the engine's memory: `[polynomials][limbs]` slots of n residues below their primes. */
export interface FastCiphertext {
  address: number;
  polynomials: number;
  limbs: number;
}

/**
 * A key-switching key of `limbs` digits for ciphertexts of at most as many limbs:
 * `[limbs and special][n / 4][digit][2 polynomials][4]` residues, in the order in which they are used: modulo the prime of a
 * digit, that digit comes first. Keys of rotations are turned back, so that digits need not be turned.
 */
export interface FastKey {
  address: number;
  limbs: number;
  /** Rotation step, or null. */
  step: number | null;
  /** By limbs of a ciphertext: the address of what its inner products start with, see `FastEngine.starts`. */
  starts: Map<number, number>;
}

/** The keys of one client; freed with `FastEngine.freeKey`. */
export interface FastKeys {
  relinearisation: FastKey;
  /** By rotation step. */
  galois: Map<number, FastKey>;
}

/** Weights of four sums: the columns that carry any, and per limb `[block][column][4]` residues. */
interface RowGroup {
  columns: number[];
  /** Addresses by limb. */
  weights: number[];
  /** Residues per block. */
  run: number;
}

/** Division by the prime of a dropped limb: what a remaining prime needs. */
interface Division {
  inverse: Factor;
  offset: number;
  lazy: Lazy;
  /** Multiple of the prime that is no less than what comes out of the transform. */
  bound: number;
}

/** What rotating by a number of slots needs. */
interface Rotation {
  /** Address of the table of the automorphism in NTT form, see `placeKey` in ../kernels/assembly. */
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
  /** Address of its coefficients. */
  digits: (limb: number) => number;
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
  readonly #divisions = new Map<number, Division[]>();
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
    // Two ciphertexts' digits.
    const scratch = 2 * parameters.primes.length * limbStride(parameters.n);
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

  /** Bytes of one limb of a key with `digits` digits. */
  keyBlock(digits: number): number {
    return 8 * this.parameters.n * digits;
  }

  /**
   * The first `limbs` digits of a key that SEAL saved, at the key level, without the limbs that they are not used at.
   *
   * @param step what the key rotates by, or null
   */
  loadKey(digits: Iterable<RawCiphertext>, limbs: number, step: number | null): FastKey {
    const address = this.memory.allocate((limbs + 1) * this.keyBlock(limbs));
    const key: FastKey = { address, limbs, step, starts: new Map() };
    const scratch = this.memory.allocate(8 * this.parameters.n);
    let digit = 0;
    try {
      for (const { words } of digits) if (digit < limbs) this.#placeDigit(key, digit++, words, scratch);
      if (digit < limbs)
        throw new BlindbeatError('INTERNAL', `a key has ${digit} digits instead of ${limbs}`);
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

  /** Address of a key's part for one limb of a ciphertext of `limbs` limbs, after which comes the special prime's. */
  keyLimb(key: FastKey, limb: number, limbs: number): number {
    return key.address + (limb < limbs ? limb : key.limbs) * this.keyBlock(key.limbs);
  }

  #placeDigit(key: FastKey, digit: number, words: Uint32Array, scratch: number): void {
    const { n, primes } = this.parameters;
    const all = primes.length + 1;
    const table = key.step === null ? 0 : this.rotation(key.step).inverse;
    for (let limb = 0; limb <= key.limbs; limb++) {
      const from = limb < key.limbs ? limb : primes.length;
      const position = limb === digit ? 0 : limb > digit && limb < key.limbs ? digit + 1 : digit;
      for (let k = 0; k < 2; k++) {
        const start = 2 * n * (k * all + from);
        this.memory.words.set(words.subarray(start, start + 2 * n), scratch / 4);
        const place = key.address + limb * this.keyBlock(key.limbs) + 32 * position + 16 * k;
        this.threads.module.placeKey(scratch, place, n, key.limbs, table);
      }
    }
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
        ...([part, list, f, address + i * 8 * n, n, limbs, key.limbs, group, q, one] as const),
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

  /** Dividing by the prime `dropped` (an index), for each prime below `limbs`. */
  divisions(dropped: number, limbs: number): Division[] {
    const key = 64 * dropped + limbs;
    let divisions = this.#divisions.get(key);
    if (!divisions) {
      const p = this.rings[dropped].q;
      const half = p >> 1;
      divisions = this.rings.slice(0, limbs).map((ring): Division => {
        const { q } = ring;
        // x + half mod p becomes x - half mod q when a multiple of q, no less than half, is added.
        const offset = q * Math.ceil(half / q) - half;
        const lazy = ring.lazy(p + offset);
        return {
          inverse: factor(inverseMod(p % q, q), q),
          offset,
          lazy,
          bound: q * Math.ceil((lazy.bound - 1) / q),
        };
      });
      this.#divisions.set(key, divisions);
    }
    return divisions;
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

/** The network on real ciphertexts, by our own kernels: bit for bit what node-seal's Evaluator computes. */
export class FastBackend implements Backend<FastCiphertext, PeriodicPlain>, Disposable {
  readonly #engine: FastEngine;
  readonly #keys: FastKeys | null;
  readonly #made = new Set<FastCiphertext>();
  readonly #digits: { lazy: Lazy; group: number }[];
  /** While computations are noted down together: what they gave back, which is used until they are carried out. */
  #released: number[] | null = null;

  /** @param keys null for encoding weights only */
  constructor(engine: FastEngine, keys: FastKeys | null) {
    this.#engine = engine;
    this.#keys = keys;
    // A digit where zeros became primes is at most the largest prime.
    const bound = Math.max(...engine.parameters.primes) + 1;
    this.#digits = engine.rings.map((ring) => {
      const lazy = ring.lazy(bound);
      return { lazy, group: ring.group(lazy.bound) };
    });
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    for (const v of this.#made) this.#engine.memory.free(v.address);
    this.#made.clear();
  }

  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): PeriodicPlain {
    return { residues: this.#engine.encoder.encode(real, scale, limbs, imaginary), limbs, scale };
  }

  together<R>(computations: (() => R)[]): R[] {
    const released: number[] = [];
    this.#released = released;
    try {
      return this.#engine.threads.together(computations);
    } finally {
      this.#released = null;
      for (const address of released) this.#engine.memory.free(address);
    }
  }

  rotate(v: FastCiphertext, step: number): FastCiphertext {
    return this.rotateAll([v], [step])[0][0];
  }

  /**
   * Hoisted, and yet bit for bit as SEAL: digits are taken and transformed once for all steps; keys are turned back, so that
   * only the outcome is turned; `starts` makes up for the signs. A zero digit keeps its value under a change of sign, which
   * is rare: such a value's digits are taken anew for each step. To know them it must run: it cannot be part of `together`.
   */
  rotateAll(values: FastCiphertext[], steps: number[]): FastCiphertext[][] {
    if (this.#released) throw new BlindbeatError('INTERNAL', 'a rotation cannot be noted down with others');
    const engine = this.#engine;
    const { memory, threads, rings } = engine;
    const { n } = engine.parameters;
    const { limbs } = values[0];
    const targets = steps.map((step): Target => {
      const key = this.#key(this.#keys?.galois.get(step), limbs);
      const outputs = values.map((v) => ({ addends: [v, null], out: this.#make(2, limbs) }));
      return { key, start: engine.starts(key, limbs), table: engine.rotation(step).table, outputs };
    });
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
        digits: (j) => engine.limb(digits, c, j),
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
          threads.kernels.fillZeros(sources[c].digits(j), marks, to, n, rings[j].q);
        }
        threads.phase();
        this.#switchKeys(
          [{ values: sources[c].values, digits: (j) => engine.limb(filled, 0, j) }],
          [{ ...targets[t], outputs: [targets[t].outputs[c]] }],
          limbs,
        );
      });
      memory.free(filled.address);
    });
    memory.free(zeros);
    memory.free(digits.address);
    return targets.map(({ outputs }) => outputs.map(({ out }) => out));
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

  multiplySum(values: FastCiphertext[], rows: (PeriodicPlain | null)[][]): (FastCiphertext | null)[] {
    return this.#multiply(values, rows, rows);
  }

  multiplySums(
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

  drop(v: FastCiphertext, limbs: number, _times: number): FastCiphertext {
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
    const digits = engine.allocate(1, limbs);
    for (let j = 0; j < limbs; j++) {
      engine.threads.task();
      engine.rings[j].inverse(engine.limb(v, 2, j), engine.limb(digits, 0, j));
    }
    engine.threads.phase();
    this.#switchKeys(
      [{ values: (j) => engine.limb(v, 2, j), digits: (j) => engine.limb(digits, 0, j) }],
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
      from: engine.limb(v, k, limbs),
      remainder: engine.limb(last, k, 0),
      values: (i: number) => engine.limb(v, k, i),
      addend: null,
      table: 0,
      out: (i: number) => engine.limb(out, k, i),
    }));
    this.#divide(divisions, limbs, limbs);
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
   * Switches every source to every target's key, as SEAL does it (native/src/seal/evaluator.cpp, switch_key_inplace): digits
   * of one prime each in [0, q), division by the special prime with rounding. Runs what was noted.
   */
  #switchKeys(sources: Source[], targets: Target[], limbs: number): void {
    const engine = this.#engine;
    const { rings, stride, threads } = engine;
    const { n } = engine.parameters;
    const special = rings.length - 1;
    const products = engine.allocate(2 * targets.length * sources.length, limbs + 1);
    const product = (t: number, c: number, k: number, i: number) =>
      engine.limb(products, 2 * (t * sources.length + c) + k, i);
    for (let i = 0; i <= limbs; i++) {
      const prime = i < limbs ? i : special;
      const ring = rings[prime];
      const { lazy, group } = this.#digits[prime];
      // Two ciphertexts at a time, while a piece of the key is in the cache.
      for (let c = 0; c < sources.length; c += 2) {
        threads.task();
        const digits = sources.slice(c, c + 2).flatMap((source, half) => {
          const others = Array.from({ length: limbs }, (_, j) => j).filter((j) => j !== i);
          const local = threads.local(half * limbs * stride);
          others.forEach((j, at) => {
            ring.forward(source.digits(j), local + at * stride, lazy);
          });
          return i < limbs ? [source.values(i), local] : [local, local + stride];
        });
        const [firstA, restA, firstB = 0, restB = 0] = digits;
        targets.forEach(({ key, start }, t) => {
          const to = (half: number, k: number) =>
            c + half < sources.length ? product(t, c + half, k, i) : 0;
          threads.kernels.switchProducts(
            firstA,
            restA,
            firstB,
            restB,
            stride,
            engine.keyLimb(key, i, limbs),
            start && start + i * 8 * n,
            to(0, 0),
            to(0, 1),
            to(1, 0),
            to(1, 1),
            n,
            limbs,
            key.limbs,
            group,
            ring.q,
            ring.one,
            ...ring.carry,
          );
        });
      }
    }
    threads.phase();
    const divisions = targets.flatMap(({ table, outputs }, t) =>
      outputs.flatMap(({ addends, out }, c) =>
        [0, 1].map((k) => {
          const from = product(t, c, k, limbs);
          const addend = addends[k];
          return {
            from,
            remainder: from,
            values: (i: number) => product(t, c, k, i),
            addend: addend && ((i: number) => engine.limb(addend, k, i)),
            table,
            out: (i: number) => engine.limb(out, k, i),
          };
        }),
      ),
    );
    this.#divide(divisions, special, limbs);
    threads.run();
    this.#release(products.address);
  }

  /** Notes down divisions by the prime `dropped`, rounding. */
  #divide(polynomials: Dividend[], dropped: number, limbs: number): void {
    const engine = this.#engine;
    const { rings, threads } = engine;
    const { n, q: p } = rings[dropped];
    for (const { from, remainder } of polynomials) {
      threads.task();
      rings[dropped].inverse(from, remainder);
      threads.kernels.shift(remainder, n, p >> 1, p);
    }
    threads.phase();
    const turned = threads.local(0);
    for (const { remainder, values, addend, table, out } of polynomials) {
      engine.divisions(dropped, limbs).forEach(({ inverse, offset, lazy, bound }, i) => {
        const { q } = rings[i];
        threads.task();
        rings[i].forward(remainder, turned, lazy, offset);
        threads.kernels.divide(
          ...([values(i), turned, addend ? addend(i) : 0, table, out(i), n, q, bound] as const),
          ...inverse,
        );
      });
    }
  }

  #key(key: FastKey | undefined, limbs: number): FastKey {
    if (key && key.limbs >= limbs) return key;
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

/** A polynomial to be divided by a prime that is dropped. */
interface Dividend {
  /** Address of the limb of that prime. */
  from: number;
  /** Room for its coefficients. */
  remainder: number;
  values: (limb: number) => number;
  /** What is added to the quotient. */
  addend: ((limb: number) => number) | null;
  /** Of an automorphism, or 0. */
  table: number;
  out: (limb: number) => number;
}

function limbStride(n: number): number {
  return 4 * n + 64;
}

function bitReversal(n: number): Uint32Array {
  const out = new Uint32Array(n);
  for (let i = 1; i < n; i++) out[i] = (out[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
  return out;
}
