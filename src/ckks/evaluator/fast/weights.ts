import { BlindbeatError } from '../../../errors.ts';
import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import type { WasmMemory } from './kernels/memory.ts';

/** Rows that the kernel of periodic products computes at once. */
export const GROUP_ROWS = 4;

/** Weights of `GROUP_ROWS` sums: the columns that carry any, and per limb `[block][column][row]` residues. */
export interface RowGroup {
  columns: number[];
  /** Addresses by limb. */
  weights: number[];
  /** Residues per block. */
  run: number;
}

/** Weights in the kernels' memory, in the order in which the kernel of periodic products reads them. */
export class PackedWeights {
  readonly #memory: WasmMemory;
  readonly #n: number;
  readonly #packed = new WeakMap<object, (RowGroup | null)[]>();

  constructor(memory: WasmMemory, n: number) {
    this.#memory = memory;
    this.#n = n;
  }

  /**
   * Packs rows of weights, `GROUP_ROWS` to a group, once for each `owner`; a group of only nulls is null.
   *
   * @throws BlindbeatError INTERNAL for periods whose blocks are shorter than a vector of the kernels
   */
  pack(owner: object, rows: (PeriodicPlain | null)[][], limbs: number): (RowGroup | null)[] {
    const known = this.#packed.get(owner);
    if (known) return known;
    const count = Math.ceil(rows.length / GROUP_ROWS);
    const groups = this.#memory.together(() =>
      Array.from({ length: count }, (_, g) =>
        this.#packGroup(rows.slice(GROUP_ROWS * g, GROUP_ROWS * (g + 1)), limbs),
      ),
    );
    this.#packed.set(owner, groups);
    return groups;
  }

  #packGroup(rows: (PeriodicPlain | null)[][], limbs: number): RowGroup | null {
    const plains = rows.flatMap((row) => row.filter((p) => p !== null));
    if (plains.length === 0) return null;
    const columns = rows[0].map((_, k) => k).filter((k) => rows.some((row) => row[k] !== null));
    const blocks = Math.max(...plains.map(blocksOf));
    const run = this.#n / blocks;
    if (run < 4) {
      throw new BlindbeatError(
        'INTERNAL',
        `a period of ${blocks / 2} slots is too long for the fast backend`,
      );
    }
    const size = 4 * GROUP_ROWS * blocks * columns.length;
    const weights = Array.from({ length: limbs }, () => this.#memory.allocate(size));
    const { words } = this.#memory;
    weights.forEach((address, limb) => {
      words.fill(0, address / 4, (address + size) / 4);
      rows.forEach((row, r) => {
        columns.forEach((k, column) => {
          const plain = row[k];
          if (!plain) return;
          const plainBlocks = blocksOf(plain);
          for (let b = 0; b < blocks; b++) {
            words[address / 4 + (b * columns.length + column) * GROUP_ROWS + r] =
              plain.residues[limb * plainBlocks + Math.floor((b * plainBlocks) / blocks)];
          }
        });
      });
    });
    return { columns, weights, run };
  }
}

/** Blocks of equal residues in one limb of a periodic plaintext: two for each slot of its period. */
function blocksOf({ residues, limbs }: PeriodicPlain): number {
  return residues.length / limbs;
}
