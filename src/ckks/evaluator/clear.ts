import { CONJUGATION } from '../ring/galois.ts';
import type { Backend } from './backend.ts';

/** Slots real + X^(N/2) imaginary; null stands for zeros. */
export interface ClearValue {
  real: Float64Array;
  imaginary: Float64Array | null;
}

/**
 * The packed computation on floats: the oracle in tests, and `--simulate`. Plaintexts are one period of their
 * slots; scales and levels do not exist.
 */
export class ClearBackend implements Backend<ClearValue, ClearValue> {
  encode(
    real: Float64Array,
    _scale: number,
    _limbs: number,
    imaginary: Float64Array | null = null,
  ): ClearValue {
    return { real, imaginary };
  }

  rotate({ real, imaginary }: ClearValue, step: number): ClearValue {
    const conjugate = step === CONJUGATION;
    const sign = conjugate || step % 2 === 1 ? -1 : 1;
    const turned = (v: Float64Array) => (conjugate ? v : turn(v, step));
    return { real: turned(real), imaginary: imaginary && turned(imaginary).map((x) => sign * x) };
  }

  rotateAll(values: ClearValue[], steps: number[]): ClearValue[][] {
    return steps.map((step) => values.map((v) => this.rotate(v, step)));
  }

  add(a: ClearValue, b: ClearValue): ClearValue {
    return { real: sum(a.real, b.real), imaginary: maybeSum(a.imaginary, b.imaginary) };
  }

  addPlain(v: ClearValue, { real }: ClearValue): ClearValue {
    return { ...v, real: v.real.map((x, j) => x + real[j % real.length]) };
  }

  multiplyPlainSum(values: ClearValue[], rows: (ClearValue | null)[][]): (ClearValue | null)[] {
    return rows.map((row) => {
      let total: ClearValue | null = null;
      row.forEach((p, k) => {
        if (!p) return;
        total ??= { real: new Float64Array(values[k].real.length), imaginary: null };
        const { real, imaginary } = values[k];
        addProduct(total.real, real, p.real, 1);
        if (imaginary && p.imaginary) addProduct(total.real, imaginary, p.imaginary, -1);
        if (!imaginary && !p.imaginary) return;
        total.imaginary ??= new Float64Array(total.real.length);
        if (imaginary) addProduct(total.imaginary, imaginary, p.real, 1);
        if (p.imaginary) addProduct(total.imaginary, real, p.imaginary, 1);
      });
      return total;
    });
  }

  /** Of real slots: imaginary parts must have cancelled. */
  square({ real, imaginary }: ClearValue): ClearValue {
    if (imaginary?.some((x) => x !== 0))
      throw new RangeError('two outputs are squared before they are separated');
    return { real: real.map((x) => x * x), imaginary: null };
  }

  multiply(a: ClearValue, b: ClearValue, times: number): ClearValue {
    const { real } = a === b ? this.square(a) : { real: a.real.map((x, j) => x * b.real[j]) };
    return this.dropLevel({ real, imaginary: null }, 0, times);
  }

  dropLevel({ real }: ClearValue, _limbs: number, times: number): ClearValue {
    return { real: real.map((x) => times * x), imaginary: null };
  }

  relinearise(v: ClearValue): ClearValue {
    return v;
  }

  rescale(v: ClearValue): ClearValue {
    return v;
  }

  free(): void {}
}

function turn(v: Float64Array, step: number): Float64Array {
  const out = new Float64Array(v.length);
  out.set(v.subarray(step));
  out.set(v.subarray(0, step), v.length - step);
  return out;
}

function sum(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, j) => x + b[j]);
}

function maybeSum(a: Float64Array | null, b: Float64Array | null): Float64Array | null {
  return a && b ? sum(a, b) : (a ?? b);
}

/** Adds sign * v * p, p of a period that is a power of two. */
function addProduct(out: Float64Array, v: Float64Array, p: Float64Array, sign: 1 | -1) {
  const mask = p.length - 1;
  for (let j = 0; j < out.length; j++) out[j] += sign * v[j] * p[j & mask];
}
