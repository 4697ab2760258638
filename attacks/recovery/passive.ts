import { multiplyMod, reduce } from '../../src/ckks/ring/modular.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';
import { coefficientsOf, type Reading, readReply, rightSideOf } from './replies.ts';
import { solveModulo } from './solve.ts';
import type { TernaryParts } from './ternary.ts';

/** Honest replies and, for each way to disclose them, their scores. */
export interface Disclosed {
  replies: Uint8Array[];
  /** [ways][replies][classes] */
  scores: number[][][];
}

/**
 * What replies and disclosed scores give of a key, by linear algebra: 2 replies for every part that is not
 * known.
 *
 * @param known parts of the key that the attacker has, to make the system smaller
 * @param onProgress receives the unknowns eliminated so far
 * @returns [ways][parts]: what was found of the key; undefined where the solution is no ternary part's
 */
export function solveReplies(
  { replies, scores }: Disclosed,
  manifest: ParsedManifest,
  reading: Reading,
  table: TernaryParts,
  known: Map<number, Int8Array> = new Map(),
  onProgress?: (done: number) => void,
): (Int8Array | undefined)[][] | null {
  const { parts, q, z, inverseZ } = reading;
  const unknown = Array.from({ length: parts }, (_, r) => r).filter((r) => !known.has(r));
  const values = [...known].map(([r, part]) => [r, valueAt(part, z, q), valueAt(part, inverseZ, q)]);
  const rows = replies.slice(0, 2 * unknown.length).map((bytes, i) => {
    const { c0, c1 } = readReply(bytes, manifest, reading);
    const all = coefficientsOf(c1, reading);
    let told = 0;
    for (const [r, first, second] of values)
      told = (told + multiplyMod(all[r], first, q) + multiplyMod(all[parts + r], second, q)) % q;
    const sides = scores.map((way) => reduce(rightSideOf(c0, way[i], manifest, reading) - told, q));
    return Float64Array.from([
      ...unknown.map((r) => all[r]),
      ...unknown.map((r) => all[parts + r]),
      ...sides,
    ]);
  });
  const solutions = solveModulo(rows, q, onProgress);
  return (
    solutions?.map((x) => {
      const found = Array.from({ length: parts }, (_, r) => known.get(r));
      unknown.forEach((r, k) => {
        found[r] = table.find(x[k]);
      });
      return found;
    }) ?? null
  );
}

function valueAt(part: Int8Array, root: number, q: number): number {
  return part.reduceRight((sum, s) => reduce(multiplyMod(sum, root, q) + s, q), 0);
}
