import { BlindbeatError } from '../../errors.ts';
import { packLimbs, unpackLimbs } from '../ring/bit-packing.ts';
import { allPrimes } from '../ring/parameters.ts';
import { readPlaintextWords } from '../seal/bytes.ts';
import { concat, readContainer, writeContainer } from '../wire/container.ts';
import { bodySizes } from '../wire/file-sizes.ts';
import type { Manifest } from '../wire/manifest.ts';

/**
 * A secret key, with the name of its key pair. Lives on the client only: nothing that a server runs imports
 * this file. Its content is the ternary secret in NTT form modulo every prime, as SEAL made it.
 */
export class SecretKey {
  readonly keyId: string;
  /** `[primes][n]` residues, the special prime last. */
  readonly residues: Uint32Array;

  constructor(keyId: string, residues: Uint32Array) {
    this.keyId = keyId;
    this.residues = residues;
  }

  /** From the bytes that SEAL saves. */
  static fromSeal(bytes: Uint8Array, keyId: string): SecretKey {
    const words = readPlaintextWords(bytes);
    const key = new SecretKey(
      keyId,
      words.filter((_, i) => i % 2 === 0),
    );
    words.fill(0);
    return key;
  }

  /** Overwrites the key in memory. */
  [Symbol.dispose](): void {
    this.residues.fill(0);
  }
}

/**
 * The secret key as a file. Keep it to yourself: whoever has it reads every ECG encrypted with it. Overwrite
 * the bytes when they are written.
 */
export function writeSecretKey(key: SecretKey, manifest: Manifest): Uint8Array {
  const { n } = manifest.parameters;
  const body = packLimbs(key.residues, n, allPrimes(manifest.parameters), 1);
  const header = { planHash: manifest.planHash, keyId: key.keyId, bodyBytes: bodySizes(manifest).secretKey };
  const bytes = concat(writeContainer('secret key', header, body));
  for (const piece of body) piece.fill(0);
  return bytes;
}

/**
 * @throws BlindbeatError FORMAT or MISMATCH
 */
export function readSecretKey(bytes: Uint8Array, manifest: Manifest): SecretKey {
  const { planHash, parameters } = manifest;
  const { header, body } = readContainer(bytes, 'secret key', {
    planHash,
    bodyBytes: bodySizes(manifest).secretKey,
  });
  const residues = new Uint32Array((parameters.primes.length + 1) * parameters.n);
  unpackLimbs(body, parameters.n, allPrimes(parameters), residues, 1);
  if (residues.every((r) => r === 0))
    throw new BlindbeatError('FORMAT', 'the secret key is zero: make new keys');
  return new SecretKey(header.keyId, residues);
}
