import type { Backend } from '../backend.ts';

/**
 * The packed computation on floats: the oracle in tests, and `--simulate`. Slots are Float64Arrays, plaintexts one
 * period of them; scales and levels do not exist.
 */
export class ClearBackend implements Backend<Float64Array, Float64Array> {
  encode(values: Float64Array): Float64Array {
    return values;
  }

  rotate(v: Float64Array, step: number): Float64Array {
    const out = new Float64Array(v.length);
    out.set(v.subarray(step));
    out.set(v.subarray(0, step), v.length - step);
    return out;
  }

  rotateAll(values: Float64Array[], steps: number[]): Float64Array[][] {
    return steps.map((step) => values.map((v) => this.rotate(v, step)));
  }

  add(a: Float64Array, b: Float64Array): Float64Array {
    return a.map((x, j) => x + b[j]);
  }

  addPlain(v: Float64Array, p: Float64Array): Float64Array {
    return v.map((x, j) => x + p[j % p.length]);
  }

  multiplySum(values: Float64Array[], rows: (Float64Array | null)[][]): (Float64Array | null)[] {
    return rows.map((row) => {
      if (row.every((p) => p === null)) return null;
      const sum = new Float64Array(values[0].length);
      row.forEach((p, k) => {
        if (!p) return;
        const v = values[k];
        const mask = p.length - 1; // periods are powers of two
        for (let j = 0; j < sum.length; j++) sum[j] += v[j] * p[j & mask];
      });
      return sum;
    });
  }

  square(v: Float64Array): Float64Array {
    return v.map((x) => x * x);
  }

  relinearise(v: Float64Array): Float64Array {
    return v;
  }

  rescale(v: Float64Array): Float64Array {
    return v;
  }

  free(): void {}
}
