import { BlindbeatError } from '../../../errors.ts';
import { moduli } from '../../keyswitch/gadget.ts';
import { packedSize } from '../../ring/bit-packing.ts';
import { bitLength } from '../../ring/primes.ts';
import type { PackedCiphertext } from '../packed-ciphertext.ts';
import type { FastCiphertext, FastEngine } from './engine.ts';
import type { Kernels } from './kernels/kernels.ts';
import { digitPlace, keyTable, type LoadedKey, makeKey } from './keys.ts';
import type { KeyKind } from './prepared-gadget.ts';

/** Kernels read whole words of packed bits. */
const PADDING = 8;

/** Where one limb of one polynomial goes. */
interface Target {
  /** Address of room for n residues. */
  room: number;
  /** Brings n residues from an address, the room's or another, to their place. */
  place(kernels: Kernels, from: number): void;
}

/**
 * Loads a key from its digits as they travel: all threads unpack residues and expand seeds, straight into the
 * key's order.
 *
 * @param step what the key rotates by, 0 for the conjugation, or null for relinearisation
 * @param address of room for it, `keyBytes` bytes
 * @throws BlindbeatError FORMAT for a residue that is not below its prime
 */
export function loadPackedKey(
  engine: FastEngine,
  digits: PackedCiphertext[],
  kind: KeyKind,
  step: number | null,
  address: number,
): LoadedKey {
  const { n } = engine.parameters;
  const table = keyTable(engine, step);
  const key = makeKey(engine, kind, step, address);
  const room = engine.threads.local(engine.seeds.scratch);
  unpack(engine, digits, moduli(kind.gadget), engine.rings.length, (digit, limb, polynomial) => {
    const place = digitPlace(engine, key, digit, limb, polynomial);
    return {
      room,
      place: (kernels, from) => kernels.placeKey(from, place, n, kind.gadget.digits.length, table),
    };
  });
  return key;
}

/**
 * Loads a fresh ciphertext as it travels.
 *
 * @param primes indices of the primes of its limbs, all that it is modulo
 * @throws BlindbeatError FORMAT for a residue that is not below its prime
 */
export function loadPacked(engine: FastEngine, packed: PackedCiphertext, primes: number[]): FastCiphertext {
  const v = engine.allocate(2, primes.length);
  try {
    unpackCiphertext(engine, packed, primes, primes.length, v);
    return v;
  } catch (error) {
    engine.memory.free(v.address);
    throw error;
  }
}

/**
 * The same into a ciphertext of two polynomials that is there.
 *
 * @param sampled how many primes, the first of all, SEAL sampled its uniform polynomial for
 */
export function unpackCiphertext(
  engine: FastEngine,
  packed: PackedCiphertext,
  primes: number[],
  sampled: number,
  v: FastCiphertext,
): void {
  unpack(engine, [packed], primes, sampled, (_, limb, polynomial) => {
    const room = engine.limb(v, polynomial, limb);
    const place = (kernels: Kernels, from: number) =>
      from === room ? undefined : kernels.copy(from, room, engine.parameters.n);
    return { room, place };
  });
}

/** Brings every limb of both polynomials of some seeded ciphertexts to its target. */
function unpack(
  engine: FastEngine,
  packed: PackedCiphertext[],
  primes: number[],
  sampled: number,
  targetOf: (ciphertext: number, limb: number, polynomial: 0 | 1) => Target,
): void {
  const { memory, threads, seeds, rings } = engine;
  const { n } = engine.parameters;
  const sizes = packed.map(({ residues }) => residues.length);
  const { staging, damaged, prepared } = memory.together(() => ({
    staging: memory.allocate(sizes.reduce((sum, size) => sum + size, PADDING)),
    damaged: memory.allocate(4),
    prepared: seeds.prepare(packed.map(({ seed }) => seed)),
  }));
  try {
    memory.words[damaged / 4] = 0;
    let offset = staging;
    packed.forEach(({ residues }, ciphertext) => {
      new Uint8Array(memory.memory.buffer).set(residues, offset);
      primes.forEach((prime, limb) => {
        const { q } = rings[prime];
        threads.task();
        const first = targetOf(ciphertext, limb, 0);
        threads.kernels.unpackResidues(offset, bitLength(q), first.room, n, q, damaged);
        first.place(threads.kernels, first.room);
        offset += packedSize(n, bitLength(q));
        threads.task();
        const second = targetOf(ciphertext, limb, 1);
        seeds.expandLimb(prepared, ciphertext, prime, second.room, threads.local(0));
        second.place(threads.kernels, second.room);
      });
    });
    threads.run();
    if (memory.words[damaged / 4] !== 0)
      throw new BlindbeatError(
        'FORMAT',
        'a residue is not below its prime: the file is damaged, make or send it again',
      );
    packed.forEach((_, ciphertext) => {
      if (!seeds.mustRedraw(prepared, ciphertext)) return;
      const redrawn = seeds.redraw(prepared, ciphertext, sampled);
      const room = memory.allocate(4 * n);
      primes.forEach((prime, limb) => {
        memory.words.set(redrawn[prime], room / 4);
        targetOf(ciphertext, limb, 1).place(threads.module, room);
      });
      memory.free(room);
    });
  } finally {
    threads.discard();
    seeds.free(prepared);
    memory.free(damaged);
    memory.free(staging);
  }
}
