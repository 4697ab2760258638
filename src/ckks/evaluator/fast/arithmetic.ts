import type { PeriodicPlain } from '../../ring/periodic-encoder.ts';
import type { FastCiphertext } from './engine.ts';
import type { Workspace } from './workspace.ts';

/** Adds two ciphertexts of equal limbs and polynomials. */
export function add(workspace: Workspace, a: FastCiphertext, b: FastCiphertext): FastCiphertext {
  const { engine } = workspace;
  const { rings, threads } = engine;
  const out = workspace.make(a.polynomials, a.limbs);
  eachLimb(workspace, out, (k, i) => {
    const { n, q } = rings[i];
    threads.kernels.add(engine.limb(a, k, i), engine.limb(b, k, i), engine.limb(out, k, i), n, q);
  });
  threads.run();
  return out;
}

/** Adds a plaintext of as many limbs: to the first polynomial; the others are copied. */
export function addPlain(workspace: Workspace, v: FastCiphertext, p: PeriodicPlain): FastCiphertext {
  const { engine } = workspace;
  const { memory, rings, threads } = engine;
  const out = workspace.make(v.polynomials, v.limbs);
  const values = workspace.room(4 * p.residues.length);
  memory.words.set(p.residues, values / 4);
  const blocks = p.residues.length / p.limbs;
  eachLimb(workspace, out, (k, i) => {
    const { n, q } = rings[i];
    const [source, sum] = [engine.limb(v, k, i), engine.limb(out, k, i)];
    if (k > 0) threads.kernels.copy(source, sum, n);
    else threads.kernels.addPeriodic(source, values + 4 * i * blocks, sum, n, n / blocks, q);
  });
  threads.run();
  workspace.release(values);
  return out;
}

/** Squares a ciphertext of two polynomials; the square has three. */
export function square(workspace: Workspace, v: FastCiphertext): FastCiphertext {
  const { engine } = workspace;
  const { threads } = engine;
  const out = workspace.make(3, v.limbs);
  for (let i = 0; i < v.limbs; i++) {
    const { n, q, one, carry } = engine.rings[i];
    const [c0, c1] = [engine.limb(v, 0, i), engine.limb(v, 1, i)];
    const [out0, out1, out2] = [0, 1, 2].map((k) => engine.limb(out, k, i));
    threads.task();
    threads.kernels.square(c0, c1, out0, out1, out2, n, q, one, ...carry);
  }
  threads.run();
  return out;
}

/** Multiplies two ciphertexts of equal limbs and two polynomials; the product has three. */
export function multiply(workspace: Workspace, a: FastCiphertext, b: FastCiphertext): FastCiphertext {
  if (a === b) return square(workspace, a);
  const { engine } = workspace;
  const { threads } = engine;
  const out = workspace.make(3, a.limbs);
  for (let i = 0; i < a.limbs; i++) {
    const { n, q, one, carry } = engine.rings[i];
    const [a0, a1, b0, b1] = [a, b].flatMap((v) => [engine.limb(v, 0, i), engine.limb(v, 1, i)]);
    const [out0, out1, out2] = [0, 1, 2].map((k) => engine.limb(out, k, i));
    threads.task();
    threads.kernels.multiplyPairs(a0, a1, b0, b1, out0, out1, out2, n, q, one, ...carry);
  }
  threads.run();
  return out;
}

/** Copies the first `limbs` limbs. */
export function dropLevel(workspace: Workspace, v: FastCiphertext, limbs: number): FastCiphertext {
  const { engine } = workspace;
  const { rings, threads } = engine;
  const out = workspace.make(v.polynomials, limbs);
  eachLimb(workspace, out, (k, i) => {
    threads.kernels.copy(engine.limb(v, k, i), engine.limb(out, k, i), rings[i].n);
  });
  threads.run();
  return out;
}

/**
 * Divides by the last prime q, rounding, and drops it: (c - [c + q/2]_q + q/2) / q, as SEAL does it
 * (native/src/seal/util/rns.cpp, divide_and_round_q_last_ntt_inplace).
 */
export function rescale(workspace: Workspace, v: FastCiphertext): FastCiphertext {
  const { engine } = workspace;
  const limbs = v.limbs - 1;
  const out = workspace.make(v.polynomials, limbs);
  const last = workspace.make(v.polynomials, 1);
  const dividends = Array.from({ length: v.polynomials }, (_, k) => ({
    dropped: () => engine.limb(v, k, limbs),
    remainder: engine.limb(last, k, 0),
    values: (i: number) => engine.limb(v, k, i),
    addend: null,
    table: 0,
    out: (i: number) => engine.limb(out, k, i),
  }));
  engine.conversions.modDown(dividends, engine.conversions.modDownBy([limbs], limbs));
  engine.threads.run();
  workspace.free(last);
  return out;
}

/** Begins a task for every limb of every polynomial, whose calls `note` notes down. */
function eachLimb(
  { engine }: Workspace,
  { polynomials, limbs }: FastCiphertext,
  note: (polynomial: number, limb: number) => void,
): void {
  for (let k = 0; k < polynomials; k++)
    for (let i = 0; i < limbs; i++) {
      engine.threads.task();
      note(k, i);
    }
}
