import { type Gadget, primesOf } from '../keyswitch/gadget.ts';
import { galoisElement } from '../ring/galois.ts';
import { bitReversal, multiplyMod } from '../ring/modular.ts';
import type { Parameters } from '../ring/parameters.ts';

/**
 * Turns a fresh encryption of zero into one digit of a key that switches from s' to s: adds P g_j s' to its
 * first polynomial, where s' is s^2, or s turned by an automorphism. P is the product of the gadget's special
 * primes; g_j is 1 modulo the primes of digit j and 0 modulo the gadget's others (eprint 2019/688, section
 * 3). So [P]_q s' is added modulo these primes q, and nothing elsewhere: P is 0 modulo the special ones.
 *
 * This is all the arithmetic on the secret key that is not SEAL's. It makes no copy of the key; its time does
 * not depend on the key but for the last correction of `multiplyMod` and of the sum.
 *
 * @param words the first polynomial modulo every prime of the plan, `[primes][n]` pairs of words, in NTT
 * form; changed in place
 * @param residues the secret key's, `[primes][n]`
 * @param step the rotation that the key is for, 0 for conjugation; null for s^2
 */
export function addKeyTerm(
  words: Uint32Array,
  residues: Uint32Array,
  parameters: Parameters,
  gadget: Gadget,
  digit: number,
  step: number | null,
): void {
  const { n, primes } = parameters;
  const source = step === null ? null : automorphism(galoisElement(step, n), n);
  const special = primesOf(parameters, gadget.special);
  for (const i of gadget.digits[digit]) {
    const q = primes[i];
    const factor = special.reduce((product, p) => multiplyMod(product, p % q, q), 1);
    for (let k = 0; k < n; k++) {
      const s = residues[i * n + k];
      const target = source === null ? multiplyMod(s, s, q) : residues[i * n + source[k]];
      const sum = words[2 * (i * n + k)] + multiplyMod(target, factor, q);
      words[2 * (i * n + k)] = sum >= q ? sum - q : sum;
    }
  }
}

/**
 * Where X -> X^element takes the values of a polynomial in NTT form from: place k holds the value at
 * root^(2 reversed(k) + 1), which turned is the value at root^(element (2 reversed(k) + 1)).
 */
function automorphism(element: number, n: number): Uint32Array {
  const reversed = bitReversal(n);
  return reversed.map((r) => reversed[(((element * (2 * r + 1)) % (2 * n)) - 1) / 2]);
}
