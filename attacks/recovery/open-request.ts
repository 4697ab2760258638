import { FastEngine } from '../../src/ckks/evaluator/fast/engine.ts';
import { loadPacked } from '../../src/ckks/evaluator/fast/packed.ts';
import { packedCiphertext } from '../../src/ckks/evaluator/packed-ciphertext.ts';
import { inverseMod, multiplyMod, reduce } from '../../src/ckks/ring/modular.ts';
import { PeriodicEncoder, periodicSlots } from '../../src/ckks/ring/periodic-encoder.ts';
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
  using engine = await FastEngine.open(parameters);
  const sent = loadPacked(engine, packedCiphertext(body), [...primes.keys()]);
  const encoder = new PeriodicEncoder(n, primes);
  const [p, q] = primes;
  const [low, high] = [p, q].map((prime, i) => {
    const [c0, c1] = [0, 1].map((polynomial) => engine.read(sent, polynomial, i));
    const values = c0.map((c, k) => (c + multiplyMod(c1[k], residues[i * n + k], prime)) % prime);
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
