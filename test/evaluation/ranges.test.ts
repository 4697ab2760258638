import { describe, expect, test } from 'vitest';
import { worstRanges } from '../../src/evaluation/ranges.ts';
import { randomModel } from '../helpers/random-model.ts';
import { outcome } from './helpers.ts';

const model = randomModel({ samples: 1024 });

describe('worstRanges', () => {
  test('when values spread then the worst and whose they are is told, refused records aside', () => {
    const at = (id: string, score: number, ranges: [number, number][]) => ({
      ...outcome(id, 'N', 'N', [score, 0, 0, 0]),
      ranges,
    });
    const worst = worstRanges(
      model, // validated for -4 to 4 in both blocks
      [
        at('a', 2, [[-1, 3], [0, 1]]), // biome-ignore format: a table
        at('b', -5, [[-2, 1], [-6, 1]]), // biome-ignore format: a table
        outcome('c', 'N', null),
        at('d', Number.NaN, [[0, 0], [0, 0]]), // biome-ignore format: a table
      ],
      2,
    );
    expect(worst.scores.map(({ id, score }) => [id, score])).toEqual([
      ['d', Number.POSITIVE_INFINITY],
      ['b', -5],
    ]);
    expect(worst.blocks).toEqual([
      { low: -2, high: 3, range: [-4, 4], share: 0.75, id: 'a' },
      { low: -6, high: 1, range: [-4, 4], share: 1.5, id: 'b' },
    ]);
  });
});
