import type { KeySwitching } from '../keyswitch/gadget.ts';
import type { Parameters } from '../ring/parameters.ts';
import type { Backend, RotationTerm } from './backend.ts';
import { emptyCounts, type Operation, type OperationCounts } from './operations.ts';

/** A ciphertext as the dry run sees it. */
export interface TracedValue {
  limbs: number;
  scale: number;
  /** Polynomials: 2, or 3 between a product and its relinearisation. */
  size: number;
}

interface TracedPlain {
  limbs: number;
  scale: number;
}

/**
 * The dry run: checks that levels and scales fit together exactly as SEAL would, and counts operations, keys
 * and live ciphertexts. What it accepts never fails inside SEAL for level or scale reasons.
 */
export class TraceBackend implements Backend<TracedValue, TracedPlain> {
  readonly #parameters: Parameters;
  readonly #live = new Map<TracedValue, number>();
  /** Rotation steps used, each with the limbs that it is used at. */
  readonly rotated = new Map<number, Set<number>>();
  /** Limbs that are relinearised at. */
  readonly relinearised = new Set<number>();
  /** Bytes of residues (64-bit, as SEAL holds them) of all live ciphertexts, and the most there ever were. */
  liveBytes = 0;
  peakBytes = 0;
  /** Number of 64-bit residues in the plaintexts, each periodic vector counted with its blocks only. */
  plainResidues = 0;
  counts: OperationCounts = emptyCounts();

  /** With hybrid keys only. */
  readonly rotateAndSum?: (
    terms: RotationTerm<TracedValue>[],
    plus: (TracedValue | null)[],
  ) => (TracedValue | null)[];

  constructor(parameters: Parameters, switching: KeySwitching = 'per-prime') {
    this.#parameters = parameters;
    if (switching === 'hybrid') this.rotateAndSum = (terms, plus) => this.#rotateAndSum(terms, plus);
  }

  input(scale: number): TracedValue {
    return this.#make({ limbs: this.#parameters.primes.length, scale, size: 2 });
  }

  encode(real: Float64Array, scale: number, limbs: number): TracedPlain {
    this.plainResidues += 2 * real.length * limbs;
    return { limbs, scale };
  }

  rotate(v: TracedValue, step: number): TracedValue {
    return this.#rotate(v, step, 'rotate');
  }

  rotateAll(values: TracedValue[], steps: number[]): TracedValue[][] {
    const hoisted = steps.length > 1;
    if (hoisted) for (const v of values) this.#count('decompose', v.limbs);
    return steps.map((step) =>
      values.map((v) => this.#rotate(v, step, hoisted ? 'hoistedRotate' : 'rotate')),
    );
  }

  add(a: TracedValue, b: TracedValue): TracedValue {
    this.#require(a.limbs === b.limbs && a.size === b.size, 'add needs equal levels and sizes');
    this.#require(sameScale(a.scale, b.scale), `add needs equal scales, got ${a.scale} and ${b.scale}`);
    return this.#make(a, 'add');
  }

  addPlain(v: TracedValue, p: TracedPlain): TracedValue {
    this.#require(v.limbs === p.limbs, `addPlain needs equal levels, got ${v.limbs} and ${p.limbs} limbs`);
    this.#require(sameScale(v.scale, p.scale), `addPlain needs equal scales, got ${v.scale} and ${p.scale}`);
    return this.#make(v, 'addPlain');
  }

  multiplyPlainSum(values: TracedValue[], rows: (TracedPlain | null)[][]): (TracedValue | null)[] {
    return rows.map((row) => {
      let sum: TracedValue | null = null;
      row.forEach((p, k) => {
        if (!p) return;
        const v = values[k];
        this.#require(
          v.limbs === p.limbs,
          `multiplyPlain needs equal levels, got ${v.limbs} and ${p.limbs} limbs`,
        );
        const scale = v.scale * p.scale;
        this.#count('multiplyPlain', v.limbs);
        if (sum) {
          this.#require(sameScale(sum.scale, scale), 'all terms of a sum need the same scale');
        } else sum = this.#make({ ...v, scale }, 'sum');
      });
      return sum;
    });
  }

