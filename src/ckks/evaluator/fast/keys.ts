import { BlindbeatError } from '../../../errors.ts';
import { moduli, serving } from '../../keyswitch/gadget.ts';
import { specialIndex } from '../../ring/parameters.ts';
import type { RawCiphertext } from '../../seal/bytes.ts';
import type { FastEngine } from './engine.ts';
import type { KeyKind } from './prepared-gadget.ts';

/**
 * A key-switching key in the engine's memory: `[limbs and special primes][n / lanes][digit][2 polynomials][lanes]`
 * residues, in the order in which they are used: modulo a prime of a digit, that digit comes first. Keys of
 * rotations are stored under the inverse automorphism, so that digits need none.
 */
export interface LoadedKey extends KeyKind {
  address: number;
  /** Rotation step, 0 for the conjugation, or null for relinearisation. */
  step: number | null;
  /** By limbs of a ciphertext: the address of what its inner products start with, see `productStart`. */
  starts: Map<number, number>;
  /** Addresses of what is freed with the key; what lies in the room of several keys is freed with that. */
  owned: number[];
}

/** The keys of one client, each freed with `freeKey`. */
export interface LoadedSwitchingKeys {
  relinearisation: LoadedKey[];
  /** By rotation step. */
  galois: Map<number, LoadedKey[]>;
}

/** Bytes of a key in the engine's memory, without `starts`. */
export function keyBytes(engine: FastEngine, kind: KeyKind): number {
  return moduli(kind.gadget).length * limbBytes(engine, kind);
}

/** Bytes of what `productStart` makes for ciphertexts of `limbs` limbs. */
export function startBytes({ parameters }: FastEngine, limbs: number): number {
  return (limbs + 1) * 8 * parameters.n;
}

/**
 * A key to be filled.
 *
 * @param room address of `keyBytes` bytes; without it the key has memory of its own
 */
export function makeKey(engine: FastEngine, kind: KeyKind, step: number | null, room?: number): LoadedKey {
  const address = room ?? engine.memory.allocate(keyBytes(engine, kind));
  return { ...kind, address, step, starts: new Map(), owned: room === undefined ? [address] : [] };
}

/** Address of the table of the automorphism that a key is stored under, or 0. */
export function keyTable({ automorphisms }: FastEngine, step: number | null): number {
  return step === null ? 0 : automorphisms.rotation(step).inverse;
}

/** Where the kernels place the residues of one polynomial of a digit modulo the gadget's `limb`-th prime. */
export function digitPlace(
  engine: FastEngine,
  key: LoadedKey,
  digit: number,
  limb: number,
  polynomial: number,
): number {
  const { gadget } = key;
  const prime = moduli(gadget)[limb];
  const owner = gadget.digits.findIndex((group) => group.includes(prime));
  const position = owner === digit ? 0 : digit < owner ? digit + 1 : digit;
  const { lanes } = engine.threads.set;
  return key.address + limb * limbBytes(engine, key) + 4 * lanes * (2 * position + polynomial);
}

/**
 * Loads the first digits of a key as SEAL saves them, modulo all primes, without the limbs that they are not
 * used at.
 *
 * @param step what the key rotates by, 0 for the conjugation, or null for relinearisation
 * @throws BlindbeatError INTERNAL for fewer digits than the gadget has
 */
