import { packBits, packedSize, unpackBits } from '../../src/ckks/ring/bit-packing.ts';
import { inverseMod, multiplyMod, reduce } from '../../src/ckks/ring/modular.ts';
import { minimalPrimitiveRoot, type Ntt } from '../../src/ckks/ring/ntt.ts';
import { PeriodicEncoder, periodicCoefficients } from '../../src/ckks/ring/periodic-encoder.ts';
import { bitLength } from '../../src/ckks/ring/primes.ts';
import { concat, readContainer, writeContainer } from '../../src/ckks/wire/container.ts';
import { bodySizes } from '../../src/ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';

/**
 * What a reply says of the secret key s, for whoever has its bytes and its scores.
 *
 * With g slots to a group, Y = X^M and M = N / 2g, the scores are the real parts of the slots of m(Y), the
 * 2g coefficients of c0 + c1 s that are sent: they give m + m', where m'(Y) = m(1 / Y). With
 * s = sum_r X^r s_r(Y), m = c0 + sum_r b_r(Y) s_r(Y), where b_0 = a_0 and b_r = Y a_(M - r) for
 * c1 = sum_r X^r a_r(Y). So at a root z of Y^2g = -1 modulo q0 every reply is one linear equation in the 2 M
 * unknowns s_r(z) and s_r(1 / z).
 */
export interface Reading {
  /** Residue classes r of the key's coefficients: M. */
  parts: number;
  /** Coefficients of the key in a part: 2 g. */
  size: number;
  q: number;
  /** A root of Y^size = -1 modulo q, and its inverse. */
  z: number;
  inverseZ: number;
  /** Of the whole ring. */
  ntt: Ntt;
}

/** How replies of a plan are read. */
export function readingOf({ parameters, reply }: ParsedManifest): Reading {
  const size = 2 * reply.group;
  const [q] = parameters.primes;
  const z = minimalPrimitiveRoot(size, q);
  const ntt = new PeriodicEncoder(parameters.n, [q]).transform(parameters.n, 0);
  return { parts: parameters.n / size, size, q, z, inverseZ: inverseMod(z, q), ntt };
}

/** A reply's two polynomials as coefficients: of the first those that are sent. */
export interface ReplyPolynomials {
  c0: Uint32Array;
  c1: Uint32Array;
}

/** Takes a reply's bytes apart, as the server that sent them can. */
export function readReply(bytes: Uint8Array, manifest: ParsedManifest, reading: Reading): ReplyPolynomials {
  const { planHash, parameters } = manifest;
  const { n } = parameters;
  const { q, size, ntt } = reading;
  const { body } = readContainer(bytes, 'reply', { planHash, bodyBytes: bodySizes(manifest).reply });
  const view = new DataView(body.buffer, body.byteOffset);
  const c0 = Uint32Array.from({ length: size }, (_, k) => view.getUint32(4 * k, true));
  const c1 = new Uint32Array(n);
  const bits = bitLength(q);
  unpackBits(body.subarray(4 * size, 4 * size + packedSize(n, bits)), n, bits, q, c1, 0, 1);
  ntt.inverse(c1);
  return { c0, c1 };
}

/**
 * The bytes of a reply with these polynomials: what a server can send without computing anything.
 *
 * @param names of the key pair, and the digest of the request that it claims to answer
 */
export function writeReply(
  { c0, c1 }: ReplyPolynomials,
  manifest: ParsedManifest,
  { q, ntt }: Reading,
  names: { keyId: string; request: string },
): Uint8Array {
  const { planHash, parameters } = manifest;
  const values = c1.slice();
  ntt.forward(values);
  const body = [new Uint8Array(c0.slice().buffer), packBits(values, 0, parameters.n, 1, bitLength(q))];
  return concat(writeContainer('reply', { planHash, ...names, bodyBytes: bodySizes(manifest).reply }, body));
}

/** The 2g coefficients of m + m', not rounded, from the scores of a reply [classes = group]. */
export function realPart(scores: number[], { reply }: ParsedManifest): Float64Array {
  const slots = new Float64Array(reply.group);
  scores.forEach((score, c) => {
    const slot = (((c - reply.offset) % reply.group) + reply.group) % reply.group;
    slots[slot] = score * reply.scale;
  });
  return periodicCoefficients(slots).map((x) => 2 * x);
}

/** The coefficients [2 M] of a reply's equation: of s_r(z), then of s_r(1 / z). */
export function coefficientsOf(c1: Uint32Array, { parts, size, q, z, inverseZ }: Reading): Float64Array {
  const row = new Float64Array(2 * parts);
  [z, inverseZ].forEach((root, half) => {
    const value = (r: number) => {
      let sum = 0;
      for (let t = size - 1; t >= 0; t--) sum = (multiplyMod(sum, root, q) + c1[r + t * parts]) % q;
      return sum;
    };
    row[half * parts] = value(0);
    for (let r = 1; r < parts; r++) row[half * parts + r] = multiplyMod(value(parts - r), root, q);
  });
  return row;
}

/**
 * The right side of a reply's equation: m + m' - c0 - c0' at z.
 *
 * @param scores as they were disclosed
 */
export function rightSideOf(
  c0: Uint32Array,
  scores: number[],
  manifest: ParsedManifest,
  { size, q, z, inverseZ }: Reading,
): number {
  const known = realPart(scores, manifest);
  let right = 0;
  let powers: [number, number] = [1, 1];
  for (let k = 0; k < size; k++) {
    const both = (powers[0] + powers[1]) % q;
    right = (right + multiplyMod(reduce(Math.round(known[k]), q), powers[0], q)) % q;
    right = (right + q - multiplyMod(c0[k], both, q)) % q;
    powers = [multiplyMod(powers[0], z, q), multiplyMod(powers[1], inverseZ, q)];
  }
  return right;
}
