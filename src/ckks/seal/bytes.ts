import { BlindbeatError } from '../../errors.ts';
import { galoisElement } from '../ring/galois.ts';

/**
 * SEAL 4.1's uncompressed byte layout of ciphertexts, plaintexts and key-switching keys
 * (native/src/seal/serialization.h, ciphertext.cpp, kswitchkeys.cpp): a 16-byte header, then little-endian
 * fields, then 64-bit residues. A seeded object has only its first polynomial, followed by the seed from
 * which SEAL's generator makes the second.
 */
const HEADER = 16;
const MAGIC = 0xa15e;
/** From the start of a ciphertext to its residues. */
const CIPHERTEXT_DATA = HEADER + 32 + 1 + 8 * 5 + HEADER + 8;
/** From the start of a plaintext to its residues. */
const PLAINTEXT_DATA = HEADER + 32 + 8 + 8 + HEADER + 8;
const SEED_BYTES = 64;
const PARMS_ID_BYTES = 32;
const GENERATOR_BLAKE2XB = 1;
const GENERATOR_INFO = HEADER + 1 + SEED_BYTES;

/** Bytes of the seed that stands for a uniform polynomial. */
export const SEED_SIZE = SEED_BYTES;

/** A ciphertext's fields as SEAL writes them. */
interface CiphertextFields {
  parmsId: Uint8Array;
  polynomials: number;
  n: number;
  limbs: number;
  scale: number;
  ntt: boolean;
}

/**
 * One polynomial or several, residues as pairs of 32-bit words (the high word is zero), and perhaps a seed.
 */
export interface RawCiphertext extends CiphertextFields {
  /** `[polynomials or 1 when seeded][limbs][n][2]` */
  words: Uint32Array;
  seed?: Uint8Array;
}

function header(view: DataView, offset: number, size: number) {
  view.setUint16(offset, MAGIC, true);
  view.setUint8(offset + 2, HEADER);
  view.setUint8(offset + 3, 4); // SEAL major and minor version
  view.setUint8(offset + 4, 1);
  view.setBigUint64(offset + 8, BigInt(size), true);
}

/**
 * Bytes that SEAL loads as a ciphertext; a public key has the same layout. All that says how long anything is
 * is written here, from numbers that fit each other, so that SEAL parses no length that came from outside.
 *
 * @throws BlindbeatError INTERNAL for residues, a seed or an identifier of another length than its fields say
 */
export function writeCiphertext(raw: RawCiphertext): Uint8Array<ArrayBuffer> {
  requireConsistent(raw);
  const residues = raw.words.length / 2;
  const size = CIPHERTEXT_DATA + 8 * residues + (raw.seed ? GENERATOR_INFO : 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  header(view, 0, size);
  bytes.set(raw.parmsId, 16);
  view.setUint8(48, raw.ntt ? 1 : 0);
  view.setBigUint64(49, BigInt(raw.polynomials), true);
  view.setBigUint64(57, BigInt(raw.n), true);
  view.setBigUint64(65, BigInt(raw.limbs), true);
  view.setFloat64(73, raw.scale, true);
  view.setBigUint64(81, 1n, true); // correction factor
  header(view, 89, HEADER + 8 + 8 * residues);
  view.setBigUint64(105, BigInt(residues), true);
  bytes.set(new Uint8Array(raw.words.buffer, raw.words.byteOffset, raw.words.byteLength), CIPHERTEXT_DATA);
  if (raw.seed) {
    const offset = CIPHERTEXT_DATA + 8 * residues;
    header(view, offset, GENERATOR_INFO);
    view.setUint8(offset + HEADER, GENERATOR_BLAKE2XB);
    bytes.set(raw.seed, offset + HEADER + 1);
  }
  return bytes;
}

function requireConsistent({ parmsId, polynomials, n, limbs, words, seed }: RawCiphertext): void {
  const length = 2 * (seed ? 1 : polynomials) * n * limbs;
  const whole = [polynomials, n, limbs].every((count) => Number.isSafeInteger(count) && count > 0);
  const fits = whole && words.length === length && parmsId.length === PARMS_ID_BYTES;
  if (fits && (seed === undefined || (seed.length === SEED_BYTES && polynomials === 2))) return;
  throw new BlindbeatError('INTERNAL', 'a ciphertext for SEAL has parts of lengths that do not fit');
}

/**
 * Reads what SEAL saved as a ciphertext, public key or one digit of a key-switching key, at an offset.
 * Nothing is copied: the residues stay where they are but for a shift to whole words, and `bytes` is used up.
 */
export function readCiphertext(bytes: Uint8Array, offset = 0): RawCiphertext & { end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(offset, true) !== MAGIC || view.getUint8(offset + 5) !== 0) {
    throw new BlindbeatError('INTERNAL', 'expected an uncompressed SEAL object');
  }
  const end = offset + Number(view.getBigUint64(offset + 8, true));
  const residues = Number(view.getBigUint64(offset + 105, true));
  const data = offset + CIPHERTEXT_DATA;
  const seeded = end - data - 8 * residues === GENERATOR_INFO;
  const fields = {
    parmsId: bytes.slice(offset + 16, offset + 48),
    ntt: view.getUint8(offset + 48) === 1,
    polynomials: Number(view.getBigUint64(offset + 49, true)),
    n: Number(view.getBigUint64(offset + 57, true)),
    limbs: Number(view.getBigUint64(offset + 65, true)),
    scale: view.getFloat64(offset + 73, true),
    ...(seeded && { seed: bytes.slice(end - SEED_BYTES, end) }),
    end,
  };
  const shift = (bytes.byteOffset + data) % 4; // SEAL's fields before the residues have 113 bytes
  bytes.copyWithin(data - shift, data, data + 8 * residues);
  return { ...fields, words: new Uint32Array(bytes.buffer, bytes.byteOffset + data - shift, 2 * residues) };
}

