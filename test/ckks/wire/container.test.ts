import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ContainerReader,
  concat,
  containerSize,
  type Header,
  readContainer,
  readHeader,
  writeContainer,
} from '../../../src/ckks/wire/container.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { deepList, mutated } from '../../helpers/mutate.ts';

const header: Header<'request'> = { planHash: 'ab'.repeat(32), keyId: 'cd'.repeat(16), bodyBytes: 3 };
const body = Uint8Array.of(1, 2, 3);

/** A file with any bytes in place of its header, its lengths and checksum right. */
function fileWithText(text: string | Uint8Array, content: Uint8Array = body): Uint8Array {
  const json = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const start = concat(writeContainer('request', header, [body])).subarray(0, 16);
  const bytes = concat([start, json, content]);
  new DataView(bytes.buffer).setUint32(12, json.length, true);
  return concat([bytes, sha256(bytes)]);
}

function fileWith(value: unknown): Uint8Array {
  return fileWithText(JSON.stringify(value) ?? '');
}

test('when a container is written, then it is read', () => {
  const bytes = concat(writeContainer('request', header, [body]));
  expect(readContainer(bytes, 'request', header)).toEqual({ header, body });
});

test('when a file is put together by hand, then it is what is written', () => {
  expect(fileWith(header)).toEqual(concat(writeContainer('request', header, [body])));
  expect(fileWith(header).length).toBe(containerSize('request', header));
});

test('when fields are given in another order, then they are written in the one order', () => {
  const { planHash, keyId, bodyBytes } = header;
  expect(concat(writeContainer('request', { bodyBytes, keyId, planHash }, [body]))).toEqual(fileWith(header));
});

describe('a header that says the same in other bytes', () => {
  const json = JSON.stringify(header);
  const { planHash, keyId, bodyBytes } = header;
  const BLANKS = ' '.repeat(32);
  test.each<[string, string, Uint8Array?]>([
    ['32 blanks before it, which the body then lacks', BLANKS + json, new Uint8Array()],
    ['32 blanks before it', BLANKS + json],
    ['32 blanks after it', json + BLANKS],
    ['a line break at its end', `${json}\n`],
    ['blanks in it', JSON.stringify(header, null, 1)],
    ['a byte order mark', `\ufeff${json}`],
    ['an escaped field name', json.replace('"keyId"', '"key\\u0049d"')],
    ['an escaped value', json.replace('"cd', '"\\u0063d')],
    ['its fields in another order', JSON.stringify({ keyId, planHash, bodyBytes })],
    ['a field twice', json.replace('{', '{"bodyBytes":3,')],
    ['a field twice with other values', json.replace('{', '{"bodyBytes":35,')],
    ['an unknown field', JSON.stringify({ ...header, note: 'x' })],
    ['a field of another kind', JSON.stringify({ planHash, keyId, request: 'ef'.repeat(32), bodyBytes })],
    ['a prototype', json.replace('{', '{"__proto__":{"note":1},')],
    ['a length as 3e0', json.replace(':3', ':3e0')],
    ['a length as 3.0', json.replace(':3', ':3.0')],
    ['a length as 0.3e1', json.replace(':3', ':0.3e1')],
    ['no length as -0', json.replace(':3', ':-0'), new Uint8Array()],
    ['capitals in a hash', json.replace('"ab', '"AB')],
    ['a longer name of the key pair', JSON.stringify({ ...header, keyId: `${keyId}cd` })],
  ])('when it has %s, then it is refused', (_, text, content) => {
    const read = () => readContainer(fileWithText(text, content), 'request', { planHash, bodyBytes });
    expect(read).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(read).toThrow(/its header/);
  });

  test('when it is no UTF-8, then it is refused', () => {
    const bytes = new TextEncoder().encode(json);
    bytes[15] = 0xff;
    expect(() => readHeader(fileWithText(bytes), 'request', {})).toThrow(/its header/);
  });

  test.each([-32, -1, 1, 32])('when the body is %d bytes longer than said, then it is refused', (more) => {
    const bytes = fileWithText(json, new Uint8Array(Math.max(0, 3 + more)));
    const read = () => readContainer(bytes, 'request', { planHash, bodyBytes });
    expect(read).toThrow(/it should have \d+ bytes and has \d+/);
  });
});

test('when a bit before the body is changed and the checksum made right, then the file is refused', () => {
  const file = concat(writeContainer('request', header, [body])).slice(0, -32);
  const start = file.length - body.length;
  for (let i = 0; i < start; i++) {
    for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
      const changed = file.slice();
      changed[i] ^= bit;
      const read = () => readContainer(concat([changed, sha256(changed)]), 'request', { ...header });
      expect(read).toThrow(BlindbeatError);
    }
  }
});

