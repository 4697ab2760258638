import { BlindbeatError } from '../../errors.ts';
import { bitLength } from './primes.ts';

/** Bytes that `count` numbers of `bits` bits take when packed. */
export function packedSize(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

/**
 * Packs `count` numbers of at most 30 bits, the first lowest, into bytes.
 *
 * @param words numbers to pack, `stride` words apart from `start`
 */
export function packBits(
  words: Uint32Array,
  start: number,
  count: number,
  stride: number,
  bits: number,
): Uint8Array {
  const out = new Uint8Array(packedSize(count, bits));
  let held = 0; // fewer than 8 bits between numbers
  let filled = 0;
  let offset = 0;
  for (let k = 0, i = start; k < count; k++, i += stride) {
    const value = words[i];
    // Two halves keep every intermediate below 2^31.
    const low = value & 0x7fff;
    held |= low << filled;
    filled += 15;
    while (filled >= 8) {
      out[offset++] = held & 0xff;
      held >>>= 8;
      filled -= 8;
    }
    held |= (value >>> 15) << filled;
    filled += bits - 15;
    while (filled >= 8) {
      out[offset++] = held & 0xff;
      held >>>= 8;
      filled -= 8;
    }
  }
  if (filled > 0) out[offset] = held & 0xff;
  return out;
}

/**
 * Unpacks residues modulo `limit` into `words`, `stride` words apart from `start`.
 *
 * @throws BlindbeatError FORMAT for a number that is no residue: the bytes are damaged or hostile.
 */
export function unpackBits(
  bytes: Uint8Array,
  count: number,
  bits: number,
  limit: number,
  words: Uint32Array,
  start: number,
  stride: number,
): void {
  let held = 0;
  let filled = 0;
  let offset = 0;
  const take = (wanted: number) => {
    while (filled < wanted) {
      held |= bytes[offset++] << filled;
      filled += 8;
    }
    const value = held & ((1 << wanted) - 1);
    held >>>= wanted;
    filled -= wanted;
    return value;
  };
  for (let k = 0, i = start; k < count; k++, i += stride) {
    const low = take(15);
    const value = low | (take(bits - 15) << 15);
    if (value >= limit) {
      throw new BlindbeatError(
        'FORMAT',
        `a residue is not below its prime ${limit}: the file is damaged, make or send it again`,
      );
    }
    words[i] = value;
  }
}

/**
 * One polynomial's limbs, n residues each and one after the other in `words`, each packed to the bits of its
 * prime.
 */
export function packLimbs(words: Uint32Array, n: number, primes: number[], stride: number): Uint8Array[] {
  return primes.map((q, i) => packBits(words, stride * i * n, n, stride, bitLength(q)));
}

/**
 * Inverse of `packLimbs`, into `words`; returns the bytes that it took.
 *
 * @throws BlindbeatError FORMAT for a number that is no residue
 */
export function unpackLimbs(
  bytes: Uint8Array,
  n: number,
  primes: number[],
  words: Uint32Array,
  stride: number,
): number {
  let offset = 0;
  primes.forEach((q, i) => {
    const size = packedSize(n, bitLength(q));
    unpackBits(bytes.subarray(offset, offset + size), n, bitLength(q), q, words, stride * i * n, stride);
    offset += size;
  });
  return offset;
}
