import type * as v from 'valibot';
import { createDigest, type Digest } from '../../digest.ts';
import { BlindbeatError } from '../../errors.ts';
import { hex, parse, record, wholeNumber } from '../../schema.ts';

/**
 * The binary file format of keys and ciphertexts:
 *
 *   8 bytes  magic "BLNDBEAT"
 *   u16      format version of the kind (VERSIONS), little-endian as all numbers
 *   u16      kind (KINDS)
 *   u32      length of the header
 *   header   JSON: plan hash, key id, of a reply the request that it answers, length of the body
 *   body
 *   32 bytes SHA-256 of everything before
 *
 * A header has one form only, the bytes that `writeContainer` writes: all others are refused.
 */
const MAGIC = new TextEncoder().encode('BLNDBEAT');
const KINDS = ['secret key', 'evaluation keys', 'request', 'reply'] as const;
/** What a container holds. */
export type Kind = (typeof KINDS)[number];
/** The format version of each kind that is written and read. */
const VERSIONS: Record<Kind, number> = { 'secret key': 1, 'evaluation keys': 1, request: 1, reply: 2 };
const PREFIX = MAGIC.length + 2 + 2 + 4;
const CHECKSUM = 32;
const MAX_HEADER = 4096;

/** Hash of the plan that the content belongs to. */
const planHash = hex(64);
/** Random name of the key pair. */
const keyId = hex(32);
/** SHA-256 of the request file that a reply answers. */
const request = hex(64);
/** Length of the body in bytes. */
const bodyBytes = wholeNumber(0, Number.MAX_SAFE_INTEGER);
const HeaderSchema = record({ planHash, keyId, bodyBytes });
/** The header of every kind, its fields in the order in which they are written. */
const HEADERS = {
  'secret key': HeaderSchema,
  'evaluation keys': HeaderSchema,
  request: HeaderSchema,
  reply: record({ planHash, keyId, request, bodyBytes }),
} satisfies Record<Kind, v.GenericSchema>;
/** What is said about the content of a container of this kind. */
export type Header<K extends Kind = Kind> = v.InferOutput<(typeof HEADERS)[K]>;

/** Bytes of the whole file with this header. */
export function containerSize<K extends Kind>(kind: K, header: Header<K>): number {
  return PREFIX + headerBytes(kind, header).length + header.bodyBytes + CHECKSUM;
}

/** The one form of a header. */
function headerBytes<K extends Kind>(kind: K, header: Header<K>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(header, Object.keys(HEADERS[kind].entries)));
}

