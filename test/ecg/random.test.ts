import { describe, expect, test } from 'vitest';
import { Random } from '../../src/ecg/random.ts';

describe('Random', () => {
  test('when the state is 1, 2, 3, 4 then the words are those of the reference implementation', () => {
    // https://prng.di.unimi.it/xoshiro128starstar.c, compiled with gcc
    const random = new Random([1, 2, 3, 4]);
    expect(Array.from({ length: 10 }, () => random.word())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ]);
  });

  test('when seeds are equal then so are the numbers, else not', () => {
    const draw = (seed: number) => {
      const random = new Random(seed);
      return Array.from({ length: 5 }, () => random.next());
    };
    expect(draw(7)).toEqual(draw(7));
    const firsts = new Set([0, 1, 2, 0.5, -1, 2 ** 40, 2 ** 40 + 1].map((seed) => new Random(seed).next()));
    expect(firsts.size).toBe(7);
  });

  test('when the state is taken then a copy goes on with the same numbers', () => {
    const random = new Random(3);
    random.next();
    const copy = new Random(random.state);
    expect([copy.next(), copy.next()]).toEqual([random.next(), random.next()]);
  });

  test('when many numbers are drawn then mean, deviation and range are right', () => {
    const random = new Random(11);
    let sum = 0;
    let squares = 0;
    let uniform = 0;
    const counts = [0, 0, 0];
    for (let i = 0; i < 60_000; i++) {
      const v = random.normal();
      sum += v;
      squares += v * v;
      uniform += random.between(2, 4);
      counts[random.below(3)]++;
    }
    expect(Math.abs(sum / 60_000)).toBeLessThan(0.02);
    expect(Math.abs(squares / 60_000 - 1)).toBeLessThan(0.03);
    expect(Math.abs(uniform / 60_000 - 3)).toBeLessThan(0.02);
    for (const c of counts) expect(Math.abs(c - 20_000)).toBeLessThan(600);
  });

  test('when items are shuffled then none is lost', () => {
    const items = Int32Array.from({ length: 50 }, (_, i) => i);
    const shuffled = new Random(1).shuffle(items.slice());
    expect([...shuffled]).not.toEqual([...items]);
    expect([...shuffled].sort((a, b) => a - b)).toEqual([...items]);
  });
});
