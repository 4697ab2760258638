import { BlindbeatError } from '../../errors.ts';
import { packedSize, unpackBits } from '../ring/bit-packing.ts';
import { multiplyMod } from '../ring/modular.ts';
import type { Ntt } from '../ring/ntt.ts';
import { PeriodicEncoder, periodicSlots } from '../ring/periodic-encoder.ts';
import { bitLength } from '../ring/primes.ts';
import type { ParsedManifest } from './manifest.ts';
import { readMap, readScores } from './reply.ts';

/**
 * How large what an evaluation leaves at noise level may be: the imaginary parts of the scores' slots, and
 * the slots of the group that have no class. More than 50 times what evaluations leave, which the tests
 * measure.
 */
export const SCORE_NOISE = 1 / 16;
/** The same for the imaginary parts of all slots of the map. */
export const MAP_NOISE = 4;

/** A ciphertext of one limb: two polynomials in NTT form. */
export interface ReplyCiphertext {
  c0: Uint32Array;
  c1: Uint32Array;
}

/**
 * Reads the replies to one plan, before and after decryption, and refuses what no evaluation gives.
 *
 * The scores' polynomial has 2 x group coefficients, so its slots have 2 x group real and imaginary parts, of
 * which only the classes' real parts are scores; an evaluation leaves the others at noise level. With uniform
 * coefficients, which are what a reply of random bytes and a wrapped value decrypt to, all parts are within
 * their limits with probability (scoreLimit SCORE_NOISE / (group scoreBound^2))^group at most: the volume of
 * these limits by that of all coefficients. That is 1.3e-23 for the shipped model.
 *
 * What this does not find: a server that encrypts scores of its own choice, or evaluates another ECG or other
 * weights. It has a public key and knows the encoding, so only known records among the requests tell.
 */
export class ReplyReader {
  readonly #manifest: ParsedManifest;
  readonly #ntt: Ntt;

  constructor(manifest: ParsedManifest) {
    const { n, primes } = manifest.parameters;
    this.#manifest = manifest;
    this.#ntt = new PeriodicEncoder(n, [primes[0]]).transform(n, 0);
  }

  /**
   * The ciphertexts of a reply's body: of the scores and, when planned, of the map.
   *
   * @throws BlindbeatError FORMAT for damaged bytes, and for a ciphertext that needs no key to be read
   */
  ciphertexts(body: Uint8Array): { scores: ReplyCiphertext; map?: ReplyCiphertext } {
    const scores = { c0: this.#spread(body), c1: this.#polynomial(body, 0) };
    const map = this.#manifest.reply.map && {
      c0: this.#polynomial(body, 1),
      c1: this.#polynomial(body, 2),
    };
    for (const { c1 } of map ? [scores, map] : [scores]) {
      if (c1.every((residue) => residue === 0))
        throw new BlindbeatError(
          'FORMAT',
          'the reply is not encrypted: its second polynomial is zero, which no evaluation gives; do not trust its server',
        );
    }
    return map ? { scores, map } : { scores };
  }

  /**
   * What the decrypted polynomial of the scores holds, in NTT form: of its coefficients only those that carry
   * the scores mean something, since the server withheld all others.
   *
   * @param values overwritten
   * @returns the scores, and what an evaluation leaves at noise level: the group's other slots, and all
   * imaginary parts but for their signs
   */
  group(values: Uint32Array): { scores: number[]; noise: number[] } {
    const { reply, parameters, classes } = this.#manifest;
    this.#ntt.inverse(values);
    const size = 2 * reply.group;
    const coefficients = Float64Array.from({ length: size }, (_, k) =>
      centre(values[(k * parameters.n) / size], parameters.primes[0]),
    );
    const slotsOf = (polynomial: Float64Array) => periodicSlots(polynomial).map((v) => v / reply.scale);
    const group = readScores(slotsOf(coefficients), reply, reply.group);
    const imaginary = slotsOf(turnedCoefficients(coefficients));
    return {
      scores: group.slice(0, classes.length),
      noise: [...group.slice(classes.length), ...imaginary],
    };
  }

