import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type LabelledRecord, makeSplit } from '../../src/dataset/split.ts';
import split from '../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { partsOf } from '../../training/data.ts';

const SHARES = { validation: 0.1, test: 0.15 };

const records = fc
  .array(
    fc.record({
      label: fc.constantFrom('N', 'A', 'O', '~'),
      content: fc.integer({ min: 0, max: 400 }).map(String),
    }),
    { minLength: 40, maxLength: 200 },
  )
  .map((list) => list.map((r, i): LabelledRecord => ({ ...r, name: `A${String(i).padStart(5, '0')}` })));

test('parts are disjoint, equal records stay together, shares are kept per class, seeds decide', () => {
  fc.assert(
    fc.property(records, fc.integer({ min: 0, max: 1e6 }), (list, seed) => {
      const made = makeSplit(list, seed, SHARES);
      expect(makeSplit([...list].reverse(), seed, SHARES)).toEqual(made);
      const test = new Set(made.test);
      const validation = new Set(made.validation);
      expect(test.size).toBe(made.test.length);
      expect(made.validation.some((name) => test.has(name))).toBe(false);
      const held = list.filter((r) => test.has(r.name) || validation.has(r.name));
      for (const r of held) {
        const twins = list.filter((other) => other.content === r.content);
        expect(twins).toHaveLength(1); // records that occur twice are trained on, both of them
      }
    }),
    { numRuns: 50 },
  );
});

test('without twins each class has its share in each part', () => {
  const list = Array.from({ length: 400 }, (_, i) => ({
    name: `A${String(i).padStart(5, '0')}`,
    label: i % 4 === 0 ? 'A' : 'N',
    content: String(i),
  }));
  const made = makeSplit(list, 5, SHARES);
  const count = (names: string[], label: string) =>
    names.filter((name) => list.some((r) => r.name === name && r.label === label)).length;
  expect([count(made.test, 'A'), count(made.test, 'N')]).toEqual([15, 45]);
  expect([count(made.validation, 'A'), count(made.validation, 'N')]).toEqual([10, 30]);
});

test('the committed split keeps at least 700 records for the report and the known twins together', () => {
  expect(split.test.length).toBeGreaterThanOrEqual(700);
  const test = new Set(split.test);
  const validation = new Set(split.validation);
  expect(split.validation.some((name) => test.has(name))).toBe(false);
  for (const twins of [
    ['A00227', 'A01176'],
    ['A02656', 'A03123'],
  ]) {
    const sides = twins.map((name) =>
      test.has(name) ? 'test' : validation.has(name) ? 'validation' : 'train',
    );
    expect(sides[0]).toBe(sides[1]);
  }
});

test('records that the split does not name are trained on', () => {
  const made = { format: 'blindbeat-split', version: 1, seed: 1, validation: ['A2'], test: ['A3'] } as const;
  const list = ['A1', 'A2', 'A3', 'A4'].map((name) => ({
    name,
    label: 'N',
    offset: 0,
    length: 1,
    content: name,
  }));
  const parts = partsOf(list, { ...made, validation: [...made.validation], test: [...made.test] });
  expect(parts).toEqual({ train: [0, 3], validation: [1], test: [2] });
});
