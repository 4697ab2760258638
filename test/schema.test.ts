import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { BlindbeatError } from '../src/errors.ts';
import {
  choice,
  distinctNames,
  type Fault,
  hex,
  list,
  name,
  notNegative,
  number,
  numberWithin,
  parse,
  plain,
  positive,
  powerOfTwo,
  printable,
  record,
  refuse,
  requireFormat,
  text,
  validate,
  wholeNumber,
} from '../src/schema.ts';
import { deepList } from './helpers/mutate.ts';

const FAULT: Fault = { code: 'FORMAT', title: 'no good', root: 'thing' };
const Thing = record({
  name: text(),
  keys: record({ galois: list(record({ step: wholeNumber(0, 9) }), 4, 1) }),
  kind: choice(['a', 'b']),
  size: v.optional(positive()),
});
const thing = { name: 'x', keys: { galois: [{ step: 1 }, { step: 9 }] }, kind: 'b' };

describe('a value and its schema', () => {
  test('when they fit, then a copy or the value itself comes back', () => {
    expect(parse(Thing, { ...thing, more: 1 }, FAULT)).toEqual(thing);
    const extended = { ...thing, more: 1 };
    expect(validate(Thing, extended, FAULT)).toBe(extended);
  });

  test('when much is wrong, then all is listed: its path, what was expected and what was got', () => {
    const wrong = { keys: { galois: [{ step: 1 }, {}, null, { step: 1.5 }] }, kind: 'c', size: '1' };
    expect(() => parse(Thing, wrong, FAULT)).toThrow(
      new BlindbeatError(
        'FORMAT',
        [
          'no good:',
          'name: expected a text of 1 to 65536 characters, got nothing',
          'keys.galois[1].step: expected a whole number from 0 to 9, got nothing',
          'keys.galois[2]: expected an object, got null',
          'keys.galois[3].step: expected a whole number from 0 to 9, got 1.5',
          'kind: expected "a" or "b", got "c"',
          'size: expected a positive number, got "1"',
        ].join('\n  - '),
      ),
    );
    expect(() => parse(Thing, wrong, FAULT)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });

  test('when whole objects are missing, then that is said', () => {
    expect(() => parse(Thing, { name: 'x', kind: 'a' }, FAULT)).toThrow(
      / {2}- keys: expected an object, got nothing$/,
    );
    expect(() => parse(Thing, 5, FAULT)).toThrow(/thing: expected an object, got 5/);
  });

  test('when a list is too long, then its items are not looked at', () => {
    const galois = new Array(1_000_000).fill('wrong');
    expect(() => parse(Thing, { ...thing, keys: { galois } }, FAULT)).toThrow(
      /no good:\n {2}- keys\.galois: expected a list of at most 4, got a list of 1000000$/,
    );
  });

  test('when there are more problems than anyone reads, then their number is said', () => {
    const many = list(text(), 1000);
    expect(() => parse(many, new Array(1000).fill(0), FAULT)).toThrow(/\[49\].*\n {2}- and 950 more$/);
    expect(() => refuse(FAULT, [])).not.toThrow();
  });
});

test.each<[string, v.GenericSchema, unknown[], unknown[]]>([
  ['number', number(), [0, -1.5, 1e300], [NaN, Infinity, -Infinity, '1', null, 1n]],
  ['positive', positive(), [1e-300, 3], [0, -0, -1, NaN, Infinity, true]],
  ['notNegative', notNegative(), [0, 3.5], [-1e-300, NaN, Infinity]],
  ['wholeNumber', wholeNumber(-1, 3), [-1, 0, 3], [-2, 4, 0.5, NaN, Infinity, '1', []]],
  ['text', text(), ['x', 'x'.repeat(65536)], ['', 'x'.repeat(65537), 1, null, ['x']]],
  ['numberWithin', numberWithin(-0.5, 2), [-0.5, 0.1, 2], [-0.6, 2.1, NaN, Infinity, '1', null]],
  ['powerOfTwo', powerOfTwo(2, 16), [2, 4, 16], [1, 3, 32, 0, -2, 2.5, NaN, Infinity, '2']],
  ['hex', hex(64), ['0a'.repeat(32)], ['0A'.repeat(32), '0a', '0a'.repeat(33), 'x'.repeat(64), 1]],
  ['name', name(4), ['N', '~', 'ü', '心房', 'a b'], ['', 'abcde', ' a', 'a\u200b', '\u202ea', 'א', 'a\n', 1]],
  [
    'distinctNames',
    distinctNames(4, 3),
    [['N', 'A']],
    [['N'], ['N', 'n'], ['A', 'Ａ'], ['a', 'b', 'c', 'd'], 'N'],
  ],
  ['choice', choice(['a', 'b']), ['a', 'b'], ['c', '', 0, ['a'], null]],
  ['list', list(number(), 2, 1), [[1], [1, 2]], [[], [1, 2, 3], ['1'], { length: 1, 0: 1 }, null]],
])('when values are tried, then %s takes those that it should', (_, schema, right, wrong) => {
  for (const value of right) expect(parse(schema, value, FAULT)).toEqual(value);
  for (const value of wrong) expect(() => parse(schema, value, FAULT)).toThrow(/no good:\n {2}- .*expected/);
});

describe('a format', () => {
  test.each<[unknown, RegExp]>([
    [null, /thing: expected an object, got null/],
    [{}, /format: expected "f", got nothing$/],
    [{ format: 'g', version: 7 }, /format: expected "f", got "g"$/],
    [{ format: 'f', version: '2' }, /version: expected 2, got "2"; use the blindbeat that wrote it$/],
    [{ format: 'f' }, /version: expected 2, got nothing; use/],
  ])('when the value is %j, then it is refused', (value, message) => {
    expect(() => requireFormat(value, 'f', 2, FAULT)).toThrow(message);
    expect(() => requireFormat({ format: 'f', version: 2 }, 'f', 2, FAULT)).not.toThrow();
  });
});

describe('plain data', () => {
  test('when it is copied, then the copy is equal, frozen at every level and its own', () => {
    const value = JSON.parse('{"a": [1, {"b": null}], "__proto__": {"c": true}, "d": "x"}');
    const copy = plain(value, FAULT) as typeof value;
    expect(JSON.stringify(copy)).toBe(JSON.stringify(value));
    expect(copy.c).toBeUndefined();
    expect([copy, copy.a, copy.a[1]].every(Object.isFrozen)).toBe(true);
    expect(copy.a).not.toBe(value.a);
  });

  test.each<[string, unknown, RegExp]>([
    ['too deep', deepList(), /more than 64 lists or objects in each other$/],
    ['too long', new Array(2 ** 32 - 1), /more than 20000 values$/],
    ['too long in all', Array.from({ length: 200 }, () => new Array(200).fill(0)), /more than 20000 values$/],
    ['too much text', [['x'.repeat(2 ** 20)], 'x'], /more than 1048576 characters$/],
    ['a function', { f: () => 0 }, /a function, which is not of JSON$/],
    ['a large integer', [1n], /a bigint, which is not of JSON$/],
  ])('when it is %s, then it is refused', (_, value, message) => {
    expect(() => plain(value, FAULT)).toThrow(message);
    expect(() => plain(value, FAULT)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });
});

test.each([
  ['a\u200b\u3164\u00adb', 'a\\u{200b}\\u{3164}\\u{ad}b'],
  ['Herz, ♥ é 心', 'Herz, ♥ é 心'],
  ['a\u001b[31m\n\u202eb\ud800', 'a\\u{1b}[31m\\u{a}\\u{202e}b\\u{d800}'],
  ['x'.repeat(100), `${'x'.repeat(48)}...`],
])('when %j is shown, then a terminal can print it', (given, expected) => {
  expect(printable(given)).toBe(expected);
});