  /**
   * The scores, from the decrypted polynomial as for `group`.
   *
   * @throws BlindbeatError UNCLASSIFIABLE for scores that name no class
   */
  scores(values: Uint32Array): number[] {
    const { scoreLimit } = this.#manifest;
    const { scores, noise } = this.group(values);
    if (scores.some((s) => !(Math.abs(s) <= scoreLimit)))
      refuse(`a score is beyond the limit of ${scoreLimit}`);
    const same = scores.length > 1 && scores.every((s) => s === scores[0]);
    if (same || [...scores, ...noise].every((x) => x === 0))
      refuse('all scores are the same to the last digit, which the noise of an evaluation never leaves so');
    if (noise.some((x) => !(Math.abs(x) <= SCORE_NOISE)))
      refuse(`what should be noise around the scores is beyond ${SCORE_NOISE}`);
    return scores;
  }

  /** A polynomial in NTT form times X^(n/2), which makes the real parts of its slots the imaginary ones. */
  turned(values: Uint32Array): Uint32Array {
    const { n, primes } = this.#manifest.parameters;
    const factor = new Uint32Array(n);
    factor[n / 2] = 1;
    this.#ntt.forward(factor);
    return values.map((v, i) => multiplyMod(v, factor[i], primes[0]));
  }

  /**
   * `[windows][classes]` contributions.
   *
   * @param slots real parts of all slots of the map
   * @param turned those of the turned map
   * @throws BlindbeatError UNCLASSIFIABLE for a map that no evaluation gives
   */
  map(slots: Float64Array, turned: Float64Array): number[][] {
    const { reply, classes, scoreLimit } = this.#manifest;
    const map = readMap(slots, reply, classes.length);
    if (map.some((window) => window.some((x) => !(Math.abs(x) <= scoreLimit))))
      refuse(`a window of the map is beyond the limit of ${scoreLimit}`);
    if (turned.some((x) => !(Math.abs(x) <= MAP_NOISE)))
      refuse(`what should be noise around the map is beyond ${MAP_NOISE}`);
    return map;
  }

  /** The scores' first polynomial: zero but for the coefficients that carry the scores. */
  #spread(body: Uint8Array): Uint32Array {
    const { reply, parameters } = this.#manifest;
    const { n, primes } = parameters;
    const size = 2 * reply.group;
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const out = new Uint32Array(n);
    for (let k = 0; k < size; k++) {
      const residue = view.getUint32(4 * k, true);
      if (residue >= primes[0])
        throw new BlindbeatError(
          'FORMAT',
          `a residue is not below its prime ${primes[0]}: the reply is damaged, ask for it again`,
        );
      out[(k * n) / size] = residue;
    }
    this.#ntt.forward(out);
    return out;
  }

  /** One of the whole polynomials after the scores' coefficients. */
  #polynomial(body: Uint8Array, index: number): Uint32Array {
    const { reply, parameters } = this.#manifest;
    const { n, primes } = parameters;
    const bits = bitLength(primes[0]);
    const size = packedSize(n, bits);
    const start = 8 * reply.group + index * size;
    const residues = new Uint32Array(n);
    unpackBits(body.subarray(start, start + size), n, bits, primes[0], residues, 0, 1);
    return residues;
  }
}

function refuse(what: string): never {
  throw new BlindbeatError(
    'UNCLASSIFIABLE',
    `${what}: this segment cannot be classified. Either the recording is unlike everything that the model ` +
      'was validated on, or the reply is wrong; try another segment',
  );
}

/** A polynomial in powers of Y = X^(n/2p), its 2p coefficients times Y^p = X^(n/2). */
function turnedCoefficients(coefficients: Float64Array): Float64Array {
  const p = coefficients.length / 2;
  return coefficients.map((_, k) => (k < p ? -coefficients[k + p] : coefficients[k - p]));
}

function centre(residue: number, q: number): number {
  return residue > q / 2 ? residue - q : residue;
}
