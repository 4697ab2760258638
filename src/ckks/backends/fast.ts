import { BlindbeatError } from '../../errors.ts';
import type { Backend } from '../backend.ts';
import { type Kernels, loadKernels } from '../kernels/kernels.ts';
import { WasmMemory } from '../kernels/memory.ts';
import { type Factor, factor, type Lazy, Ring } from '../kernels/ring.ts';
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
 * `[limbs and special][n / 4][digit][2 polynomials][4]` residues, in the order in which they are used.
 */
export interface FastKey {
  address: number;
  limbs: number;
}

/** The keys of one client; freed with `FastEngine.free`. */
export interface FastKeys {
  relinearisation: FastKey;
  /** By rotation step. */
  galois: Map<number, FastKey>;
}

/** Weights of four outputs: the columns that carry any, and per limb `[block][column][4]` residues. */
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

const OUTPUTS = 4;
/** Residues of all columns of a convolution that the second-level cache takes beside the sums: 256 KiB. */
const CACHED_WORDS = 65536;

/**
 * What evaluating one plan needs, keys aside: tables, permutations and packed weights, in one memory. Made once per plan.
 */
export class FastEngine {
  readonly parameters: Parameters;
  readonly encoder: PeriodicEncoder;
  readonly memory: WasmMemory;
  readonly kernels: Kernels;
  /** One for each data prime, then the special one. */
  readonly rings: Ring[];
  /** Bytes from one limb to the next: a cache line more than it needs, so that equal places fall in different cache sets. */
  readonly stride: number;
  readonly #permutations = new Map<number, number>();
  readonly #divisions = new Map<number, Division[]>();
  readonly #packed = new WeakMap<object, (RowGroup | null)[]>();

  private constructor(parameters: Parameters, memory: WasmMemory, kernels: Kernels) {
    const { n, primes, special } = parameters;
    this.parameters = parameters;
    this.memory = memory;
    this.kernels = kernels;
    this.encoder = new PeriodicEncoder(n, primes);
    this.rings = [...primes, special].map((q) => new Ring(kernels, memory, n, q));
    this.stride = 4 * n + 64;
  }

  /**
   * @throws BlindbeatError ENVIRONMENT where WebAssembly has no SIMD or not enough memory
   */
  static async open(parameters: Parameters): Promise<FastEngine> {
    const memory = new WasmMemory();
    return new FastEngine(parameters, memory, await loadKernels(memory.memory));
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

  /** The first `limbs` digits of a key that SEAL saved, at the key level, without the limbs that they are not used at. */
  loadKey(digits: Iterable<RawCiphertext>, limbs: number): FastKey {
    const key = { address: this.memory.allocate((limbs + 1) * this.keyBlock(limbs)), limbs };
    const scratch = this.memory.allocate(8 * this.parameters.n);
    let digit = 0;
    try {
      for (const { words } of digits) if (digit < limbs) this.#placeDigit(key, digit++, words, scratch);
      if (digit < limbs)
        throw new BlindbeatError('INTERNAL', `a key has ${digit} digits instead of ${limbs}`);
      return key;
    } catch (error) {
      this.memory.free(key.address);
      throw error;
    } finally {
      this.memory.free(scratch);
    }
  }

  #placeDigit(key: FastKey, digit: number, words: Uint32Array, scratch: number): void {
    const { n, primes } = this.parameters;
    const all = primes.length + 1;
    for (let limb = 0; limb <= key.limbs; limb++) {
      const from = limb < key.limbs ? limb : primes.length;
      for (let k = 0; k < 2; k++) {
        const start = 2 * n * (k * all + from);
        this.memory.words.set(words.subarray(start, start + 2 * n), scratch / 4);
        const place = key.address + limb * this.keyBlock(key.limbs) + 32 * digit + 16 * k;
        this.kernels.placeKey(scratch, place, n, key.limbs);
      }
    }
  }

