import { BlindbeatError } from '../../../../errors.ts';

const PAGE = 65536;
/** 4 GiB less one page: addresses are 32 bits. */
const MAX_PAGES = 65535;
/** Grown in steps of 16 MiB, because growing costs. */
const GROWTH = 256;

/**
 * One WebAssembly memory, shared by threads, and an allocator: first fit in a list of free ranges, neighbours
 * merged. A server's ciphertexts come and go in the same order every time, so nothing grows from one
 * classification to the next.
 */
export class WasmMemory {
  readonly memory: WebAssembly.Memory;
  /** Free ranges [start, end), ascending, not touching each other. */
  readonly #free: [number, number][] = [];
  readonly #sizes = new Map<number, number>();
  #words: Uint32Array;
  /** What was allocated since the outermost `together` began. */
  #log: number[] | null = null;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: GROWTH, maximum: MAX_PAGES, shared: true });
    this.#words = new Uint32Array(this.memory.buffer);
    this.#release(64, GROWTH * PAGE);
  }

  /** The whole memory as words; after an allocation it may be longer. */
  get words(): Uint32Array {
    return this.#words;
  }

  /** Bytes in use. */
  get used(): number {
    return [...this.#sizes.values()].reduce((a, b) => a + b, 0);
  }

  /**
   * The address of `bytes` new bytes, a multiple of 64.
   *
   * @throws BlindbeatError ENVIRONMENT when room is no more memory
   */
  allocate(bytes: number): number {
    const size = Math.ceil(bytes / 64) * 64;
    let index = this.#free.findIndex(([start, end]) => end - start >= size);
    if (index < 0) {
      this.#grow(size);
      index = this.#free.length - 1;
    }
    const range = this.#free[index];
    const address = range[0];
    range[0] += size;
    if (range[0] === range[1]) this.#free.splice(index, 1);
    this.#sizes.set(address, size);
    this.#log?.push(address);
    return address;
  }

  /** Runs what allocates several times and keeps it all; if it throws, everything of it is given back. */
  together<T>(make: () => T): T {
    const outer = this.#log;
    const log: number[] = [];
    this.#log = log;
    try {
      const made = make();
      outer?.push(...log);
      return made;
    } catch (error) {
      for (const address of log) if (this.#sizes.has(address)) this.free(address);
      throw error;
    } finally {
      this.#log = outer;
    }
  }

  /** Gives back what `allocate` gave. */
  free(address: number): void {
    const size = this.#sizes.get(address);
    if (size === undefined) throw new BlindbeatError('INTERNAL', `${address} is not allocated`);
    this.#sizes.delete(address);
    this.#release(address, address + size);
  }

  #release(start: number, end: number): void {
    let index = this.#free.findIndex((range) => range[0] >= end);
    if (index < 0) index = this.#free.length;
    const before = this.#free[index - 1];
    const after = this.#free[index];
    if (before && before[1] === start) {
      before[1] = end;
      if (after && after[0] === end) {
        before[1] = after[1];
        this.#free.splice(index, 1);
      }
    } else if (after && after[0] === end) after[0] = start;
    else this.#free.splice(index, 0, [start, end]);
  }

  /** Makes the last free range at least `size` long. */
  #grow(size: number): void {
    const end = this.memory.buffer.byteLength;
    const last = this.#free.at(-1);
    const room = last && last[1] === end ? last[1] - last[0] : 0;
    const pages = Math.max(GROWTH, Math.ceil((size - room) / PAGE));
    try {
      this.memory.grow(pages);
    } catch (cause) {
      const mebibytes = Math.round((end + pages * PAGE) / 2 ** 20);
      throw new BlindbeatError(
        'ENVIRONMENT',
        `the fast backend cannot have ${mebibytes} MiB of memory: close other programs or use a smaller plan`,
        { cause },
      );
    }
    this.#words = new Uint32Array(this.memory.buffer);
    this.#release(end, end + pages * PAGE);
  }
}
