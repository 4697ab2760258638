import { galoisElement } from '../../ring/galois.ts';
import { bitReversal } from '../../ring/modular.ts';
import type { WasmMemory } from './kernels/memory.ts';

/** What rotating by a number of slots needs: addresses in the kernels' memory. */
export interface RotationTables {
  /** The automorphism in NTT form, see `placeKey` in ./kernels/assembly. */
  table: number;
  /** The inverse automorphism in NTT form. */
  inverse: number;
  /** n words: 1 where the automorphism changes a coefficient's sign. */
  marks: number;
}

/** The tables of the automorphisms X -> X^element of Z[X] / (X^n + 1), by the rotation that each is. */
export class Automorphisms {
  readonly #memory: WasmMemory;
  readonly #n: number;
  readonly #lanes: number;
  readonly #rotations = new Map<number, RotationTables>();

  /** @param lanes words of the kernels' vectors */
  constructor(memory: WasmMemory, n: number, lanes: number) {
    this.#memory = memory;
    this.#n = n;
    this.#lanes = lanes;
  }

  /** Tables of the rotation by `step` slots, or of the conjugation (step 0); made once. */
  rotation(step: number): RotationTables {
    let rotation = this.#rotations.get(step);
    if (!rotation) {
      const n = this.#n;
      const element = galoisElement(step, n);
      let inverse = 1;
      while ((inverse * element) % (2 * n) !== 1) inverse = (inverse * element) % (2 * n);
      rotation = this.#memory.together(() => {
        const marks = this.#memory.allocate(4 * n);
        const { words } = this.#memory;
        for (let m = 0; m < n; m++) words[marks / 4 + m] = (element * m) % (2 * n) < n ? 0 : 1;
        return { table: this.#write(element), inverse: this.#write(inverse), marks };
      });
      this.#rotations.set(step, rotation);
    }
    return rotation;
  }

  /**
   * Address of a new table of X -> X^element in NTT form (SEAL native/src/seal/util/galois.cpp): a pattern for every
   * lane, then for each group the byte offset that it moves to, plus the number of its pattern. Place i holds the
   * value at root^(2 reversed(i) + 1), so the exponents of an aligned group of a power of two are equal modulo 2n
   * over its size, and still are when multiplied by the element: groups move as wholes.
   */
  #write(element: number): number {
    const n = this.#n;
    const lanes = this.#lanes;
    const entries = lanes * lanes;
    const address = this.#memory.allocate(4 * (entries + n / lanes));
    const { words } = this.#memory;
    const reversed = bitReversal(n);
    const patterns: number[] = [];
    for (let group = 0; group < n; group += lanes) {
      const sources = Array.from({ length: lanes }, (_, lane) => {
        const exponent = (element * (2 * reversed[group + lane] + 1)) % (2 * n);
        return reversed[(exponent - 1) / 2];
      });
      const sourceGroup = sources[0] - (sources[0] % lanes);
      const pattern = sources.map((i) => laneIndex(i % lanes, lanes));
      let index = 0;
      while (index < patterns.length && pattern.some((word, lane) => patterns[index + lane] !== word))
        index += lanes;
      if (index === patterns.length) patterns.push(...pattern);
      words[address / 4 + entries + sourceGroup / lanes] = 4 * group + index / lanes;
    }
    words.set(patterns, address / 4);
    return address;
  }
}

/** A lane in a pattern: four byte indices for WebAssembly's vectors of four words, otherwise its number. */
function laneIndex(lane: number, lanes: number): number {
  return lanes === 4 ? lane * 0x04040404 + 0x03020100 : lane;
}
