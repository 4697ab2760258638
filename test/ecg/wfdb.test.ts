import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeWfdb, parseHeader } from '../../src/ecg/wfdb.ts';

/** Format 212 written down naively: 12 bits after 12 bits, low bits first. */
function encode212(samples: number[]): Uint8Array {
  const bits = samples.flatMap((v) => Array.from({ length: 12 }, (_, b) => (v >> b) & 1));
  const [out, perPair] = [new Uint8Array(Math.ceil((samples.length * 3) / 2)), 24];
  samples.forEach((_, i) => {
    const pair = 3 * (i >> 1);
    const own = bits.slice(12 * i, 12 * i + 12);
    own.forEach((bit, b) => {
      // First sample: byte 0, low nibble of byte 1. Second: byte 2, high nibble of byte 1.
      const at = i % 2 === 0 ? b : b < 8 ? 16 + b : 12 + (b - 8);
      if (at < perPair) out[pair + (at >> 3)] |= bit << (at & 7);
    });
  });
  return out;
}

const ODD = '\u001b[2J\u202ex';
const SHOWN = /^[\p{L}\p{N}\p{P}\p{S} ]+$/u;

describe('decodeWfdb', () => {
  test('when any signals are stored in format 212 then they are read back', () => {
    const value = fc.integer({ min: -2047, max: 2047 });
    const frames = fc
      .integer({ min: 1, max: 4 })
      .chain((n) =>
        fc.array(fc.array(value, { minLength: n, maxLength: n }), { minLength: 1, maxLength: 30 }),
      );
    fc.assert(
      fc.property(frames, (rows) => {
        const n = rows[0].length;
        const lines = Array.from({ length: n }, () => 'x.dat 212 1/mV');
        const header = parseHeader([`x ${n} 360 ${rows.length}`, ...lines].join('\n'));
        const { leads } = decodeWfdb(header, new Map([['x.dat', encode212(rows.flat())]]));
        leads.forEach((lead, k) => {
          expect([...lead.mv]).toEqual(rows.map((row) => row[k]));
        });
      }),
    );
  });

  test('when samples are marked as missing then they are NaN', () => {
    const two = parseHeader('x 1 360 3\nx.dat 212 100/mV');
    expect([...decodeWfdb(two, new Map([['x.dat', encode212([100, -2048, 7])]])).leads[0].mv]).toEqual([
      1,
      Number.NaN,
      0.07,
    ]);
    const sixteen = parseHeader('x 1 360\nx.dat 16 100/mV');
    const bytes = new Uint8Array(Int16Array.of(100, -32768, 50).buffer);
    expect([...decodeWfdb(sixteen, new Map([['x.dat', bytes]])).leads[0].mv]).toEqual([1, Number.NaN, 0.5]);
  });

  test('when a header promises more samples than memory holds then it is refused before they are allocated', () => {
    const header = parseHeader('x 1 360 999999999999999\nx.dat 16 200');
    expect(() => decodeWfdb(header, new Map([['x.dat', new Uint8Array(10)]]))).toThrow('x.dat is cut off');
  });

  test.each(['1e-320/mV', '1e-31/mV', '1e31/mV', `200(${'9'.repeat(400)})/mV`])(
    'when a signal has the gain %.20s then it is refused: samples would be no numbers',
    (gain) => {
      expect(() => parseHeader(`x 1 360 3\nx.dat 16 ${gain}`)).toThrow(/expected a (gain|baseline)/i);
    },
  );

  test.each([
    ['a record', `${ODD} 1 360 3\nx.dat 16 200/apples`],
    ['a unit', `x 1 360 3\nx.dat 16 200/${ODD}`],
    ['a file', `x 1 360 3\n${ODD}.dat 16 200/mV`],
  ])('when %s has a name that a terminal would obey then the refusal is without', (_, text) => {
    const read = () => decodeWfdb(parseHeader(text), new Map([['x.dat', new Uint8Array(8)]]));
    expect(read).toThrow(expect.objectContaining({ message: expect.stringMatching(SHOWN) }));
  });

  test('when the text is arbitrary then it is read or refused, never worse', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom('x', '16', '212', '1', '0', '-5', '1e9', '200(0)/mV', '/', '\n', '+24'),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), (words) => {
        try {
          parseHeader(words.join(' '));
        } catch (error) {
          expect((error as Error).name).toBe('BlindbeatError');
        }
      }),
      { numRuns: 500 },
    );
  });
});
