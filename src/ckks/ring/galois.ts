/** The "step" of complex conjugation, as in SEAL, whose rotations by nothing need no key. */
export const CONJUGATION = 0;

/**
 * The Galois element of a rotation by `step` slots: 3^step mod 2n; step 0 is the complex conjugation, 2n - 1
 * (native/src/seal/util/galois.cpp).
 */
export function galoisElement(step: number, n: number): number {
  if (step === CONJUGATION) return 2 * n - 1;
  let element = 1;
  for (let i = 0; i < step; i++) element = (element * 3) % (2 * n);
  return element;
}
