import { helixOffset } from '../../model/helix.ts';
import { groupSize } from '../wire/reply-layout.ts';
import type { FoldedConvolution } from './fold-activations.ts';

/**
 * Where channels and samples live in the slots, and a layer as rotations and periodic weights.
 *
 * A layer of length T fills slots = T * s of each ciphertext with s channels interleaved: channel i * s + r
 * at time t is slot t * s + r of ciphertext i. Rotations wrap exactly like circular padding, so no masks are
 * needed. Average pooling by m and the convolution after it are one linear map from interleave s to m * s:
 * output slot t m s + rho reads input slots (m t + delta) s + r, which lie a = delta s + r - rho further on,
 * whatever t is.
 *
 * Worked example: 8 slots, one channel x0..x7 of length 8 (s = 1), pooled by 2 and convolved with the single
 * tap w to one channel of length 4 in interleave 2. Output slot 2t + 0 = w/2 (x[2t] + x[2t + 1]): amounts 0
 * and 1, weight vectors of period 2: amount 0 has (w/2, 0), amount 1 has (w/2, 0). Output slots 2t + 1 hold a
 * second channel, absent here.
 */
export interface Layout {
  /** Channels side by side in one ciphertext; slots / interleave is the length in time. */
  interleave: number;
  channels: number;
  ciphertexts: number;
  /** The single input channel, repeated in all `interleave` slots of each sample. */
  repeated?: boolean;
}

/** Layout of the encrypted input: one channel, each sample repeated until the slots are full. */
export function inputLayout(slots: number, samples: number): Layout {
  return { interleave: slots / samples, channels: 1, ciphertexts: 1, repeated: true };
}

/** Layout of `channels` channels after pooling a layer of layout `before` by `pool`. */
export function outputLayout(before: Layout, channels: number, pool: number): Layout {
  const interleave = before.interleave * pool;
  return { interleave, channels, ciphertexts: Math.ceil(channels / interleave) };
}

/**
 * A linear map on packed ciphertexts: out[o][j] = sum over amounts a and inputs i of
 * weights.get(a)[o][i][j mod period] * in[i][j + a].
 */
export interface Diagonals {
  period: number;
  inputs: number;
  outputs: number;
  /** By rotation amount, possibly negative; null where all weights are zero. */
  weights: Map<number, (Float64Array | null)[][]>;
}

/** Mutable builder of diagonals. */
function diagonals(period: number, inputs: number, outputs: number) {
  const weights: Diagonals['weights'] = new Map();
  return {
    result: { period, inputs, outputs, weights } satisfies Diagonals,
    add(amount: number, output: number, input: number, residue: number, value: number) {
      if (value === 0) return;
      let rows = weights.get(amount);
      if (!rows) {
        rows = Array.from({ length: outputs }, () => new Array<Float64Array | null>(inputs).fill(null));
        weights.set(amount, rows);
      }
      const row = rows[output];
      row[input] ??= new Float64Array(period);
      row[input][residue] += value;
    },
  };
}

/**
 * Rotations by these steps, each added to what it rotates, sum up the pooling window of a helical
 * convolution.
 */
export function poolingSteps({ helix, pool }: FoldedConvolution, { interleave }: Layout): number[] {
  return helix === 0 ? [] : Array.from({ length: Math.log2(pool) }, (_, k) => interleave * 2 ** k);
}

/**
 * A convolution together with the average pooling before it; for a helical one on sums over the pooling
 * window.
 */
export function convolutionDiagonals(conv: FoldedConvolution, before: Layout, after: Layout): Diagonals {
  const s = before.interleave;
  const build = diagonals(after.interleave, before.ciphertexts, after.ciphertexts);
  const centre = (conv.kernel - 1) / 2;
  for (let tap = 0; tap < conv.kernel; tap++) {
    for (let u = 0; u < (conv.helix > 0 ? 1 : conv.pool); u++) {
      for (let ci = 0; ci < conv.inChannels; ci++) {
        for (let co = 0; co < conv.outChannels; co++) {
          const weight = conv.weights[(tap * conv.inChannels + ci) * conv.outChannels + co] / conv.pool;
          const rho = co % after.interleave;
          const r = before.repeated ? rho % s : ci % s;
          const later = conv.helix > 0 ? helixOffset(ci, co, conv.helix, conv.pool) : u;
          const delta = conv.pool * conv.dilation * (tap - centre) + later;
          const input = before.repeated ? 0 : Math.floor(ci / s);
          build.add(delta * s + r - rho, Math.floor(co / after.interleave), input, rho, weight);
        }
      }
    }
  }
  return build.result;
}

/** The bias of one output ciphertext: the period's channels in order, zero where there is none. */
export function biasVector(bias: Float64Array, layout: Layout, output: number): Float64Array {
  return Float64Array.from(
    { length: layout.interleave },
    (_, r) => bias[output * layout.interleave + r] ?? 0,
  );
}

/**
 * The dense layer, time position by time position: output slots t s + g k + c, for every group g of k >=
 * classes slots, hold class c's contribution of time t summed over all channels when g = 0; the other groups
 * are shifted windows whose sum over all t is the same. So after summing over time every group of k slots
 * holds a copy of the scores.
 */
export function denseDiagonals(weights: Float64Array, classes: number, before: Layout): Diagonals {
  const s = before.interleave;
  const group = groupSize(classes);
  const build = diagonals(s, before.ciphertexts, 1);
  for (let rho = 0; rho < s; rho++) {
    const c = rho % group;
    if (c >= classes) continue;
    for (let a = -c; a < s - c; a++) {
      const r = (((rho + a) % s) + s) % s;
      for (let i = 0; i < before.ciphertexts; i++) {
        const channel = i * s + r;
        if (channel < before.channels) build.add(a, 0, i, rho, weights[channel * classes + c]);
      }
    }
  }
  return build.result;
}

/**
 * The same map on rotated vectors. Given in'[j] = in[j + offset], the result's amounts are non-negative and
 * it computes out'[j] = out[j + offset'] with the offset' that is returned: a rotation costs nothing when the
 * weights, known in the clear, are rotated instead. Amounts that coincide modulo `slots` are added up.
 */
export function shiftToNonNegative(
  map: Diagonals,
  offset: number,
  slots: number,
): { map: Diagonals; offset: number } {
  const smallest = Math.min(...map.weights.keys());
  const shifted = offset - smallest;
  const build = diagonals(map.period, map.inputs, map.outputs);
  for (const [amount, rows] of [...map.weights].sort(([a], [b]) => a - b)) {
    rows.forEach((row, o) => {
      row.forEach((vector, i) => {
        if (!vector) return;
        const rotated = rotatePeriod(vector, shifted);
        rotated.forEach((value, residue) => {
          build.add((amount - smallest) % slots, o, i, residue, value);
        });
      });
    });
  }
  return { map: build.result, offset: ((shifted % slots) + slots) % slots };
}

/** One period of the vector rotated left: result[j] = values[j + steps], steps of any sign. */
export function rotatePeriod(values: Float64Array, steps: number): Float64Array {
  const p = values.length;
  const first = ((steps % p) + p) % p;
  return values.map((_, j) => values[(j + first) % p]);
}
