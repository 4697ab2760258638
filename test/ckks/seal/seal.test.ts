import { expect, test } from 'vitest';
import { choosePrimes } from '../../../src/ckks/ring/primes.ts';
import { type ClientModule, loadSeal } from '../../../src/ckks/seal/seal.ts';
import { BlindbeatError } from '../../../src/errors.ts';

const seal = await loadSeal<ClientModule>();

test.each<[string, unknown, string, RegExp]>([
  ['an exception of its own', { message: ['std::logic_error', 'bad'] }, 'FORMAT', /^it: SEAL says "bad"$/],
  ['that memory ran out', { message: ['std::bad_alloc', 'std::bad_alloc'] }, 'ENVIRONMENT', /no memory left/],
  ['a trap', new WebAssembly.RuntimeError('unreachable'), 'INTERNAL', /start the process again/],
  ['an error of ours', new BlindbeatError('MISMATCH', 'other keys'), 'MISMATCH', /^other keys$/],
])('when SEAL throws %s, then the code says what to do', (_, thrown, code, words) => {
  const call = () => {
    throw thrown;
  };
  expect(() => seal.guard('FORMAT', 'it', call)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(words) }),
  );
});

const [q, p] = choosePrimes(4096, [30, 30]);
test.each<[number, number[]]>([
  [4095, [q, p]],
  [2 ** 24, [q, p]],
  [0, [q, p]],
  [4096, []],
  [4096, [1, p]],
  [4096, [q, q]],
  [4096, [2 ** 61 + 1, p]],
  [4096, choosePrimes(4096, [30, 30, 30, 30])],
])('when SEAL is asked for ring degree %j with primes %j, then it refuses and holds nothing', (n, primes) => {
  const live = seal.live;
  expect(() => seal.context(n, primes, true)).toThrow(expect.objectContaining({ code: 'PLAN' }));
  expect(seal.live).toBe(live);
});
