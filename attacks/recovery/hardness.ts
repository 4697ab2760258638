/** Samples of learning with errors: b = <a, s> + e modulo q with a short s of n coefficients. */
export interface Samples {
  n: number;
  log2q: number;
  /** Deviation of e. */
  error: number;
  /** Deviation of the coefficients of s; default: that of a uniform ternary one. */
  secret?: number;
}

/** Deviation of a uniform ternary coefficient. */
const SECRET = Math.sqrt(2 / 3);
/** Bits per unit of block size: the classical exponent of lattice sieving (Becker et al. 2016). */
const SIEVING = 0.292;

/**
 * Core-SVP cost in bits of the primal attack on LWE: 0.292 times the least block size b for which
 * sqrt(b) error <= delta(b)^(2 b - d - 1) vol^(1 / d) with some number m of samples, d = n + m + 1 and
 * vol = q^m (error / deviation of s)^n (Alkim et al., eprint 2015/1092, section 6.3, with the secret scaled as
 * by Albrecht et al., eprint 2017/815). It leaves out polynomial factors, which makes it lower than estimators
 * say, and dual and hybrid attacks, which may be cheaper.
 */
export function primalBits(samples: Samples): number {
  return SIEVING * leastBlock(samples.n, (block) => succeeds(block, samples));
}

function leastBlock(n: number, enough: (block: number) => boolean): number {
  let [low, high] = [60, 2 * n];
  while (low < high) {
    const block = Math.floor((low + high) / 2);
    if (enough(block)) high = block;
    else low = block + 1;
  }
  return low;
}

function succeeds(block: number, { n, log2q, error, secret = SECRET }: Samples): boolean {
  for (let m = Math.ceil(n / 64); m <= 3 * n; m += Math.ceil(n / 64)) {
    const d = n + m + 1;
    if (holds(block, d, (m * log2q + n * Math.log2(error / secret)) / d, error)) return true;
  }
  return false;
}

/** Whether a block size finds a vector of this deviation in a lattice with log2 vol^(1 / d) = `volume`. */
function holds(block: number, d: number, volume: number, deviation: number): boolean {
  const base = (block / (2 * Math.PI * Math.E)) * (Math.PI * block) ** (1 / block);
  const delta = Math.log2(base) / (2 * (block - 1));
  return Math.log2(Math.sqrt(block) * deviation) <= (2 * block - d - 1) * delta + volume;
}
