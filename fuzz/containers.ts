/** Containers taken apart, changed and put together again, with and without the sums that fit. */
import type { Random } from '../src/ecg/random.ts';
import { mutate, toText } from './mutate.ts';
import { KINDS, type Part, sha256, sizeOf } from './oracles.ts';
import { pick, randomBytes } from './trial.ts';

/** A container in its parts; lengths and sums that are left out are those that fit. */
interface Parts {
  magic: string;
  version: number;
  kind: number;
  headerLength?: number;
  header: Uint8Array;
  body: Uint8Array;
  checksum?: Uint8Array;
  /** Behind everything. */
  rest: Uint8Array;
}

/** What attacks may use beside the file itself. */
export interface Material {
  layout: Part[];
  /** Whole files of the other kinds, plans and key pairs. */
  foreign: Record<string, Uint8Array>;
}

type Attack = (parts: Parts, random: Random, material: Material) => Parts | Uint8Array;

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const encode = (text: string) => new TextEncoder().encode(text);
const NONE = new Uint8Array();

/** Takes a sound container apart. */
export function takeApart(bytes: Uint8Array): Parts {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = view.getUint32(12, true);
  return {
    magic: Buffer.from(bytes.subarray(0, 8)).toString('latin1'),
    version: view.getUint16(8, true),
    kind: view.getUint16(10, true),
    header: bytes.slice(16, 16 + length),
    body: bytes.slice(16 + length, -32),
    rest: NONE,
  };
}

/** The file. */
function putTogether(parts: Parts): Uint8Array {
  const start = Buffer.alloc(16);
  start.write(parts.magic, 'latin1');
  start.writeUInt16LE(parts.version, 8);
  start.writeUInt16LE(parts.kind, 10);
  start.writeUInt32LE(parts.headerLength ?? parts.header.length, 12);
  const checksum = parts.checksum ?? sha256(start, parts.header, parts.body);
  return new Uint8Array(Buffer.concat([start, parts.header, parts.body, checksum, parts.rest]));
}

/** The fields of a header, changed; the text is the canonical one of the fields. */
function withHeader(parts: Parts, change: (fields: Record<string, unknown>) => object): Parts {
  return { ...parts, header: encode(toText(change(JSON.parse(decode(parts.header))))) };
}

function withText(parts: Parts, change: (text: string) => string): Parts {
  return { ...parts, header: encode(change(decode(parts.header))) };
}

/** The body with other bytes in place. */
function withBody(parts: Parts, change: (body: Uint8Array) => void): Parts {
  const body = parts.body.slice();
  change(body);
  return { ...parts, body };
}

/** The body with another length, which the header says. */
function resized(parts: Parts, body: Uint8Array): Parts {
  return { ...withHeader(parts, (fields) => ({ ...fields, bodyBytes: body.length })), body };
}

/** Writes a number into a part of a body. */
function setResidue(body: Uint8Array, start: number, bits: number, place: number, value: number): void {
  for (let b = 0; b < bits; b++) {
    const bit = place * bits + b;
    const mask = 1 << (bit % 8);
    const at = start + Math.floor(bit / 8);
    body[at] = Math.floor(value / 2 ** b) % 2 === 1 ? body[at] | mask : body[at] & ~mask;
  }
}

/** Parts of a body with where they begin. */
function placed(layout: Part[]): { part: Part; start: number }[] {
  let start = 0;
  return layout.map((part) => {
    const here = { part, start };
    start += sizeOf(part);
    return here;
  });
}

/** Changes numbers at random places to what `value` makes of the prime. */
function residues(
  parts: Parts,
  random: Random,
  { layout }: Material,
  value: (q: number, bits: number) => number,
) {
  const limbs = placed(layout).filter(({ part }) => 'prime' in part);
  return withBody(parts, (body) => {
    for (let k = 1 + random.below(3); k > 0; k--) {
      const { part, start } = pick(random, limbs);
      if ('prime' in part)
        setResidue(body, start, part.bits, random.below(part.count), value(part.prime, part.bits));
    }
  });
}

