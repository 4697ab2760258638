/** Bytes of one buffer of SEAL's generator. */
export const BUFFER_BYTES = 4096;

const LARGEST = 2n ** 64n - 1n;

/**
 * Uniform residues from a stream of 64-bit words, as SEAL samples them (native/src/seal/util/rlwe.cpp,
 * sample_poly_uniform): prime after prime, each word modulo the prime; a word so large that the residues would not be
 * uniform is drawn again from what follows the n words of all primes.
 *
 * For the rare polynomial (one in 2^18 or so) that has such a word; the kernels do the others.
 *
 * @param wordAt the word of the stream at a place, from 0
 * @returns `[primes][n]`
 */
export function sampleUniform(wordAt: (place: number) => bigint, n: number, primes: number[]): Uint32Array[] {
  let next = n * primes.length;
  return primes.map((prime, limb) => {
    const q = BigInt(prime);
    const limit = LARGEST - (LARGEST % q) - 1n;
    return Uint32Array.from({ length: n }, (_, i) => {
      let word = wordAt(limb * n + i);
      while (word >= limit) word = wordAt(next++);
      return Number(word % q);
    });
  });
}
