import { SealRandomness } from '../../src/ckks/evaluator/fast/seal-randomness.ts';
import { unpackLimbs } from '../../src/ckks/ring/bit-packing.ts';
import { inverseMod, multiplyMod, reduce } from '../../src/ckks/ring/modular.ts';
import { PeriodicEncoder, periodicSlots } from '../../src/ckks/ring/periodic-encoder.ts';
import { SEED_SIZE } from '../../src/ckks/seal/bytes.ts';
import { loadSeal, type ServerModule } from '../../src/ckks/seal/seal.ts';
import { readContainer } from '../../src/ckks/wire/container.ts';
import { bodySizes } from '../../src/ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';

/**
 * The segment in a request, read with a key that was recovered: c0 + c1 s modulo the first two primes, which
 * hold every input.
 *
 * @param residues of the key, `[primes][n]` in NTT form
 */
export async function openRequest(
  request: Uint8Array,
  manifest: ParsedManifest,
  residues: Uint32Array,
): Promise<Float64Array> {
  const { parameters, planHash, inputScale, samples } = manifest;
  const { n, primes } = parameters;
  const { body } = readContainer(request, 'request', { planHash, bodyBytes: bodySizes(manifest).request });
  const words = new Uint32Array(2 * primes.length * n);
  const end = unpackLimbs(body, n, primes, words, 2);
  using randomness = new SealRandomness(await loadSeal<ServerModule>(), parameters);
  const parmsId = randomness.parmsIds.get(primes.length)!;
  const seed = body.slice(end, end + SEED_SIZE);
  const raw = { parmsId, polynomials: 2, n, limbs: primes.length, scale: inputScale, ntt: true, words, seed };
  const full = randomness.expand(raw, 'Ciphertext', 'the request').words;
  const encoder = new PeriodicEncoder(n, primes);
  const [p, q] = primes;
  const [low, high] = [p, q].map((prime, i) => {
    const values = Uint32Array.from({ length: n }, (_, k) => {
      const place = i * n + k;
      const product = multiplyMod(full[2 * (primes.length * n + place)], residues[place], prime);
      return (full[2 * place] + product) % prime;
    });
    encoder.transform(n, i).inverse(values);
    return values;
  });
  const inverse = inverseMod(p % q, q);
  const coefficients = Float64Array.from(low, (a, k) => {
    const b = multiplyMod(reduce(high[k] - a, q), inverse, q);
    return a + p * (b > q / 2 ? b - q : b); // below 2^53, since inputs are
  });
  const slots = periodicSlots(coefficients);
  const copies = n / 2 / samples;
  return Float64Array.from({ length: samples }, (_, i) => slots[i * copies] / inputScale);
}
