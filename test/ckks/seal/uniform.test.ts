import { expect, test } from 'vitest';
import { sampleUniform } from '../../../src/ckks/seal/uniform.ts';

test('when words are too large to be uniform, then they are drawn again from behind all primes, in order', () => {
  const primes = [97, 101];
  const n = 4;
  const largest = 2n ** 64n - 1n;
  const limits = primes.map((q) => largest - (largest % BigInt(q)) - 1n);
  const words = [5n, limits[0], limits[0] - 1n, 200n, largest, 7n, limits[1] - 1n, limits[1]];
  // What is drawn again: for place 1; for place 4, twice; for place 7.
  const more = [98n, largest, 103n, 1n];
  const asked: number[] = [];
  const wordAt = (place: number) => {
    asked.push(place);
    return [...words, ...more][place];
  };
  expect(sampleUniform(wordAt, n, primes)).toEqual([
    Uint32Array.of(5, 98 % 97, Number((limits[0] - 1n) % 97n), 200 % 97),
    Uint32Array.of(103 % 101, 7, Number((limits[1] - 1n) % 101n), 1),
  ]);
  expect(asked).toEqual([0, 1, 8, 2, 3, 4, 9, 10, 5, 6, 7, 11]);
});
