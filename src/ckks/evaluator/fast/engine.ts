import { allPrimes, type Parameters } from '../../ring/parameters.ts';
import { PeriodicEncoder } from '../../ring/periodic-encoder.ts';
import type { RawCiphertext } from '../../seal/bytes.ts';
import type { KernelKind } from '../executor.ts';
import { Automorphisms } from './automorphism.ts';
import { BaseConversions } from './base-conversion.ts';
import { availableKernels } from './kernels/kernels.ts';
import { WasmMemory } from './kernels/memory.ts';
import { Ring } from './kernels/ring.ts';
import { Threads } from './kernels/threads.ts';
import { PreparedGadgets } from './prepared-gadget.ts';
import { SeedExpander } from './seeds.ts';
import { PackedWeights } from './weights.ts';

/**
 * A ciphertext in NTT form in the engine's memory: `[polynomials][limbs]` slots of n residues below their
 * primes.
 */
export interface FastCiphertext {
  address: number;
  polynomials: number;
  limbs: number;
}

/**
 * What evaluating one plan needs, keys aside: the kernels on their threads, and ciphertexts, tables and
 * packed weights in one memory. Made once per plan.
 */
export class FastEngine implements Disposable {
  readonly parameters: Parameters;
  readonly memory: WasmMemory;
  readonly threads: Threads;
  /** One for each prime, in the order of `allPrimes`; their transforms are noted down for the threads. */
  readonly rings: Ring[];
  /**
   * Bytes from one limb to the next: a cache line more than it needs, so that equal places fall in different
   * cache sets.
   */
  readonly stride: number;
  readonly encoder: PeriodicEncoder;
  readonly automorphisms: Automorphisms;
  readonly conversions: BaseConversions;
  readonly gadgets: PreparedGadgets;
  readonly weights: PackedWeights;
  readonly seeds: SeedExpander;

  private constructor(parameters: Parameters, memory: WasmMemory, threads: Threads) {
    const { n, primes } = parameters;
    this.parameters = parameters;
    this.memory = memory;
    this.threads = threads;
    this.rings = allPrimes(parameters).map((q) => new Ring(threads.kernels, threads.set.lanes, memory, n, q));
    this.stride = limbStride(n);
    this.encoder = new PeriodicEncoder(n, primes);
    this.automorphisms = new Automorphisms(memory, n, threads.set.lanes);
    this.conversions = new BaseConversions(memory, threads, this.rings, this.stride);
    this.gadgets = new PreparedGadgets(parameters, this.rings, this.conversions);
    this.weights = new PackedWeights(memory, n);
    this.seeds = new SeedExpander(memory, threads, this.rings);
  }

  /**
   * @param threads how many compute, this one included; the results are the same
   * @param kind of kernels; default: those with the widest vectors that this machine has
   * @throws BlindbeatError USAGE for what is no number of threads, ENVIRONMENT where WebAssembly has no SIMD
   * or not enough memory, or these kernels cannot be loaded
   */
  static async open(parameters: Parameters, threads = 1, kind?: KernelKind): Promise<FastEngine> {
    const memory = new WasmMemory();
    const [widest] = availableKernels(parameters.n);
    // Two ciphertexts' digits and products.
    const scratch = (2 * parameters.primes.length + 4) * limbStride(parameters.n);
    return new FastEngine(parameters, memory, await Threads.open(memory, threads, scratch, kind ?? widest));
  }

  /** Lets the threads end. */
  [Symbol.dispose](): void {
    this.threads[Symbol.dispose]();
  }

  /** Room for a ciphertext, not cleared; give its address back to `memory.free`. */
  allocate(polynomials: number, limbs: number): FastCiphertext {
    return { address: this.memory.allocate(this.bytesOf(polynomials, limbs)), polynomials, limbs };
  }

  /** Bytes of a ciphertext. */
  bytesOf(polynomials: number, limbs: number): number {
    const count = polynomials * limbs;
    // An odd number of cache lines: see `stride`.
    return count * this.stride + (count % 2 === 0 ? 64 : 0);
  }

  /** Address of one limb of one polynomial. */
  limb(v: FastCiphertext, polynomial: number, limb: number): number {
    return v.address + (polynomial * v.limbs + limb) * this.stride;
  }

  /** A copy of the residues of one limb. */
  read(v: FastCiphertext, polynomial: number, limb: number): Uint32Array {
    const start = this.limb(v, polynomial, limb) / 4;
    return this.memory.words.slice(start, start + this.parameters.n);
  }

  /** A ciphertext that SEAL saved, at any level. */
  load(raw: RawCiphertext): FastCiphertext {
    const { n } = this.parameters;
    const v = this.allocate(raw.polynomials, raw.limbs);
    for (let k = 0; k < raw.polynomials; k++)
      for (let i = 0; i < raw.limbs; i++) {
        const source = 2 * n * (k * raw.limbs + i);
        const start = this.limb(v, k, i) / 4;
        const { words } = this.memory;
        for (let j = 0; j < n; j++) words[start + j] = raw.words[source + 2 * j];
      }
    return v;
  }
}

function limbStride(n: number): number {
  return 4 * n + 64;
}
