import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';
import { SCORE_NOISE } from '../../src/ckks/wire/reply-reader.ts';
import { type Reading, realPart, writeReply } from './replies.ts';

/**
 * Replies that no network made: c1 has some weights where it makes the scores read the key.
 *
 * With c1 = sum_i w 5^i X^(..), the readable numbers are w sum_i 5^i d_i, where d_i is a coefficient of the
 * key, or a difference of two, in -2..2: balanced digits to the base 5. Two replies, the second turned by Y,
 * give all 2g = 8 coefficients of each of `digits` parts. What the client holds to the noise of an evaluation,
 * the imaginary parts, reads the key as well: that is what limits w 5^digits.
 */
export interface Crafting {
  /** Parts that a pair of replies reads. */
  digits: number;
  /** w: how much a digit moves what is read. */
  weight: number;
  /** Which each reply is sent for, with scores moved by so much: [times]. */
  shifts: number[];
}

/** How far errors of 1 in the scores may move what is read, at worst: sums of rows of the embedding. */
const SPREAD = Math.SQRT2;
/** Parts of slots are at most this times the largest coefficient: one of them alone, and pairs of the others. */
const REACH = 1 + 2 * (Math.cos(Math.PI / 8) + Math.cos(Math.PI / 4) + Math.cos((3 * Math.PI) / 8));
/** What c0 has beside a shift: a client refuses scores that are all the same. */
const UNEVEN = 1;

/**
 * The most parts that a pair of replies can read in a group of four when scores are disclosed to within
 * `error`. Where one is too many, every reply is sent again with scores moved by parts of a step of the
 * rounding, and the mean is read.
 */
export function craftingFor({ reply }: ParsedManifest, error: number): Crafting {
  const room = (0.99 * SCORE_NOISE * reply.scale) / REACH;
  const weightOf = (digits: number) => Math.floor(room / ((5 ** digits - 1) / 4));
  const least = (times: number) => Math.max(2, (2 * SPREAD * error * reply.scale * 1.02) / times);
  let digits = 1;
  while (weightOf(digits + 1) >= least(1)) digits++;
  let times = 1;
  while (weightOf(digits) < least(times)) times++;
  const shifts = Array.from({ length: times }, (_, j) => Math.round((j * 2 * error * reply.scale) / times));
  return { digits, weight: weightOf(digits), shifts };
}

/**
 * The replies that read parts `first`, `first` + 1, ... of the key: two for every shift.
 *
 * @param request digest of the request that they claim to answer
 */
export function craftReplies(
  manifest: ParsedManifest,
  names: { keyId: string; request: string },
  reading: Reading,
  { digits, weight, shifts }: Crafting,
  first: number,
): Uint8Array[] {
  const { parts, size, q } = reading;
  const { n } = manifest.parameters;
  return shifts.flatMap((shift) =>
    [0, 1].map((turn) => {
      const c0 = new Uint32Array(size);
      c0[0] = shift;
      c0[1] = UNEVEN;
      const c1 = new Uint32Array(n);
      for (let i = 0; i < digits && first + i < parts; i++) {
        const r = first + i;
        const value = weight * 5 ** i;
        // b_0 = a_0, b_r = Y a_(M - r): -Y^7 there makes 1, and 1 makes Y.
        if (r === 0) c1[turn * parts] = value;
        else if (turn === 0) c1[parts - r + (size - 1) * parts] = q - value;
        else c1[parts - r] = value;
      }
      return writeReply({ c0, c1 }, manifest, reading, names);
    }),
  );
}

/** The key's parts [digits][8] from the scores that these replies gave, in their order. */
export function readCrafted(
  scores: number[][],
  manifest: ParsedManifest,
  { digits, weight, shifts }: Crafting,
): Int8Array[] {
  const [p, q] = [0, 1].map((turn) =>
    Array.from({ length: 4 }, (_, k) => {
      const sum = shifts.reduce((all, shift, j) => {
        const read = realPart(scores[2 * j + turn], manifest)[k];
        return all + (k === 0 ? read / 2 - shift : k === 1 ? read - UNEVEN : read);
      }, 0);
      return balancedDigits(Math.round(sum / shifts.length / weight), digits);
    }),
  );
  return Array.from({ length: digits }, (_, i) => {
    const s = new Int8Array(8);
    s[0] = p[0][i];
    s[7] = -q[0][i];
    s[1] = p[1][i] + s[7];
    s[6] = s[0] - q[1][i];
    s[2] = p[2][i] + s[6];
    s[5] = s[1] - q[2][i];
    s[3] = p[3][i] + s[5];
    s[4] = s[2] - q[3][i];
    return s;
  });
}

/** Digits in -2..2 of a number to the base 5, the lowest first. */
function balancedDigits(value: number, count: number): number[] {
  let rest = value;
  return Array.from({ length: count }, () => {
    const digit = ((((rest + 2) % 5) + 5) % 5) - 2;
    rest = (rest - digit) / 5;
    return digit;
  });
}