/** Writes a container piece by piece, so that large keys need never be in memory as a whole. */
export function* writeContainer<K extends Kind>(
  kind: K,
  header: Header<K>,
  body: Iterable<Uint8Array>,
): Generator<Uint8Array> {
  const json = headerBytes(kind, header);
  const start = new Uint8Array(PREFIX + json.length);
  const view = new DataView(start.buffer);
  start.set(MAGIC);
  view.setUint16(8, VERSIONS[kind], true);
  view.setUint16(10, KINDS.indexOf(kind), true);
  view.setUint32(12, json.length, true);
  start.set(json, PREFIX);
  const hash = createDigest().update(start);
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
export function concat(pieces: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
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
export interface Expected {
  /** The plan that it belongs to. */
  planHash?: string;
  /** The key pair that it belongs to. */
  keyId?: string;
  /** Of a reply: the digest of the request that it must answer. */
  request?: string;
  /** Size of its body. */
  bodyBytes?: number;
}

/**
 * Reads and checks the header of a container, of which no more than the first 8 kB need be there.
 *
 * @throws BlindbeatError FORMAT for damaged or foreign bytes, MISMATCH for another plan's or key pair's
 */
export function readHeader<K extends Kind>(
  bytes: Uint8Array,
  kind: K,
  expected: Expected,
): { header: Header<K>; bodyStart: number } {
  const fail = failure(kind);
  const bodyStart = startOfBody(bytes, kind);
  if (bodyStart > bytes.length) fail(CUT_OFF);
  const header = parseHeader(bytes.subarray(PREFIX, bodyStart), kind);
  if (expected.planHash !== undefined && header.planHash !== expected.planHash) {
    throw new BlindbeatError(
      'MISMATCH',
      `the ${kind} was made for plan ${header.planHash.slice(0, 12)}, ` +
        `but the plan here is ${expected.planHash.slice(0, 12)}: ` +
        'use keys, ciphertexts and model of one plan (same --model on both sides, keys made after the last change of it)',
    );
  }
  if (expected.keyId !== undefined && header.keyId !== expected.keyId) {
    throw new BlindbeatError(
      'MISMATCH',
      `the ${kind} belongs to key pair ${header.keyId}, ` +
        `but the keys here are ${expected.keyId}: use the keys that it was made with`,
    );
  }
  if (expected.request !== undefined && 'request' in header && header.request !== expected.request) {
    throw new BlindbeatError(
      'MISMATCH',
      `the ${kind} answers request ${header.request.slice(0, 12)}, but the request here is ` +
        `${expected.request.slice(0, 12)}: it is an old reply or another segment's, ask for the right one`,
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
export function readContainer<K extends Kind>(
  bytes: Uint8Array,
  kind: K,
  expected: Expected & { planHash: string; bodyBytes: number },
): { header: Header<K>; body: Uint8Array } {
  const reader = new ContainerReader(kind, expected, [expected.bodyBytes]);
  const [body] = [...reader.push(bytes)];
  return { header: reader.end(), body };
}

/**
 * Reads and checks a container whose bytes arrive in pieces of any length. Its header is checked as soon as it is
 * there, its body handed on in parts of known lengths, of which one is held at a time; a part is of use before the
 * checksum was seen, and `end` has the last word. An error ends the reading.
 */
export class ContainerReader<K extends Kind> {
  readonly #kind: K;
  readonly #expected: Expected;
  readonly #parts: number[];
  readonly #digest: Digest | null;
  readonly #checksum = new Uint8Array(CHECKSUM);
  /** What arrived of everything before the body. */
  #start: Uint8Array = new Uint8Array();
  #header: Header<K> | null = null;
  /** Bytes of the whole file, once the header was read. */
  #size = 0;
  #received = 0;
  /** Of the body: bytes that arrived, and the parts that were handed on. */
  #bodyReceived = 0;
  #partsDone = 0;
  /** Where a part is put together that came in several pieces, and how much of it is there. */
  #room: Uint8Array | null = null;
  #partReceived = 0;

  /**
   * @param parts lengths of the body's parts in bytes, which are all of it
   * @param options `checksum: false` leaves out the hash, for a file that was read with it before
   */
  constructor(
    kind: K,
    expected: Omit<Expected, 'bodyBytes'>,
    parts: number[],
    { checksum = true }: { checksum?: boolean } = {},
  ) {
    this.#kind = kind;
    this.#expected = { ...expected, bodyBytes: parts.reduce((sum, part) => sum + part, 0) };
    this.#parts = parts;
    this.#digest = checksum ? createDigest() : null;
  }

  /**
   * Takes the next bytes of the file, which may be changed afterwards; all that is given must be asked for.
   *
   * @returns the parts of the body that are complete now, in order, each of use until the next is asked for; those
   * that lie in `piece`, as long as that is
   * @throws BlindbeatError FORMAT for damaged or foreign bytes and for too many, MISMATCH for another plan's or
   * key pair's
   */
  *push(piece: Uint8Array): Generator<Uint8Array, void, void> {
    this.#received += piece.length;
    const rest = this.#header ? piece : this.#begin(piece);
    if (!this.#header) return;
    if (this.#received > this.#size) this.#wrongSize();
    const body = rest.subarray(0, this.#header.bodyBytes - this.#bodyReceived);
    this.#digest?.update(body);
    this.#bodyReceived += body.length;
    const checksum = rest.subarray(body.length);
    if (checksum.length > 0)
      this.#checksum.set(checksum, CHECKSUM - (this.#size - this.#received) - checksum.length);
    yield* this.#split(body);
  }

  /**
   * Says that nothing more comes.
   *
   * @throws BlindbeatError FORMAT for a file that is cut off or whose checksum does not fit
   */
  end(): Header<K> {
    const header = this.#header ?? readHeader(this.#start, this.#kind, this.#expected).header;
    if (this.#received !== this.#size) this.#wrongSize();
    const right = this.#digest?.digest() ?? this.#checksum;
    if (right.some((b, i) => b !== this.#checksum[i]))
      failure(this.#kind)('its checksum does not fit: the file is damaged, make or send it again');
    return header;
  }

  /** Takes what is before the body; returns what of the piece is behind that. */
  #begin(piece: Uint8Array): Uint8Array {
    const before = this.#start.length;
    const start = concat([this.#start, piece.subarray(0, PREFIX + MAX_HEADER)]);
    this.#start = start;
    if (start.length < PREFIX || startOfBody(start, this.#kind) > start.length) return piece;
    const { header, bodyStart } = readHeader(start, this.#kind, this.#expected);
    this.#header = header;
    this.#size = bodyStart + header.bodyBytes + CHECKSUM;
    this.#digest?.update(start.subarray(0, bodyStart));
    this.#start = new Uint8Array();
    return piece.subarray(bodyStart - before);
  }

  *#split(body: Uint8Array): Generator<Uint8Array, void, void> {
    let offset = 0;
    while (this.#partsDone < this.#parts.length) {
      const size = this.#parts[this.#partsDone];
      const bytes = body.subarray(offset, offset + size - this.#partReceived);
      offset += bytes.length;
      const whole = bytes.length === size;
      if (!whole) {
        // One room for all parts: memory that is new costs more than the copy.
        this.#room ??= new Uint8Array(Math.max(...this.#parts));
        this.#room.set(bytes, this.#partReceived);
      }
      this.#partReceived += bytes.length;
      if (this.#partReceived < size) break;
      yield whole ? bytes : this.#room!.subarray(0, size);
      this.#partsDone++;
      this.#partReceived = 0;
    }
  }

  #wrongSize(): never {
    return failure(this.#kind)(
      `it should have ${this.#size} bytes and has ${this.#received}: it was cut off or added to`,
    );
  }
}

function failure(kind: Kind): (problem: string) => never {
  return (problem) => {
    throw new BlindbeatError('FORMAT', `expected a blindbeat ${kind}, but ${problem}`);
  };
}

function requireVersion(version: number, kind: Kind): void {
  const known = VERSIONS[kind];
  if (version === known) return;
  const remedy =
    kind === 'reply' && version === 1
      ? 'replies of version 1 do not say which request they answer; have the request evaluated again (blindbeat infer)'
      : 'use the same version on both sides';
  failure(kind)(`its format version is ${version} and this blindbeat reads version ${known}: ${remedy}`);
}

const CUT_OFF = 'it is cut off in its header';

/** Where the body starts, by the first bytes of a file, of which 16 must be there. */
function startOfBody(bytes: Uint8Array, kind: Kind): number {
  const fail = failure(kind);
  if (bytes.length < PREFIX || MAGIC.some((m, i) => bytes[i] !== m)) fail('the file does not start like one');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = KINDS[view.getUint16(10, true)];
  if (found !== kind) fail(`this is a ${found ?? 'file of an unknown kind'}`);
  requireVersion(view.getUint16(8, true), kind);
  const length = view.getUint32(12, true);
  if (length > MAX_HEADER) fail(CUT_OFF);
  return PREFIX + length;
}

/** The header, if these are the very bytes that are written for it. */
function parseHeader<K extends Kind>(bytes: Uint8Array, kind: K): Header<K> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    failure(kind)('its header is no JSON');
  }
  const title = `expected a blindbeat ${kind}, but its header is not sound`;
  const header = parse(HEADERS[kind], value, { code: 'FORMAT', title, root: 'header' }) as Header<K>;
  const written = headerBytes(kind, header);
  if (bytes.length !== written.length || bytes.some((b, i) => b !== written[i]))
    failure(kind)('its header is not written as blindbeat writes it: make or send it again');
  return header;
}
