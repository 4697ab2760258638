import { BlindbeatError } from '../../errors.ts';
import { evaluationKeysSize, packedPolynomial } from '../keyswitch/key-size.ts';
import { allPrimes } from '../ring/parameters.ts';
import { SEED_SIZE } from '../seal/bytes.ts';
import { containerSize } from './container.ts';
import type { ParsedManifest } from './manifest.ts';

/** Sizes on the wire, in bytes, of what belongs to a plan. */
export interface WireSizes {
  secretKey: number;
  evaluationKeys: number;
  request: number;
  reply: number;
}

/** Lengths of the bodies of all files. */
export function bodySizes(manifest: ParsedManifest): WireSizes {
  const { parameters, keys, reply } = manifest;
  const replyPolynomial = packedPolynomial(parameters, [parameters.primes[0]]);
  return {
    secretKey: packedPolynomial(parameters, allPrimes(parameters)),
    evaluationKeys: evaluationKeysSize(parameters, keys),
    request: packedPolynomial(parameters, parameters.primes) + SEED_SIZE,
    reply: 4 * 2 * reply.group + replyPolynomial * (reply.map ? 3 : 1),
  };
}

/** Evaluation keys of more bytes are made only for whoever says so: a plan at N = 32768 has 500 MB. */
export const USUAL_KEY_BYTES = 200e6;

/**
 * Refuses to make more evaluation keys than are wanted.
 *
 * @param most bytes of the file
 * @param remedy what to do for more
 * @throws BlindbeatError USAGE that names the size
 */
export function requireKeyBytes(manifest: ParsedManifest, most: number, remedy: string): void {
  const bytes = wireSizes(manifest).evaluationKeys;
  if (bytes <= most) return;
  throw new BlindbeatError(
    'USAGE',
    `the evaluation keys of this plan take ${Math.ceil(bytes / 1e6)} MB, more than the ${most / 1e6} MB that are ` +
      `made without asking: if the plan's server is to have them, ${remedy}`,
  );
}

/** Lengths of the files. */
export function wireSizes(manifest: ParsedManifest): WireSizes {
  const sizes = bodySizes(manifest);
  const header = { planHash: manifest.planHash, keyId: '0'.repeat(32) };
  return {
    secretKey: containerSize('secret key', { ...header, bodyBytes: sizes.secretKey }),
    evaluationKeys: containerSize('evaluation keys', { ...header, bodyBytes: sizes.evaluationKeys }),
    request: containerSize('request', { ...header, bodyBytes: sizes.request }),
    reply: containerSize('reply', { ...header, request: '0'.repeat(64), bodyBytes: sizes.reply }),
  };
}
