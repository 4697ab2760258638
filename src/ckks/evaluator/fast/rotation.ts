import type { FastCiphertext } from './engine.ts';
import { type LoadedSwitchingKeys, productStart, servingKey } from './keys.ts';
import { decompose, type Source, switchKeys, type Target } from './keyswitch.ts';
import type { Workspace } from './workspace.ts';

/**
 * Rotates every value by every step: `[step][value]`. Hoisted: digits are taken and transformed once for all
 * steps; keys are stored under the inverse automorphism, so that only the outcome is rotated. It runs, so it
 * cannot be part of `Workspace.parallel`.
 *
 * @throws BlindbeatError INTERNAL within `Workspace.parallel`, and for a step without a key
 */
export function rotateAll(
  workspace: Workspace,
  keys: LoadedSwitchingKeys | null,
  values: FastCiphertext[],
  steps: number[],
): FastCiphertext[][] {
  workspace.requireSequential();
  const { engine } = workspace;
  const { limbs } = values[0];
  const targets = steps.map((step): Target => {
    const key = servingKey(keys?.galois.get(step), limbs);
    const outputs = values.map((v) => ({ addends: [v, null], out: workspace.make(2, limbs) }));
    return { key, start: 0, table: engine.automorphisms.rotation(step).table, outputs };
  });
  if (targets[0].key.switching === 'per-prime') rotateAsSeal(workspace, values, steps, targets);
  else {
    const digits = values.map((v) =>
      decompose(workspace, (i) => engine.limb(v, 1, i), targets[0].key, limbs),
    );
    engine.threads.phase();
    const sources = values.map(
      (v, c): Source => ({ values: (i) => engine.limb(v, 1, i), digits: digits[c].address }),
    );
    switchKeys(workspace, sources, targets, limbs);
    for (const v of digits) workspace.free(v);
  }
  return targets.map(({ outputs }) => outputs.map(({ out }) => out));
}

/**
 * Rotates hoisted, and yet bit for bit as SEAL: `productStart` makes up for the signs. A zero digit keeps its
 * value under a change of sign, which is rare: such a value's digits are taken anew for each step.
 */
function rotateAsSeal(
  workspace: Workspace,
  values: FastCiphertext[],
  steps: number[],
  unstarted: Target[],
): void {
  const { engine } = workspace;
  const { memory, threads, rings } = engine;
  const { limbs } = values[0];
  const targets = unstarted.map((target) => ({ ...target, start: productStart(engine, target.key, limbs) }));
  const digits = workspace.make(values.length, limbs);
  const zeros = workspace.room(4 * values.length);
  memory.words.fill(0, zeros / 4, zeros / 4 + values.length);
  values.forEach((v, c) => {
    for (let j = 0; j < limbs; j++) {
      const coefficients = engine.limb(digits, c, j);
      threads.task();
      rings[j].inverse(engine.limb(v, 1, j), coefficients);
      threads.kernels.findZero(coefficients, rings[j].n, zeros + 4 * c);
    }
  });
  threads.run();
  const sources = values.map(
    (v, c): Source => ({ values: (j) => engine.limb(v, 1, j), digits: engine.limb(digits, c, 0) }),
  );
  const hasZero = (c: number) => memory.words[zeros / 4 + c] !== 0;
  const clean = values.map((_, c) => c).filter((c) => !hasZero(c));
  if (clean.length > 0) {
    switchKeys(
      workspace,
      clean.map((c) => sources[c]),
      targets.map((target) => ({ ...target, outputs: clean.map((c) => target.outputs[c]) })),
      limbs,
    );
  }
  values.forEach((_, c) => {
    if (hasZero(c)) rotateZeros(workspace, sources[c], steps, targets, c, limbs);
  });
  workspace.release(zeros);
  workspace.free(digits);
}

/** Rotates one value that has a zero digit, the `c`-th output: its zeros become primes where signs change. */
function rotateZeros(
  workspace: Workspace,
  source: Source,
  steps: number[],
  targets: Target[],
  c: number,
  limbs: number,
): void {
  const { engine } = workspace;
  const { threads, rings, stride } = engine;
  const filled = workspace.make(1, limbs);
  steps.forEach((step, t) => {
    const { marks } = engine.automorphisms.rotation(step);
    for (let j = 0; j < limbs; j++) {
      const { n, q } = rings[j];
      threads.task();
      threads.kernels.fillZeros(source.digits + j * stride, marks, engine.limb(filled, 0, j), n, q);
    }
    threads.phase();
    switchKeys(
      workspace,
      [{ values: source.values, digits: filled.address }],
      [{ ...targets[t], outputs: [targets[t].outputs[c]] }],
      limbs,
    );
  });
  workspace.free(filled);
}
