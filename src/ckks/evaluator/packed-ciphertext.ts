import type { Gadget } from '../keyswitch/gadget.ts';
import { SEED_SIZE } from '../seal/bytes.ts';

/**
 * A seeded ciphertext as it travels: the residues of its first polynomial, bit-packed modulo one prime after the
 * other, and the seed of its second.
 */
export interface PackedCiphertext {
  residues: Uint8Array;
  seed: Uint8Array;
}

/** A packed ciphertext of its bytes: residues and, behind them, a seed. */
export function packedCiphertext(bytes: Uint8Array): PackedCiphertext {
  const end = bytes.length - SEED_SIZE;
  return { residues: bytes.subarray(0, end), seed: bytes.slice(end) };
}

/** The digits of a key, which are of equal size. */
export function packedDigits(bytes: Uint8Array, { digits: { length } }: Gadget): PackedCiphertext[] {
  const size = bytes.length / length;
  return Array.from({ length }, (_, i) => packedCiphertext(bytes.subarray(i * size, (i + 1) * size)));
}
