import { evaluationKeysSize, packedPolynomial } from '../keyswitch/key-size.ts';
import { SEED_SIZE } from '../seal/bytes.ts';
import { containerSize } from './container.ts';
import type { Manifest } from './manifest.ts';

/** Sizes on the wire, in bytes, of what belongs to a plan. */
export interface WireSizes {
  secretKey: number;
  evaluationKeys: number;
  request: number;
  reply: number;
}

/** Lengths of the bodies of all files. */
export function bodySizes(manifest: Pick<Manifest, 'parameters' | 'keys' | 'reply'>): WireSizes {
  const { parameters, keys, reply } = manifest;
  const replyPolynomial = packedPolynomial(parameters, [parameters.primes[0]]);
  return {
    secretKey: packedPolynomial(parameters, [...parameters.primes, parameters.special]),
    evaluationKeys: evaluationKeysSize(parameters, keys),
    request: packedPolynomial(parameters, parameters.primes) + SEED_SIZE,
    reply: 4 * 2 * reply.group + replyPolynomial * (reply.map ? 3 : 1),
  };
}

/** Lengths of the files. */
export function wireSizes(manifest: Manifest): WireSizes {
  const sizes = bodySizes(manifest);
  const header = { planHash: manifest.planHash, keyId: '0'.repeat(32) };
  return {
    secretKey: containerSize('secret key', { ...header, bodyBytes: sizes.secretKey }),
    evaluationKeys: containerSize('evaluation keys', { ...header, bodyBytes: sizes.evaluationKeys }),
    request: containerSize('request', { ...header, bodyBytes: sizes.request }),
    reply: containerSize('reply', { ...header, request: '0'.repeat(64), bodyBytes: sizes.reply }),
  };
}
