import { sha256 } from '@noble/hashes/sha2.js';
import type * as v from 'valibot';
import { BlindbeatError } from '../../errors.ts';
import { parse, printable, record, text, wholeNumber } from '../../schema.ts';

/**
 * The binary file format of keys and ciphertexts:
 *
 *   8 bytes  magic "BLNDBEAT"
 *   u16      format version, little-endian as all numbers
 *   u16      kind (KINDS)
 *   u32      length of the header
 *   header   JSON: plan hash, key id, length of the body
 *   body
 *   32 bytes SHA-256 of everything before
 */
const MAGIC = new TextEncoder().encode('BLNDBEAT');
const FORMAT_VERSION = 1;
const KINDS = ['secret key', 'evaluation keys', 'request', 'reply'] as const;
/** What a container holds. */
export type Kind = (typeof KINDS)[number];
const PREFIX = MAGIC.length + 2 + 2 + 4;
const CHECKSUM = 32;
const MAX_HEADER = 4096;

const HeaderSchema = record({
  /** Hash of the plan that the content belongs to. */
  planHash: text(),
  /** Random name of the key pair. */
  keyId: text(),
  /** Length of the body in bytes. */
  bodyBytes: wholeNumber(0, Number.MAX_SAFE_INTEGER),
});
/** What is said about a container's content. */
export type Header = v.InferOutput<typeof HeaderSchema>;

/** Bytes of the whole file whose body has `bodyBytes`. */
export function containerSize(header: Header): number {
  return PREFIX + JSON.stringify(header).length + header.bodyBytes + CHECKSUM;
}

/** Writes a container piece by piece, so that large keys need never be in memory as a whole. */
export function* writeContainer(
  kind: Kind,
  header: Header,
  body: Iterable<Uint8Array>,
): Generator<Uint8Array> {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const start = new Uint8Array(PREFIX + json.length);
  const view = new DataView(start.buffer);
  start.set(MAGIC);
  view.setUint16(8, FORMAT_VERSION, true);
  view.setUint16(10, KINDS.indexOf(kind), true);
  view.setUint32(12, json.length, true);
  start.set(json, PREFIX);
  const hash = sha256.create().update(start);
  yield start;
  let written = 0;
  for (const piece of body) {
    hash.update(piece);
    written += piece.length;
    yield piece;
  }
  if (written !== header.bodyBytes) {
    throw new BlindbeatError(
      'INTERNAL',
      `a ${kind} of ${header.bodyBytes} bytes was announced, but ${written} were written`,
    );
  }
  yield hash.digest();
}

/** All pieces as one array. */
export function concat(pieces: Iterable<Uint8Array>): Uint8Array {
  const all = [...pieces];
  const out = new Uint8Array(all.reduce((sum, p) => sum + p.length, 0));
  let offset = 0;
  for (const piece of all) {
    out.set(piece, offset);
    offset += piece.length;
  }
  return out;
}

/** What a container must be; what is left out may be anything. */
interface Expected {
  /** The plan that it belongs to. */
  planHash?: string;
  /** The key pair that it belongs to. */
  keyId?: string;
  /** Size of its body. */
  bodyBytes?: number;
}

/**
 * Reads and checks the header of a container, of which no more than the first 8 kB need be there.
 *
 * @throws BlindbeatError FORMAT for damaged or foreign bytes, MISMATCH for another plan's or key pair's
 */
export function readHeader(
  bytes: Uint8Array,
  kind: Kind,
  expected: Expected,
): { header: Header; bodyStart: number } {
  const fail = failure(kind);
  if (bytes.length < PREFIX || MAGIC.some((m, i) => bytes[i] !== m)) fail('the file does not start like one');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint16(8, true);
  if (version !== FORMAT_VERSION) {
    fail(
      `its format version is ${version} and this blindbeat reads version ${FORMAT_VERSION}: use the same version on both sides`,
    );
  }
  const found = KINDS[view.getUint16(10, true)];
  if (found !== kind) fail(`this is a ${found ?? 'file of an unknown kind'}`);
  const headerBytes = view.getUint32(12, true);
  const bodyStart = PREFIX + headerBytes;
  if (headerBytes > MAX_HEADER || bodyStart > bytes.length) fail('it is cut off in its header');
  const header = parseHeader(bytes.subarray(PREFIX, bodyStart), kind);
  if (expected.planHash !== undefined && header.planHash !== expected.planHash) {
    throw new BlindbeatError(
      'MISMATCH',
      `the ${kind} was made for plan ${printable(header.planHash.slice(0, 12))}, ` +
        `but the plan here is ${expected.planHash.slice(0, 12)}: ` +
        'use keys, ciphertexts and model of one plan (same --model on both sides, keys made after the last change of it)',
    );
  }
  if (expected.keyId !== undefined && header.keyId !== expected.keyId) {
    throw new BlindbeatError(
      'MISMATCH',
      `the ${kind} belongs to key pair ${printable(header.keyId)}, ` +
        `but the keys here are ${expected.keyId}: use the keys that it was made with`,
    );
  }
  if (expected.bodyBytes !== undefined && header.bodyBytes !== expected.bodyBytes) {
    fail(`its body should have ${expected.bodyBytes} bytes and has ${header.bodyBytes}`);
  }
  return { header, bodyStart };
}

/**
 * Reads and checks a container.
 *
 * @throws BlindbeatError FORMAT for damaged or foreign bytes, MISMATCH for another plan's or key pair's
 */
export function readContainer(
  bytes: Uint8Array,
  kind: Kind,
  expected: Expected & { planHash: string; bodyBytes: number },
): { header: Header; body: Uint8Array } {
  const fail = failure(kind);
  const { header, bodyStart } = readHeader(bytes, kind, expected);
  const size = containerSize(header);
  if (bytes.length !== size)
    fail(`it should have ${size} bytes and has ${bytes.length}: it was cut off or added to`);
  const end = bytes.length - CHECKSUM;
  const checksum = sha256(bytes.subarray(0, end));
  if (checksum.some((b, i) => b !== bytes[end + i]))
    fail('its checksum does not fit: the file is damaged, make or send it again');
  return { header, body: bytes.subarray(bodyStart, end) };
}

function failure(kind: Kind): (problem: string) => never {
  return (problem) => {
    throw new BlindbeatError('FORMAT', `expected a blindbeat ${kind}, but ${problem}`);
  };
}

function parseHeader(bytes: Uint8Array, kind: Kind): Header {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    failure(kind)('its header is no JSON');
  }
  const title = `expected a blindbeat ${kind}, but its header is not sound`;
  return parse(HeaderSchema, value, { code: 'FORMAT', title, root: 'header' });
}
