import { choosePrimes, log2Product } from '../../src/ckks/ring/primes.ts';
import { scoreBoundOf } from '../../src/ckks/wire/reply-layout.ts';
import { resealed } from './reseal.ts';

/** Some manifest's content with so many per-prime rotation keys of 27 primes at N = 32768: 91 MB each. */
export function largeManifest(manifest: object, rotations: number) {
  const primes = choosePrimes(
    32768,
    Array.from({ length: 28 }, () => 30),
  );
  const special = primes.pop()!;
  const logQP = log2Product([...primes, special]);
  return resealed({
    ...manifest,
    parameters: { n: 32768, primes, special, logQP, security: 128 as const },
    keys: {
      switching: 'seal' as const,
      gadgets: [],
      relinearisation: [{ limbs: 27 }],
      galois: Array.from({ length: rotations }, (_, i) => ({ step: i + 1, limbs: 27 })),
    },
    outputs: 'scores',
    reply: { scale: 2 ** 20, group: 4, offset: 0 },
    scoreBound: scoreBoundOf(primes),
  });
}