describe('the version of a kind', () => {
  const reply: Header<'reply'> = { ...header, request: 'ef'.repeat(32) };
  const versionOf = (bytes: Uint8Array) => new DataView(bytes.buffer).getUint16(8, true);

  test('when a reply is written, then it is of version 2 and all others stay of version 1', () => {
    expect(versionOf(concat(writeContainer('reply', reply, [body])))).toBe(2);
    for (const kind of ['secret key', 'evaluation keys', 'request'] as const)
      expect(versionOf(concat(writeContainer(kind, header, [body])))).toBe(1);
  });

  test('when a reply is of before, then it is refused with what to do', () => {
    const old = concat(writeContainer('reply', reply, [body]));
    new DataView(old.buffer).setUint16(8, 1, true);
    const read = () => readHeader(old, 'reply', {});
    expect(read).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(read).toThrow(/format version is 1 and this blindbeat reads version 2: .* evaluated again/);
  });

  test('when a reply answers another request, then it is a mismatch', () => {
    const bytes = concat(writeContainer('reply', reply, [body]));
    expect(readHeader(bytes, 'reply', { request: reply.request }).header).toEqual(reply);
    const read = () => readHeader(bytes, 'reply', { request: '01'.repeat(32) });
    expect(read).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
    expect(read).toThrow(/answers request efefefefefef, but the request here is 010101010101/);
  });
});

test('when a header is changed anywhere, then it is refused or has what it should', () => {
  fc.assert(
    fc.property(mutated(header), (value) => {
      try {
        const { header: read } = readHeader(fileWith(value), 'request', {});
        expect(Object.keys(read)).toEqual(Object.keys(header));
        expect(read.planHash.length * read.keyId.length).toBeGreaterThan(0);
        expect(Number.isSafeInteger(read.bodyBytes) && read.bodyBytes >= 0).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(BlindbeatError);
        expect(error).toMatchObject({ code: 'FORMAT' });
      }
    }),
    { numRuns: 500, seed: 1 },
  );
});

test('when a header is nested as deep as its length allows, then it is refused', () => {
  const read = () => readHeader(fileWith({ ...header, keyId: deepList(1900) }), 'request', {});
  expect(read).toThrow(/keyId: expected 32 characters 0 to 9 and a to f, got a list of 1/);
});

test('when a key pair has a name that a terminal would obey, then the message shows it and does not', () => {
  const read = () => readHeader(fileWith({ ...header, keyId: '\u001b[2J' }), 'request', header);
  expect(read).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  expect(read).toThrow(/keyId: expected 32 characters 0 to 9 and a to f, got "\\u\{1b\}\[2J"/);
});

describe('a container that comes in pieces', () => {
  const content = Uint8Array.from({ length: 300 }, (_, i) => i);
  const whole = { ...header, bodyBytes: content.length };
  const file = concat(writeContainer('request', whole, [content]));
  const { planHash, bodyBytes } = whole;

  /** The parts and the header, or the error that ends it. */
  function readIn(bytes: Uint8Array, cuts: number[], parts: number[]) {
    const reader = new ContainerReader('request', { planHash }, parts);
    const found: Uint8Array[] = [];
    const places = [0, ...cuts.map((c) => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
    try {
      places.slice(1).forEach((end, k) => {
        const piece = bytes.slice(places[k], end);
        for (const part of reader.push(piece)) found.push(part.slice());
        piece.fill(0xff); // whoever gave it may use it again
      });
      return { header: reader.end(), found };
    } catch (error) {
      return { error };
    }
  }

  test('when it is cut anywhere, then the parts are those of the body', () => {
    const cuts = fc.array(fc.nat(file.length), { maxLength: 20 });
    const borders = fc.array(fc.nat(content.length), { maxLength: 5 });
    fc.assert(
      fc.property(cuts, borders, (at, inner) => {
        const ends = [...inner.sort((a, b) => a - b), content.length];
        const parts = ends.map((end, k) => end - (ends[k - 1] ?? 0));
        const { header: read, found } = readIn(file, at, parts);
        expect(read).toEqual(whole);
        expect(found!.map((part) => part.length)).toEqual(parts);
        expect(concat(found!)).toEqual(content);
      }),
    );
  });

  test('when it is damaged, then it is refused as it is in one piece', () => {
    const damaged = fc
      .record({ length: fc.nat(file.length + 40), place: fc.nat(file.length), bits: fc.nat(255) })
      .map(({ length, place, bits }) => {
        const bytes = new Uint8Array(length % 3 === 0 ? length : file.length);
        bytes.set(file.subarray(0, bytes.length));
        if (place < bytes.length) bytes[place] ^= bits;
        return bytes;
      });
    fc.assert(
      fc.property(damaged, fc.array(fc.nat(file.length), { maxLength: 5 }), (bytes, cuts) => {
        let expected: unknown;
        try {
          readContainer(bytes, 'request', { planHash, bodyBytes });
        } catch (error) {
          expected = error;
        }
        const { error, found } = readIn(bytes, cuts, [100, 200]);
        if (expected === undefined) expect(concat(found!)).toEqual(content);
        else expect((error as BlindbeatError).code).toBe((expected as BlindbeatError).code);
      }),
      { numRuns: 500 },
    );
  });
});
