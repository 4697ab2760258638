import { packBits } from '../../src/ckks/ring/bit-packing.ts';
import { bitLength } from '../../src/ckks/ring/primes.ts';
import { concat, writeContainer } from '../../src/ckks/wire/container.ts';
import { bodySizes } from '../../src/ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';

/** A reply to a request of this digest as a server without weights could make it: every residue is small, so that the scores are arbitrary. */
export function fakeReply(manifest: ParsedManifest, keyId: string, request: string): Uint8Array {
  const { planHash, parameters, reply } = manifest;
  const { n, primes } = parameters;
  const residues = Uint32Array.from({ length: n }, (_, i) => (i * 7919) % 65521);
  const carried = new Uint8Array(new Uint32Array(2 * reply.group).fill(12345).buffer);
  const polynomial = packBits(residues, 0, n, 1, bitLength(primes[0]));
  const body = [carried, ...Array.from({ length: reply.map ? 3 : 1 }, () => polynomial)];
  const header = { planHash, keyId, request, bodyBytes: bodySizes(manifest).reply };
  return concat(writeContainer('reply', header, body));
}