  square(v: TracedValue): TracedValue {
    this.#require(v.size === 2, 'square needs a relinearised ciphertext');
    return this.#make({ ...v, scale: v.scale ** 2, size: 3 }, 'square');
  }

  multiply(a: TracedValue, b: TracedValue, times: number): TracedValue {
    this.#require(a.size === 2 && b.size === 2, 'multiply needs relinearised ciphertexts');
    this.#require(a.limbs === b.limbs, `multiply needs equal levels, got ${a.limbs} and ${b.limbs} limbs`);
    const scale = (a.scale * b.scale) / times;
    return this.#make({ ...a, scale, size: 3 }, a === b ? 'square' : 'multiply');
  }

  dropLevel(v: TracedValue, limbs: number, times: number): TracedValue {
    this.#require(limbs <= v.limbs, `dropLevel cannot give ${limbs} limbs of ${v.limbs}`);
    return this.#make({ ...v, limbs, scale: v.scale / times });
  }

  relinearise(v: TracedValue): TracedValue {
    this.#require(v.size === 3, 'relinearise needs a product');
    this.relinearised.add(v.limbs);
    return this.#make({ ...v, size: 2 }, 'relinearise');
  }

  rescale(v: TracedValue, scale: number): TracedValue {
    this.#require(v.limbs > 1, 'no prime is left to rescale by');
    const exact = v.scale / this.#parameters.primes[v.limbs - 1];
    this.#require(sameScale(exact, scale), `rescale gives scale ${exact}, but ${scale} is planned`);
    this.#count('rescale', v.limbs);
    return this.#make({ ...v, limbs: v.limbs - 1, scale });
  }

  free(v: TracedValue): void {
    const bytes = this.#live.get(v);
    this.#require(bytes !== undefined, 'a value is freed twice');
    this.liveBytes -= bytes!;
    this.#live.delete(v);
  }

  /** Counts since the last call. */
  takeCounts(): OperationCounts {
    const counts = this.counts;
    this.counts = emptyCounts();
    return counts;
  }

  #rotateAndSum(terms: RotationTerm<TracedValue>[], plus: (TracedValue | null)[]): (TracedValue | null)[] {
    return plus.map((sum, a) => {
      const turned = terms.flatMap(({ values, step }) => {
        const v = values[a];
        return v === null ? [] : [this.#rotate(v, step, 'summedRotate')];
      });
      if (turned.length === 0) return sum;
      for (const v of sum === null ? turned : [sum, ...turned])
        this.#require(
          v.limbs === turned[0].limbs && v.size === 2 && sameScale(v.scale, turned[0].scale),
          'a sum of rotations needs equal levels, sizes and scales',
        );
      for (const v of turned) this.free(v);
      return this.#make(turned[0], 'divide');
    });
  }

  #rotate(v: TracedValue, step: number, operation: 'rotate' | 'hoistedRotate' | 'summedRotate'): TracedValue {
    this.#require(v.size === 2, 'rotate needs a relinearised ciphertext');
    this.#require(step >= 0 && step < this.#parameters.n / 2, `rotation by ${step} is out of range`);
    this.rotated.set(step, (this.rotated.get(step) ?? new Set()).add(v.limbs));
    return this.#make(v, operation);
  }

  #make(like: TracedValue, operation?: Operation): TracedValue {
    if (operation) this.#count(operation, like.limbs);
    const made = { ...like };
    const bytes = made.limbs * made.size * this.#parameters.n * 8;
    this.#live.set(made, bytes);
    this.liveBytes += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return made;
  }

  #count(operation: Operation, limbs: number) {
    this.counts[operation][limbs] = (this.counts[operation][limbs] ?? 0) + 1;
  }

  #require(condition: boolean, message: string) {
    if (!condition) throw new RangeError(`plan: ${message}`);
  }
}

function sameScale(a: number, b: number): boolean {
  return Math.abs(a / b - 1) < 1e-9;
}
