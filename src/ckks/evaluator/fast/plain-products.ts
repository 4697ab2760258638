import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import type { FastCiphertext } from './engine.ts';
import { GROUP_ROWS } from './weights.ts';
import type { Workspace } from './workspace.ts';

/** Residues of all columns of a convolution that the second-level cache takes beside the sums: 256 KiB. */
const CACHED_WORDS = 65536;

/**
 * Sums up products with periodic plaintexts: row r of the result is sum_k values[k] * rows[r][k], null for a
 * row of nothing but nulls. The values are taken in chunks that fit the cache, so that they are read from
 * memory once for all rows.
 *
 * @param owner what the packed weights belong to, see `PackedWeights.pack`
 */
export function multiplyPlainSum(
  workspace: Workspace,
  values: FastCiphertext[],
  rows: (PeriodicPlain | null)[][],
  owner: object,
): (FastCiphertext | null)[] {
  const { engine } = workspace;
  const { rings, stride, threads } = engine;
  const { n } = engine.parameters;
  const { limbs } = values[0];
  const sums = rows.map((row) => (row.some((p) => p !== null) ? workspace.make(2, limbs) : null));
  const groups = engine.weights.pack(owner, rows, limbs).flatMap((group, g) => {
    if (!group) return [];
    const outputs = sums.slice(GROUP_ROWS * g, GROUP_ROWS * (g + 1));
    return [{ ...group, outputs, pointers: addressList(workspace, group.columns, values) }];
  });
  const chunk = Math.min(n, Math.max(64, 2 ** Math.floor(Math.log2(CACHED_WORDS / values.length))));
  for (let i = 0; i < limbs; i++) {
    const ring = rings[i];
    const { q, one, carry } = ring;
    const foldEvery = ring.group(q);
    for (let k = 0; k < 2; k++) {
      const offset = (k * limbs + i) * stride;
      for (let start = 0; start < n; start += chunk) {
        threads.task();
        for (const { columns, weights, run, outputs, pointers } of groups) {
          const out = (r: number) =>
            (outputs[r] ? engine.limb(outputs[r], k, i) : threads.local(0)) + 4 * start;
          const block = Math.floor(start / run);
          threads.kernels.periodicProducts(
            pointers,
            offset + 4 * start,
            weights[i] + 4 * GROUP_ROWS * columns.length * block,
            out(0),
            out(1),
            out(2),
            out(3),
            chunk,
            Math.min(run, chunk),
            columns.length,
            foldEvery,
            q,
            one,
            ...carry,
          );
        }
      }
    }
  }
  threads.run();
  for (const { pointers } of groups) workspace.release(pointers);
  return sums;
}

/** A new list of the addresses of some of the values, for a kernel. */
function addressList(workspace: Workspace, columns: number[], values: FastCiphertext[]): number {
  const { memory } = workspace.engine;
  const list = workspace.room(4 * columns.length);
  memory.words.set(
    columns.map((k) => values[k].address),
    list / 4,
  );
  return list;
}