  /** Address of the table of the rotation by `step` slots in NTT form (SEAL native/src/seal/util/galois.cpp). */
  permutation(step: number): number {
    let address = this.#permutations.get(step);
    if (address === undefined) {
      const { n } = this.parameters;
      address = this.memory.allocate(4 * n);
      const { words } = this.memory;
      const reversed = bitReversal(n);
      const element = galoisElement(step, n);
      // Place i holds the value at root^(2 reversed(i) + 1); it comes from the place of that exponent times the element.
      for (let i = 0; i < n; i++) {
        const exponent = (element * (2 * reversed[i] + 1)) % (2 * n);
        words[address / 4 + i] = reversed[(exponent - 1) / 2];
      }
      this.#permutations.set(step, address);
    }
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

  /** Weights in the order in which the kernel reads them; made once for each array of rows. */
  pack(rows: (PeriodicPlain | null)[][], limbs: number): (RowGroup | null)[] {
    let groups = this.#packed.get(rows);
    if (!groups) {
      groups = [];
      for (let o = 0; o < rows.length; o += OUTPUTS)
        groups.push(this.#packGroup(rows.slice(o, o + OUTPUTS), limbs));
      this.#packed.set(rows, groups);
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
  /** Room for what key switching and rescaling need in between. */
  readonly #scratch = new Map<string, FastCiphertext>();
  /** Room for a list of digits' addresses. */
  readonly #pointers: number;
  /** Values of a coefficient before a digit's transform are below this. */
  readonly #digitBound: number;
  readonly #digits: { lazy: Lazy; group: number }[];

  /** @param keys null for encoding weights only */
  constructor(engine: FastEngine, keys: FastKeys | null) {
    this.#engine = engine;
    this.#keys = keys;
    this.#pointers = engine.memory.allocate(4 * engine.rings.length);
    this.#digitBound = Math.max(...engine.parameters.primes);
    this.#digits = engine.rings.map((ring) => {
      const lazy = ring.lazy(this.#digitBound);
      return { lazy, group: ring.group(lazy.bound) };
    });
  }

  /** Frees everything that it made and that was not freed yet: the outcome, and after an error the rest. */
  [Symbol.dispose](): void {
    const { memory } = this.#engine;
    for (const v of [...this.#made, ...this.#scratch.values()]) memory.free(v.address);
    this.#made.clear();
    this.#scratch.clear();
    memory.free(this.#pointers);
  }

  encode(real: Float64Array, scale: number, limbs: number, imaginary?: Float64Array | null): PeriodicPlain {
    return { residues: this.#engine.encoder.encode(real, scale, limbs, imaginary), limbs, scale };
  }

  rotate(v: FastCiphertext, step: number): FastCiphertext {
    const engine = this.#engine;
    const { n } = engine.parameters;
    const table = engine.permutation(step);
    const out = this.#make(2, v.limbs);
    const turned = this.#temporary('turned', 1, v.limbs);
    for (let i = 0; i < v.limbs; i++) {
      engine.kernels.permute(engine.limb(v, 0, i), engine.limb(out, 0, i), n, table);
      engine.kernels.permute(engine.limb(v, 1, i), engine.limb(turned, 0, i), n, table);
    }
    this.#switchKey(turned, 0, this.#key(this.#keys?.galois.get(step), v.limbs), out, [out, null]);
    return out;
  }

  rotateAll(values: FastCiphertext[], steps: number[]): FastCiphertext[][] {
    return steps.map((step) => values.map((v) => this.rotate(v, step)));
  }

  add(a: FastCiphertext, b: FastCiphertext): FastCiphertext {
    const engine = this.#engine;
    const out = this.#make(a.polynomials, a.limbs);
    for (let k = 0; k < a.polynomials; k++) {
      for (let i = 0; i < a.limbs; i++) {
        const { n, q } = engine.rings[i];
        engine.kernels.add(engine.limb(a, k, i), engine.limb(b, k, i), engine.limb(out, k, i), n, q);
      }
    }
    return out;
  }

  addPlain(v: FastCiphertext, p: PeriodicPlain): FastCiphertext {
    const engine = this.#engine;
    const { kernels, memory, rings } = engine;
    const out = this.#make(v.polynomials, v.limbs);
    const values = memory.allocate(4 * p.residues.length);
    memory.words.set(p.residues, values / 4);
    const blocks = p.residues.length / p.limbs;
    for (let i = 0; i < v.limbs; i++) {
      const { n, q } = rings[i];
      const from = values + 4 * i * blocks;
      kernels.addPeriodic(engine.limb(v, 0, i), from, engine.limb(out, 0, i), n, n / blocks, q);
    }
    memory.free(values);
    const words = (v.limbs * (v.polynomials - 1) * engine.stride) / 4;
    const from = engine.limb(v, 1, 0) / 4;
    memory.words.copyWithin(engine.limb(out, 1, 0) / 4, from, from + words);
    return out;
  }

  multiplySum(values: FastCiphertext[], rows: (PeriodicPlain | null)[][]): (FastCiphertext | null)[] {
    return this.multiplySums(values, [rows])[0];
  }

  /** In chunks of all values that fit the cache, so that they are read from memory once for all matrices. */
  multiplySums(
    values: FastCiphertext[],
    matrices: (PeriodicPlain | null)[][][],
  ): (FastCiphertext | null)[][] {
    const engine = this.#engine;
    const { n } = engine.parameters;
    const { limbs } = values[0];
    const sums = matrices.map((rows) =>
      rows.map((row) => (row.some((p) => p !== null) ? this.#make(2, limbs) : null)),
    );
    const unused = this.#temporary('unused', 1, 1).address;
    const groups = matrices.flatMap((rows, m) =>
      engine.pack(rows, limbs).flatMap((group, g) => {
        if (!group) return [];
        const outputs = sums[m].slice(OUTPUTS * g, OUTPUTS * (g + 1));
        return [{ ...group, outputs, pointers: this.#addresses(group.columns.map((k) => values[k])) }];
      }),
    );
    const chunk = Math.min(n, Math.max(64, 2 ** Math.floor(Math.log2(CACHED_WORDS / values.length))));
    for (let i = 0; i < limbs; i++) {
      const ring = engine.rings[i];
      const { q, one, carry } = ring;
      const most = ring.group(q);
      for (let k = 0; k < 2; k++) {
        const offset = (k * limbs + i) * engine.stride;
        for (let from = 0; from < n; from += chunk) {
          for (const { columns, weights, run, outputs, pointers } of groups) {
            const to = (o: number) => (outputs[o] ? engine.limb(outputs[o], k, i) : unused) + 4 * from;
            const block = Math.floor(from / run);
            engine.kernels.periodicProducts(
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
    for (const { pointers } of groups) engine.memory.free(pointers);
    return sums;
  }

  square(v: FastCiphertext): FastCiphertext {
    const engine = this.#engine;
    const out = this.#make(3, v.limbs);
    for (let i = 0; i < v.limbs; i++) {
      const { n, q, one, carry } = engine.rings[i];
      const [c0, c1] = [engine.limb(v, 0, i), engine.limb(v, 1, i)];
      const [out0, out1, out2] = [0, 1, 2].map((k) => engine.limb(out, k, i));
      engine.kernels.square(c0, c1, out0, out1, out2, n, q, one, ...carry);
    }
    return out;
  }

  relinearise(v: FastCiphertext): FastCiphertext {
    const out = this.#make(2, v.limbs);
    this.#switchKey(v, 2, this.#key(this.#keys?.relinearisation, v.limbs), out, [v, v]);
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
    const last = this.#temporary('last', 1, 1).address;
    for (let k = 0; k < v.polynomials; k++) {
      this.#divide(
        engine.limb(v, k, limbs),
        last,
        limbs,
        limbs,
        (i) => engine.limb(v, k, i),
        (i) => engine.limb(out, k, i),
        null,
      );
    }
    return out;
  }

  free(v: FastCiphertext): void {
    this.#made.delete(v);
    this.#engine.memory.free(v.address);
  }

  /**
   * Switches polynomial `index` of `v` to the secret key and adds what is in `addends` (null: nothing), as SEAL does it
   * (native/src/seal/evaluator.cpp, switch_key_inplace): digits of one prime each in [0, q), division by the special
   * prime with rounding.
   */
  #switchKey(
    v: FastCiphertext,
    index: number,
    key: FastKey,
    out: FastCiphertext,
    addends: (FastCiphertext | null)[],
  ): void {
    const engine = this.#engine;
    const { kernels, memory, rings } = engine;
    const { n } = engine.parameters;
    const { limbs } = v;
    const special = rings.length - 1;
    const digits = this.#temporary('digits', 1, limbs);
    const transformed = this.#temporary('transformed', 1, limbs);
    const products = this.#temporary('products', 2, limbs + 1);
    const pointers = this.#pointers;
    for (let j = 0; j < limbs; j++) rings[j].inverse(engine.limb(v, index, j), engine.limb(digits, 0, j));
    for (let i = 0; i <= limbs; i++) {
      const prime = i < limbs ? i : special;
      const ring = rings[prime];
      const { lazy, group } = this.#digits[prime];
      for (let j = 0; j < limbs; j++) {
        const to = engine.limb(transformed, 0, j);
        if (j !== i) ring.forward(engine.limb(digits, 0, j), to, lazy);
        memory.words[pointers / 4 + j] = j === i ? engine.limb(v, index, j) : to;
      }
      kernels.switchProducts(
        pointers,
        key.address + (i < limbs ? i : key.limbs) * engine.keyBlock(key.limbs),
        engine.limb(products, 0, i),
        engine.limb(products, 1, i),
        n,
        limbs,
        key.limbs,
        group,
        ring.q,
        ring.one,
        ...ring.carry,
      );
    }
    for (let k = 0; k < 2; k++) {
      const last = engine.limb(products, k, limbs);
      const addend = addends[k];
      this.#divide(
        last,
        last,
        special,
        limbs,
        (i) => engine.limb(products, k, i),
        (i) => engine.limb(out, k, i),
        addend && ((i) => engine.limb(addend, k, i)),
      );
    }
  }

  /** Divides by the prime `dropped`, whose limb is at `from`, rounding; uses `scratch`. */
  #divide(
    from: number,
    scratch: number,
    dropped: number,
    limbs: number,
    limb: (i: number) => number,
    out: (i: number) => number,
    addend: ((i: number) => number) | null,
  ): void {
    const engine = this.#engine;
    const { kernels, rings } = engine;
    const { n, q: p } = rings[dropped];
    const turned = this.#temporary('remainder', 1, 1).address;
    rings[dropped].inverse(from, scratch);
    kernels.shift(scratch, n, p >> 1, p);
    engine.divisions(dropped, limbs).forEach(({ inverse, offset, lazy, bound }, i) => {
      const { q } = rings[i];
      rings[i].forward(scratch, turned, lazy, offset);
      if (addend) {
        kernels.subtractMultiplyAdd(limb(i), turned, addend(i), out(i), n, q, bound, ...inverse);
      } else kernels.subtractMultiply(limb(i), turned, out(i), n, q, bound, ...inverse);
    });
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

  /** Room that the next call with the same name uses again. */
  #temporary(name: string, polynomials: number, limbs: number): FastCiphertext {
    const id = `${name} ${limbs}`;
    let there = this.#scratch.get(id);
    if (!there) {
      there = this.#engine.allocate(polynomials, limbs);
      this.#scratch.set(id, there);
    }
    return there;
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

function bitReversal(n: number): Uint32Array {
  const out = new Uint32Array(n);
  for (let i = 1; i < n; i++) out[i] = (out[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
  return out;
}
