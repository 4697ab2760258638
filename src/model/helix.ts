/**
 * Helical convolutions. Channels of a packed layer lie on one line, channel r of `helix` neighbours at time g
 * at place g helix + r. A plain tap needs channels before and behind each place; a helical one takes the
 * `helix` places before it, so that a channel which would lie behind is read one time step earlier instead:
 * on ciphertexts that is half as many rotations of inputs, or fewer, for as many weights
 * (docs/architecture.md). What is read is pooled at every time, not at every `pool`-th.
 */

/**
 * Where on a line the window of an output begins, counted from the first channel at the time that its tap
 * says.
 */
export function firstPlace(output: number, helix: number, pool: number): number {
  return (output % (pool * helix)) - helix * (1 + Math.max(Math.floor(pool / 2) - 1, 0));
}

/**
 * How many steps before pooling an input channel is read later than an output's tap says: `e` in out[t][o] =
 * sum over taps k and inputs i of w[k][i][o] P[pool (t + dilation k) + e][i], where P[g] is the mean of the
 * times g ... g + pool - 1. For a pool of 2 it is 0 for half of the pairs, 1 or -1 for the others.
 */
export function helixOffset(input: number, output: number, helix: number, pool: number): number {
  const first = firstPlace(output, helix, pool);
  const behind = (((input - first) % helix) + helix) % helix;
  return Math.floor((first + behind) / helix);
}
