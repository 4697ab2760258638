import { BlindbeatError } from '../../errors.ts';
import { packLimbs, unpackLimbs } from '../ring/bit-packing.ts';
import { allPrimes } from '../ring/parameters.ts';
import { readPlaintextWords } from '../seal/bytes.ts';
import { concat, readContainer, writeContainer } from '../wire/container.ts';
import { bodySizes } from '../wire/file-sizes.ts';
import type { ParsedManifest } from '../wire/manifest.ts';

/** What of a manifest a secret key belongs to. */
type KeyPlan = Pick<ParsedManifest, 'planHash' | 'parameters'>;

/**
 * A secret key, with the name of its key pair. Lives on the client only: nothing that a server runs imports
 * this file. Its content is the ternary secret in NTT form modulo every prime of one plan, as SEAL made it,
 * and is given out for that plan alone.
 */
export class SecretKey {
  readonly keyId: string;
  readonly planHash: string;
  readonly #n: number;
  readonly #primes: readonly number[];
  readonly #residues: Uint32Array;
  #disposed = false;

  /**
   * @param residues `[primes][n]`, the special prime last; from now on the key's own
   * @throws BlindbeatError FORMAT for what is no secret key of this plan
   */
  constructor(keyId: string, { planHash, parameters }: KeyPlan, residues: Uint32Array) {
    this.keyId = keyId;
    this.planHash = planHash;
    this.#n = parameters.n;
    this.#primes = allPrimes(parameters);
    this.#residues = residues;
    if (residues.length !== this.#n * this.#primes.length)
      throw new BlindbeatError(
        'FORMAT',
        `a secret key of this plan has ${this.#n * this.#primes.length} residues, not ${residues.length}: make new keys`,
      );
    this.#requireLimbs();
  }

  /**
   * From the bytes that SEAL saves.
   *
   * @throws BlindbeatError FORMAT for what is no secret key of this plan
   */
  static fromSeal(bytes: Uint8Array, keyId: string, plan: KeyPlan): SecretKey {
    const words = readPlaintextWords(bytes);
    try {
      return new SecretKey(
        keyId,
        plan,
        words.filter((_, i) => i % 2 === 0),
      );
    } finally {
      words.fill(0);
    }
  }

  /**
   * The key's content, for the plan that it was made for and no other: a limb that a key lacks would count as
   * zero, and what is encrypted under it could be read by everybody.
   *
   * @returns `[primes][n]` residues, the special prime last; not a copy, so never to be kept
   * @throws BlindbeatError INTERNAL for a key that was disposed, MISMATCH for another plan, FORMAT for a key
   * that is zero modulo a prime
   */
  residuesFor({ planHash, parameters }: KeyPlan): Uint32Array {
    if (this.#disposed)
      throw new BlindbeatError(
        'INTERNAL',
        'the secret key was disposed: use it before, or read it from its file again',
      );
    const primes = allPrimes(parameters);
    const fits =
      this.#n === parameters.n &&
      this.#primes.length === primes.length &&
      this.#primes.every((q, i) => q === primes[i]);
    if (this.planHash !== planHash || !fits)
      throw new BlindbeatError(
        'MISMATCH',
        `the secret key was made for plan ${this.planHash.slice(0, 12)}, but the plan here is ` +
          `${planHash.slice(0, 12)}${fits ? '' : ', with other primes'}: make keys for this plan`,
      );
    this.#requireLimbs();
    return this.#residues;
  }

  /** Overwrites the key in memory; from then on every use is refused. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#residues.fill(0);
  }

  /** A secret that is not zero is not zero modulo any prime, in NTT form neither: it is ternary. */
  #requireLimbs(): void {
    const n = this.#n;
    this.#primes.forEach((q, i) => {
      if (!this.#residues.subarray(i * n, (i + 1) * n).some((r) => r !== 0))
        throw new BlindbeatError('FORMAT', `the secret key is zero modulo ${q}: make new keys`);
    });
  }
}

/**
 * The secret key as a file. Keep it to yourself: whoever has it reads every ECG encrypted with it. Overwrite
 * the bytes when they are written.
 *
 * @throws BlindbeatError MISMATCH for a key of another plan, INTERNAL for one that was disposed
 */
export function writeSecretKey(key: SecretKey, manifest: ParsedManifest): Uint8Array {
  const { n } = manifest.parameters;
  const body = packLimbs(key.residuesFor(manifest), n, allPrimes(manifest.parameters), 1);
  const header = { planHash: manifest.planHash, keyId: key.keyId, bodyBytes: bodySizes(manifest).secretKey };
  try {
    return concat(writeContainer('secret key', header, body));
  } finally {
    for (const piece of body) piece.fill(0);
  }
}

/**
 * The secret key of a file that `writeSecretKey` made for this manifest's plan.
 *
 * @throws BlindbeatError FORMAT or MISMATCH
 */
export function readSecretKey(bytes: Uint8Array, manifest: ParsedManifest): SecretKey {
  const { planHash, parameters } = manifest;
  const { header, body } = readContainer(bytes, 'secret key', {
    planHash,
    bodyBytes: bodySizes(manifest).secretKey,
  });
  const residues = new Uint32Array(allPrimes(parameters).length * parameters.n);
  unpackLimbs(body, parameters.n, allPrimes(parameters), residues, 1);
  return new SecretKey(header.keyId, manifest, residues);
}
