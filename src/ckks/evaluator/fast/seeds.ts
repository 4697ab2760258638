import { SEED_SIZE } from '../../seal/bytes.ts';
import { BUFFER_BYTES, sampleUniform } from '../../seal/uniform.ts';
import type { WasmMemory } from './kernels/memory.ts';
import type { Ring } from './kernels/ring.ts';
import type { Threads } from './kernels/threads.ts';

/** BLAKE2b's order of message words by round, RFC 7693, table in section 2.7. */
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const ROUNDS = 12;
/** The initial vector, RFC 7693, section 2.6. */
const VECTOR = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];
const STATE_BYTES = 64;
/** What the kernels need beside their arguments, see ./kernels/assembly/seeds.ts. */
const ROOM_BYTES = 256;

/** Seeds of polynomials, ready to be expanded; free them with `SeedExpander.free`. */
export interface PreparedSeeds {
  seeds: Uint8Array[];
  /** Address of their states, and of a word for each, which is 1 when a limb of it must be drawn again. */
  states: number;
  flags: number;
}

/**
 * Expands seeds into uniform polynomials, byte for byte as SEAL's generator and sampler do (BLAKE2Xb), limb by limb:
 * a limb that is not needed is not made. Calls are noted down for the threads.
 */
export class SeedExpander {
  readonly #memory: WasmMemory;
  readonly #threads: Threads;
  readonly #rings: Ring[];
  readonly #table: number;

  /** @param rings of all primes whose residues a seed stands for, in SEAL's order */
  constructor(memory: WasmMemory, threads: Threads, rings: Ring[]) {
    this.#memory = memory;
    this.#threads = threads;
    this.#rings = rings;
    this.#table = memory.allocate(16 * ROUNDS + 8 * VECTOR.length);
    const bytes = new Uint8Array(memory.memory.buffer, this.#table);
    for (let round = 0; round < ROUNDS; round++)
      SIGMA[round % SIGMA.length].forEach((word, place) => {
        bytes[16 * round + place] = 8 * word;
      });
    const view = new DataView(memory.memory.buffer, this.#table + 16 * ROUNDS);
    VECTOR.forEach((word, k) => {
      view.setBigUint64(8 * k, word, true);
    });
  }

  /** Bytes of scratch memory that `expandLimb` takes. */
  get scratch(): number {
    return SeedExpander.scratch(this.#rings[0].n);
  }

  /** The same for rings of degree n. */
  static scratch(n: number): number {
    return 8 * n + ROOM_BYTES;
  }

  prepare(seeds: Uint8Array[]): PreparedSeeds {
    const memory = this.#memory;
    const states = memory.allocate(STATE_BYTES * seeds.length);
    const flags = memory.allocate(4 * seeds.length);
    memory.words.fill(0, flags / 4, flags / 4 + seeds.length);
    const seedAddress = memory.allocate(SEED_SIZE + ROOM_BYTES);
    seeds.forEach((seed, k) => {
      new Uint8Array(memory.memory.buffer, seedAddress, SEED_SIZE).set(seed);
      const room = seedAddress + SEED_SIZE;
      this.#threads.module.seedState(seedAddress, this.#table, states + STATE_BYTES * k, room);
    });
    memory.free(seedAddress);
    return { seeds, states, flags };
  }

  free({ states, flags }: PreparedSeeds): void {
    this.#memory.free(states);
    this.#memory.free(flags);
  }

  /**
   * Notes down, in the current task, the residues of one limb of the polynomial of a seed.
   *
   * @param limb which of the rings
   * @param out address of room for n words
   * @param scratch address of `SeedExpander.scratch(n)` bytes
   */
  expandLimb(
    { states, flags }: PreparedSeeds,
    seed: number,
    limb: number,
    out: number,
    scratch: number,
  ): void {
    const { n, q, one, carry } = this.#rings[limb];
    const buffers = (8 * n) / BUFFER_BYTES;
    const { kernels } = this.#threads;
    const state = states + STATE_BYTES * seed;
    kernels.expandSeed(state, this.#table, limb * buffers, buffers, scratch, scratch + 8 * n);
    kernels.reduceUniform(scratch, out, n, q, one, ...carry, flags + 4 * seed);
  }

  /** Whether a limb that was made of this seed has a word that SEAL may draw again: then `redraw` is right. */
  mustRedraw({ flags }: PreparedSeeds, seed: number): boolean {
    return this.#memory.words[flags / 4 + seed] !== 0;
  }

  /**
   * All limbs of the polynomial of a seed, `[sampled][n]`, the slow way, with words drawn again as SEAL does.
   *
   * @param sampled how many of the rings SEAL sampled it for: words that are drawn again follow the words of these
   */
  redraw({ states }: PreparedSeeds, seed: number, sampled: number): Uint32Array[] {
    const memory = this.#memory;
    const address = memory.allocate(BUFFER_BYTES + ROOM_BYTES);
    let held = -1;
    const wordAt = (place: number): bigint => {
      const buffer = Math.floor((8 * place) / BUFFER_BYTES);
      if (buffer !== held) {
        const room = address + BUFFER_BYTES;
        this.#threads.module.expandSeed(states + STATE_BYTES * seed, this.#table, buffer, 1, address, room);
        held = buffer;
      }
      return new DataView(memory.memory.buffer).getBigUint64(address + ((8 * place) % BUFFER_BYTES), true);
    };
    try {
      return sampleUniform(
        wordAt,
        this.#rings[0].n,
        this.#rings.slice(0, sampled).map(({ q }) => q),
      );
    } finally {
      memory.free(address);
    }
  }
}