const ATTACKS: Record<string, Attack> = {
  'nothing changed': (parts) => parts,
  'nothing changed, an odd place in memory': (parts) => {
    const file = putTogether(parts);
    const held = new Uint8Array(file.length + 7);
    held.set(file, 3);
    return held.subarray(3, 3 + file.length);
  },
  'a bit flipped': (parts, random) => {
    const file = putTogether(parts);
    file[random.below(random.below(2) ? 300 : file.length)] ^= 1 << random.below(8);
    return file;
  },
  'a bit of the body flipped, the checksum fits': (parts, random) =>
    withBody(parts, (body) => {
      body[random.below(body.length)] ^= 1 << random.below(8);
    }),
  'another magic': (parts, random) => ({
    ...parts,
    magic: pick(random, ['blndbeat', 'BLNDBEAU', '\0\0\0\0\0\0\0\0', 'PK\u0003\u0004....']),
  }),
  'another version': (parts, random) => ({ ...parts, version: pick(random, [0, 1, 2, 3, 256, 65535]) }),
  'another kind': (parts, random) => ({ ...parts, kind: pick(random, [...KINDS.keys(), 4, 256, 65535]) }),
  'a header length that is wrong': (parts, random) => ({
    ...parts,
    headerLength: pick(
      random,
      [0, 1, 4096, 4097, 2 ** 31, 2 ** 32 - 1].concat([-1, 1, 2, 32].map((d) => parts.header.length + d)),
    ),
  }),
  'a header whose values are changed': (parts, random) => {
    const { value } = mutate(random, JSON.parse(decode(parts.header)));
    return { ...parts, header: encode(toText(value)) };
  },
  'blanks before the header, so much less body': (parts, random) => {
    const blanks = pick(random, [1, 8, 32, 64]);
    return { ...withText(parts, (text) => ' '.repeat(blanks) + text), body: parts.body.slice(0, -blanks) };
  },
  'blanks in the header': (parts, random) =>
    withText(parts, (text) => pick(random, [` ${text}`, `${text}\n`, text.replaceAll(':', ': ')])),
  'a header in another order': (parts) =>
    withHeader(parts, (fields) => Object.fromEntries(Object.entries(fields).reverse())),
  'a header with a key twice': (parts) => withText(parts, (text) => text.replace('{', '{"bodyBytes":1,')),
  'a header with a key more': (parts, random) =>
    withHeader(parts, (fields) => ({ ...fields, [pick(random, ['x', 'toString', '__proto'])]: 1 })),
  'a header with a prototype': (parts) => withText(parts, (text) => text.replace('{', '{"__proto__":{},')),
  'a header with a letter escaped': (parts) =>
    withText(parts, (text) => text.replace('keyId', 'key\\u0049d')),
  'a header whose number is spelled otherwise': (parts) =>
    withText(parts, (text) => text.replace(/"bodyBytes":(\d+)/, '"bodyBytes":$1.0')),
  'a header with a byte-order mark': (parts) => withText(parts, (text) => `\ufeff${text}`),
  'a header that is no UTF-8': (parts) => ({ ...parts, header: Uint8Array.of(...parts.header, 0xff) }),
  'a header that is no object': (parts, random) =>
    withText(parts, () => pick(random, ['', 'null', '[]', '1', '"x"', '{}', '['.repeat(2000)])),
  'a header of nothing but depth': (parts) =>
    withText(parts, () => `{"planHash":${'['.repeat(2000)}${']'.repeat(2000)}}`),
  'a key pair with what a terminal obeys': (parts, random) =>
    withHeader(parts, (fields) => ({ ...fields, keyId: pick(random, ['\u001b[2J', '\u202ex', '\u0000']) })),
  'a plan with what a terminal obeys': (parts) =>
    withHeader(parts, (fields) => ({ ...fields, planHash: '\u001b[2J\u202e' })),
  'another key pair': (parts, random) =>
    withHeader(parts, (fields) => ({
      ...fields,
      keyId: Buffer.from(randomBytes(random, 16)).toString('hex'),
    })),
  'a body cut off': (parts, random) => ({
    ...parts,
    body: parts.body.slice(0, random.below(parts.body.length)),
  }),
  'a body cut off, and the header says so': (parts, random) =>
    resized(parts, parts.body.slice(0, pick(random, [0, 1, random.below(parts.body.length), -1, -64]))),
  'a body longer': (parts, random) => ({
    ...parts,
    body: new Uint8Array(Buffer.concat([parts.body, randomBytes(random, 1 + random.below(100))])),
  }),
  'a body longer, and the header says so': (parts, random) =>
    resized(parts, new Uint8Array(Buffer.concat([parts.body, randomBytes(random, 1 + random.below(100))]))),
  'a size that is beyond all': (parts, random) =>
    withHeader(parts, (f) => ({
      ...f,
      bodyBytes: pick(random, [2 ** 31, 2 ** 40, 2 ** 53 - 1, 2 ** 53, -1]),
    })),
  'residues at the prime': (parts, random, m) => residues(parts, random, m, (q) => q),
  'residues just above the prime': (parts, random, m) => residues(parts, random, m, (q) => q + 1),
  'residues of all ones': (parts, random, m) => residues(parts, random, m, (_, bits) => 2 ** bits - 1),
  'residues just below the prime': (parts, random, m) => residues(parts, random, m, (q) => q - 1),
  'residues of zero': (parts, random, m) => residues(parts, random, m, () => 0),
  'seeds and all other free bytes random': (parts, random, { layout }) =>
    withBody(parts, (body) => {
      for (const { part, start } of placed(layout))
        if ('bytes' in part) body.set(randomBytes(random, part.bytes), start);
    }),
  'seeds of zero': (parts, _, { layout }) =>
    withBody(parts, (body) => {
      for (const { part, start } of placed(layout))
        if ('bytes' in part) body.fill(0, start, start + part.bytes);
    }),
  'one part random, below its prime': (parts, random, { layout }) =>
    withBody(parts, (body) => {
      const { part, start } = pick(random, placed(layout));
      if ('bytes' in part) body.set(randomBytes(random, part.bytes), start);
      else
        for (let k = 0; k < part.count; k++) setResidue(body, start, part.bits, k, random.below(part.prime));
    }),
  'one part zero': (parts, random, { layout }) =>
    withBody(parts, (body) => {
      const { part, start } = pick(random, placed(layout));
      body.fill(0, start, start + sizeOf(part));
    }),
  'two parts of equal length swapped': (parts, random, { layout }) =>
    withBody(parts, (body) => {
      const a = pick(random, placed(layout));
      const b = pick(
        random,
        placed(layout).filter(({ part }) => sizeOf(part) === sizeOf(a.part)),
      );
      const held = body.slice(a.start, a.start + sizeOf(a.part));
      body.copyWithin(a.start, b.start, b.start + sizeOf(b.part));
      body.set(held, b.start);
    }),
  'all of the body zero': (parts) => ({ ...parts, body: new Uint8Array(parts.body.length) }),
  'all of the body ones': (parts) => ({ ...parts, body: new Uint8Array(parts.body.length).fill(255) }),
  'all of the body random': (parts, random) => {
    const block = randomBytes(random, 4096);
    return { ...parts, body: parts.body.map((_, i) => block[i % 4096] ^ (i >> 12)) };
  },
  'the body of another file': (parts, random, { foreign }) => {
    const { body } = takeApart(pick(random, Object.values(foreign)));
    return random.below(2) ? { ...parts, body } : resized(parts, body);
  },
  'another file under the same header': (parts, random, { foreign }) => ({
    ...takeApart(pick(random, Object.values(foreign))),
    header: parts.header,
  }),
  'the checksum of something else': (parts, random) => ({
    ...parts,
    checksum: pick(random, [new Uint8Array(32), sha256(parts.body), sha256(NONE), randomBytes(random, 31)]),
  }),
  'a file cut off': (parts, random) => {
    const file = putTogether(parts);
    return file.subarray(0, pick(random, [0, 1, 7, 8, 15, 16, 17, 48, random.below(file.length), -1]));
  },
  'a file with more behind it': (parts, random) => ({
    ...parts,
    rest: randomBytes(random, 1 + random.below(64)),
  }),
  'a file twice': (parts) => ({ ...parts, rest: putTogether(parts) }),
};

/** Names of the attacks. */
export const CONTAINER_ATTACKS = Object.keys(ATTACKS);

/** A file under one attack, or under two one after the other. */
export function attacked(file: Uint8Array, names: string[], random: Random, material: Material): Uint8Array {
  let parts = takeApart(file);
  for (const [k, name] of names.entries()) {
    try {
      const made = ATTACKS[name](parts, random, material);
      if (made instanceof Uint8Array) return made;
      parts = made;
    } catch (error) {
      if (k === 0) throw error; // after another attack there may be nothing left to change
    }
  }
  return putTogether(parts);
}