export function loadKey(
  engine: FastEngine,
  digits: Iterable<RawCiphertext>,
  kind: KeyKind,
  step: number | null,
): LoadedKey {
  const { memory, threads } = engine;
  const { n } = engine.parameters;
  const all = engine.rings.length;
  const count = kind.gadget.digits.length;
  const table = keyTable(engine, step);
  const { key, residues } = memory.together(() => ({
    key: makeKey(engine, kind, step),
    residues: memory.allocate(4 * n),
  }));
  let digit = 0;
  try {
    for (const { words } of digits) {
      if (digit === count) break;
      moduli(kind.gadget).forEach((prime, limb) => {
        for (let k = 0; k < 2; k++) {
          const start = 2 * n * (k * all + prime);
          for (let i = 0; i < n; i++) memory.words[residues / 4 + i] = words[start + 2 * i];
          threads.module.placeKey(residues, digitPlace(engine, key, digit, limb, k), n, count, table);
        }
      });
      digit++;
    }
    if (digit < count) throw new BlindbeatError('INTERNAL', `a key has ${digit} digits instead of ${count}`);
    return key;
  } catch (error) {
    freeKey(engine, key);
    throw error;
  } finally {
    memory.free(residues);
  }
}

/** Frees a key and what was made of it, as far as these have memory of their own. */
export function freeKey({ memory }: FastEngine, key: LoadedKey): void {
  for (const address of key.owned.splice(0)) memory.free(address);
}

/** Address of a key's part for one limb of a ciphertext of `limbs` limbs, then for the special primes. */
export function keyLimb(engine: FastEngine, key: LoadedKey, limb: number, limbs: number): number {
  const place = limb < limbs ? limb : key.gadget.limbs + limb - limbs;
  return key.address + place * limbBytes(engine, key);
}

/**
 * The key for ciphertexts of a number of limbs.
 *
 * @throws BlindbeatError INTERNAL where none was planned
 */
export function servingKey(keys: LoadedKey[] | undefined, limbs: number): LoadedKey {
  const key = serving(keys ?? [], limbs, ({ gadget }) => gadget.limbs);
  if (key) return key;
  throw new BlindbeatError('INTERNAL', `no key for a ciphertext of ${limbs} limbs was planned`);
}

/**
 * Address of what the inner products of a rotation with a per-prime key start with,
 * `[limbs and special][n / lanes][2 polynomials][lanes]` residues; made once, 0 for relinearisation.
 *
 * SEAL's digits are those of the rotated polynomial, in [0, q_j): under the inverse automorphism they are the
 * polynomial's own digits less q_j wherever the automorphism changes a sign, zeros aside. So hoisting leaves
 * out -f sum_j q_j key_j, where f has coefficient 1 at those places.
 *
 * @param room address of `startBytes` bytes for it; without it, it has memory of its own
 */
export function productStart(engine: FastEngine, key: LoadedKey, limbs: number, room?: number): number {
  const known = key.starts.get(limbs);
  if (known !== undefined || key.step === null) return known ?? 0;
  const { memory, threads, rings } = engine;
  const { n, primes } = engine.parameters;
  const { marks } = engine.automorphisms.rotation(key.step);
  const { address, factors } = memory.together(() => ({
    address: room ?? memory.allocate(startBytes(engine, limbs)),
    factors: memory.allocate((limbs + 1) * 4 * limbs),
  }));
  for (let i = 0; i <= limbs; i++) {
    const ring = rings[i < limbs ? i : specialIndex(engine.parameters)];
    const { q, one, carry } = ring;
    const residues = primes.slice(0, limbs).map((prime) => prime % q);
    if (i < limbs) residues.unshift(...residues.splice(i, 1)); // the order of the key's digits
    const list = factors + i * 4 * limbs;
    memory.words.set(residues, list / 4);
    threads.task();
    const f = threads.local(0);
    ring.forward(marks, f, ring.lazy(2));
    const part = keyLimb(engine, key, i, limbs);
    threads.kernels.switchStart(
      ...([part, list, f, address + i * 8 * n, n, limbs, key.gadget.limbs, ring.group(q), q, one] as const),
      ...carry,
    );
  }
  threads.run();
  memory.free(factors);
  key.starts.set(limbs, address);
  if (room === undefined) key.owned.push(address);
  return address;
}

/** Bytes of one limb of a key. */
function limbBytes({ parameters }: FastEngine, { gadget }: KeyKind): number {
  return 8 * parameters.n * gadget.digits.length;
}
