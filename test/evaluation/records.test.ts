import { describe, expect, test } from 'vitest';
import { drawRecords } from '../../src/evaluation/records.ts';

describe('drawRecords', () => {
  test('when records are drawn then the seed decides, and a smaller draw lies within a larger', () => {
    const all = Array.from({ length: 50 }, (_, i) => i);
    const twenty = drawRecords(all, 20, 1);
    expect(twenty).toHaveLength(20);
    expect(twenty).toEqual(twenty.toSorted((a, b) => a - b));
    expect(drawRecords(all, 20, 2)).not.toEqual(twenty);
    expect(drawRecords(all, 5, 1).every((i) => twenty.includes(i))).toBe(true);
    expect(drawRecords(all, 99, 1)).toEqual(all);
  });
});