/**
 * The digits of the one key in what SEAL saved as relinearisation or Galois keys, read as by
 * `readCiphertext`.
 */
export function* readSwitchingKey(bytes: Uint8Array): Generator<RawCiphertext> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const slots = Number(view.getBigUint64(48, true));
  let offset = 56;
  for (let i = 0; i < slots; i++) {
    const digits = Number(view.getBigUint64(offset, true));
    offset += 8;
    if (digits === 0) continue;
    for (let digit = 0; digit < digits; digit++) {
      const raw = readCiphertext(bytes, offset);
      offset = raw.end;
      yield raw;
    }
    return;
  }
  throw new BlindbeatError('INTERNAL', 'SEAL saved no key-switching key');
}

/** Bytes that SEAL loads as key-switching keys with one key at position `index` of `slots` positions. */
export function writeSwitchingKey(
  parmsId: Uint8Array,
  slots: number,
  index: number,
  digits: Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const size = 56 + 8 * slots + digits.reduce((sum, d) => sum + d.length, 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  header(view, 0, size);
  bytes.set(parmsId, 16);
  view.setBigUint64(48, BigInt(slots), true);
  let offset = 56 + 8 * index;
  view.setBigUint64(offset, BigInt(digits.length), true);
  offset += 8;
  for (const digit of digits) {
    bytes.set(digit, offset);
    offset += digit.length;
  }
  return bytes;
}

/** A buffer that SEAL loads as an NTT-form plaintext, with its residues as a view to fill: `[limbs][n]`. */
export function plaintextBuffer(parmsId: Uint8Array, n: number, limbs: number) {
  const residues = n * limbs;
  const size = PLAINTEXT_DATA + 8 * residues;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  header(view, 0, size);
  bytes.set(parmsId, 16);
  view.setBigUint64(48, BigInt(residues), true);
  header(view, 64, HEADER + 8 + 8 * residues);
  view.setBigUint64(80, BigInt(residues), true);
  return {
    bytes,
    residues: new BigUint64Array(bytes.buffer, PLAINTEXT_DATA, residues),
    setScale: (scale: number) => view.setFloat64(56, scale, true),
  };
}

/** The residues of what SEAL saved as an NTT-form plaintext or secret key, as pairs of 32-bit words. */
export function readPlaintextWords(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice(PLAINTEXT_DATA).buffer);
}

/** Position of the Galois key for a rotation by `step` slots (native/src/seal/galoiskeys.h). */
export function galoisIndex(step: number, n: number): number {
  return (galoisElement(step, n) - 1) / 2;
}
