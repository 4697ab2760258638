import { crc32, inflateRawSync } from 'node:zlib';

/** What a zip file may unpack to. */
export interface ZipLimits {
  /** Bytes of one file in it. */
  file: number;
  /** Bytes of all files that are wanted. */
  all: number;
}

/** The zip file is not sound; `message` says what is wrong with it. */
export class ZipError extends Error {}

const DIRECTORY_END = { signature: 0x06054b50, size: 22 };
const ENTRY = { signature: 0x02014b50, size: 46 };
const LOCAL = { signature: 0x04034b50, size: 30 };
const MOST_COMMENT = 0xffff;
const ENCRYPTED = 1;
const STORED = 0;
const DEFLATED = 8;

/** A file as the directory of the zip file lists it. */
interface Entry {
  name: string;
  method: number;
  crc: number;
  /** Bytes in the zip file. */
  packed: number;
  /** Bytes that it unpacks to. */
  size: number;
  /** Of its own header. */
  offset: number;
}

/**
 * The files of a zip file whose names are wanted, unpacked, by name. The sizes that its directory claims are
 * added up before anything is unpacked; unpacking stops at the claimed size, and sizes and checksums must be
 * right. (fflate goes on beyond the claimed size, which takes as long as the author of the file likes.)
 * https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, without encryption, several disks and zip64.
 *
 * @throws ZipError if it is no such file, or unpacks to more than the limits
 */
export function unzip(bytes: Uint8Array, wanted: RegExp, limits: ZipLimits): Map<string, Uint8Array> {
  const entries = listEntries(bytes).filter(({ name }) => wanted.test(name));
  let [all, packed] = [0, 0];
  for (const entry of entries) {
    if (entry.size > limits.file) throw new ZipError(`${entry.size} bytes of one file are too many`);
    all += entry.size;
    packed += entry.packed;
  }
  if (all > limits.all) throw new ZipError(`its files have ${all} bytes, more than ${limits.all}`);
  if (packed > bytes.length) throw new ZipError('its files overlap');
  return new Map(entries.map((entry) => [entry.name, unpack(bytes, entry)]));
}

function listEntries(bytes: Uint8Array): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  const count = view.getUint16(end + 10, true);
  const entries: Entry[] = [];
  let at = view.getUint32(end + 16, true);
  for (let k = 0; k < count; k++) {
    requireHeader(view, at, ENTRY);
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const next = at + ENTRY.size + nameLength + extra + comment;
    if (next > end) throw new ZipError('its directory is cut off');
    if (view.getUint16(at + 8, true) & ENCRYPTED) throw new ZipError('it is encrypted');
    entries.push({
      name: new TextDecoder().decode(bytes.subarray(at + ENTRY.size, at + ENTRY.size + nameLength)),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    });
    at = next;
  }
  return entries;
}

/** Where the end of the directory begins, which a comment up to the end of the file may follow. */
function findEnd(view: DataView): number {
  const last = view.byteLength - DIRECTORY_END.size;
  for (let at = last; at >= Math.max(0, last - MOST_COMMENT); at--) {
    const comment = last - at;
    if (view.getUint32(at, true) !== DIRECTORY_END.signature) continue;
    if (view.getUint16(at + 20, true) === comment) return at;
  }
  throw new ZipError('it has no directory');
}

function unpack(bytes: Uint8Array, { name, method, crc, packed, size, offset }: Entry): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  requireHeader(view, offset, LOCAL);
  const start = offset + LOCAL.size + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  if (start + packed > bytes.length) throw new ZipError('it is cut off');
  const content = inflate(bytes.subarray(start, start + packed), method, size);
  if (content.length !== size || crc32(content) !== crc) throw new ZipError(`${name} in it is damaged`);
  return content;
}

function inflate(packed: Uint8Array, method: number, size: number): Uint8Array {
  if (method === STORED) return packed;
  if (method !== DEFLATED) throw new ZipError(`it is packed by method ${method}`);
  try {
    const { buffer, byteOffset, length } = inflateRawSync(packed, { maxOutputLength: Math.max(1, size) });
    return new Uint8Array(buffer, byteOffset, length);
  } catch (cause) {
    throw new ZipError('a file in it has another size than its directory says, or is damaged', { cause });
  }
}

function requireHeader(view: DataView, at: number, { signature, size }: { signature: number; size: number }) {
  if (at + size <= view.byteLength && view.getUint32(at, true) === signature) return;
  throw new ZipError('its directory does not fit');
}
