import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  concat,
  type Header,
  readContainer,
  readHeader,
  writeContainer,
} from '../../../src/ckks/wire/container.ts';
import { BlindbeatError } from '../../../src/errors.ts';
import { deepList, mutated } from '../../helpers/mutate.ts';

const header: Header = { planHash: 'ab'.repeat(32), keyId: 'cd'.repeat(16), bodyBytes: 3 };
const body = Uint8Array.of(1, 2, 3);

/** A file with any header in place of a sound one, its checksum right. */
function fileWith(value: unknown): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(value) ?? '');
  const start = concat(writeContainer('request', header, [body])).subarray(0, 16);
  const bytes = concat([start, json, body]);
  new DataView(bytes.buffer).setUint32(12, json.length, true);
  return bytes;
}

test('when a container is written, then it is read', () => {
  const bytes = concat(writeContainer('request', header, [body]));
  expect(readContainer(bytes, 'request', header)).toEqual({ header, body });
});

test('when unknown fields are in a header, then they are left out', () => {
  expect(readHeader(fileWith({ ...header, note: 'x' }), 'request', {}).header).toEqual(header);
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
  expect(read).toThrow(/keyId: expected a text of 1 to 65536 characters, got a list of 1/);
});

test('when a key pair has a name that a terminal would obey, then the message shows it and does not', () => {
  const read = () => readHeader(fileWith({ ...header, keyId: '\u001b[2J' }), 'request', header);
  expect(read).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
  expect(read).toThrow(/key pair \\u\{1b\}\[2J,/);
});
