import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCsv } from '../../src/ecg/csv.ts';

describe('parseCsv', () => {
  test('when numbers are written with any separator then they are read back', () => {
    const value = fc.double({ min: -10, max: 10, noNaN: true }).map((v) => v + 0); // no -0: it is written as 0
    const separator = fc.constantFrom(',', ';', '\t', '  ', ', ');
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 2, maxLength: 50 }),
        separator,
        fc.boolean(),
        (mv, mark, titled) => {
          const rows = mv.map((v, i) => `${(i / 250).toFixed(4)}${mark}${v}`);
          const { rate, leads } = parseCsv([...(titled ? [`time${mark}II`] : []), ...rows].join('\r\n'));
          expect(rate).toBe(250);
          expect(leads[0].name).toBe(titled ? 'II' : 'lead 1');
          expect([...leads[0].mv]).toEqual(mv);
        },
      ),
    );
  });

  test('when samples are NaN then they stay NaN', () => {
    expect([...parseCsv('1\nNaN\nnan\n2', { rate: 300 }).leads[0].mv]).toEqual([
      1,
      Number.NaN,
      Number.NaN,
      2,
    ]);
  });

  test.each(['1e999', '-1e31', '9'.repeat(400)])(
    'when a sample is %.20s then no number is read of it',
    (field) => {
      expect(() => parseCsv(`1\n2\n${field}\n3`, { rate: 300 })).toThrow(/line 3/i);
    },
  );

  test.each<[string, string]>([
    ['a number of 100,000 digits', `1\n${'1'.repeat(1e5)}x\n2`],
    ['a title of blanks', `I${' '.repeat(6e4)}x\n1\n2`],
    ['a title of brackets', `I${'[('.repeat(3e4)}x\n1\n2`],
  ])('when a line has %s then it is read or refused at once', (_, text) => {
    const start = process.cpuUsage();
    try {
      parseCsv(text, { rate: 300 });
    } catch (error) {
      expect(error).toMatchObject({ code: 'ECG' });
    }
    const { user } = process.cpuUsage(start);
    expect(user / 1e3).toBeLessThan(500);
  });

  test('when times have few decimals then the rate is still exact', () => {
    for (const rate of [128, 256, 300, 360, 500]) {
      const text = Array.from({ length: 10 * rate }, (_, i) => `${(i / rate).toFixed(3)} 0.1`).join('\n');
      expect(parseCsv(text).rate).toBe(rate);
    }
  });

  test('when the text is arbitrary then it is read or refused, never worse', () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom('1', '-0.5', ',', ';', '\n', '\t', ' ', 'NaN', 'mV', '1e5'),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.boolean(), (pieces, rate) => {
        try {
          parseCsv(pieces.join(''), rate ? { rate: 300 } : {});
        } catch (error) {
          expect((error as Error).name).toBe('BlindbeatError');
        }
      }),
      { numRuns: 500 },
    );
  });
});
