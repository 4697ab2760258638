import type { FastCiphertext, FastEngine } from './engine.ts';
import { keyLimb, type LoadedKey, type LoadedSwitchingKeys, servingKey } from './keys.ts';
import type { KeyKind, PreparedGadget } from './prepared-gadget.ts';
import type { Workspace } from './workspace.ts';

/** A polynomial that is switched to another key, limb by limb. */
export interface Source {
  /** Address in NTT form. */
  values: (limb: number) => number;
  /** Address of its digits' coefficients, one prime after another in the order of digits. */
  digits: number;
}

/** A key to switch to, and what to do with the outcome. */
export interface Target {
  key: LoadedKey;
  /** Address of what inner products start with, or 0. */
  start: number;
  /** Address of an automorphism's table, or 0. */
  table: number;
  /** For each source, what is added before the automorphism, and where the sums go. */
  outputs: { addends: (FastCiphertext | null)[]; out: FastCiphertext }[];
}

/** Brings a product of three polynomials back to two. */
export function relinearise(
  workspace: Workspace,
  keys: LoadedSwitchingKeys | null,
  v: FastCiphertext,
): FastCiphertext {
  const { engine } = workspace;
  const { limbs } = v;
  const key = servingKey(keys?.relinearisation, limbs);
  const out = workspace.make(2, limbs);
  const values = (limb: number) => engine.limb(v, 2, limb);
  const digits = decompose(workspace, values, key, limbs);
  engine.threads.phase();
  switchKeys(
    workspace,
    [{ values, digits: digits.address }],
    [{ key, start: 0, table: 0, outputs: [{ addends: [v, v], out }] }],
    limbs,
  );
  workspace.free(digits);
  return out;
}

/** Notes down the coefficients of a polynomial's digits, in a new ciphertext of one polynomial. */
export function decompose(
  workspace: Workspace,
  values: (limb: number) => number,
  key: KeyKind,
  limbs: number,
): FastCiphertext {
  const { engine } = workspace;
  const { threads } = engine;
  const digits = workspace.make(1, limbs);
  const { order, origins } = engine.gadgets.prepared(key, limbs);
  order.forEach((prime, k) => {
    const { ring, scale, half } = origins[k];
    const coefficients = engine.limb(digits, 0, k);
    threads.task();
    ring.inverse(values(prime), coefficients, scale);
    if (half > 0) threads.kernels.shift(coefficients, ring.n, half, ring.q);
  });
  return digits;
}

/**
 * Switches every source to every target's key. With per-prime keys as SEAL does it
 * (native/src/seal/evaluator.cpp, switch_key_inplace): digits of one prime each in [0, q), division by the
 * special prime with rounding. Hybrid keys (Han and Ki 2020, eprint 2019/688): digits and the division's
 * remainders are centred, and up to half as many times their modulus as they have primes. All targets have
 * one gadget. Runs what was noted.
 */
export function switchKeys(workspace: Workspace, sources: Source[], targets: Target[], limbs: number): void {
  const { engine } = workspace;
  const { threads, conversions } = engine;
  const { n } = engine.parameters;
  const gadget = engine.gadgets.prepared(targets[0].key, limbs);
  const { rings } = gadget;
  const products = workspace.make(2 * targets.length * sources.length, rings.length);
  const product = (t: number, c: number, k: number, i: number) =>
    engine.limb(products, 2 * (t * sources.length + c) + k, i);
  rings.forEach((_, i) => {
    // Two ciphertexts at a time, while a piece of the key is in the cache.
    for (let c = 0; c < sources.length; c += 2) {
      threads.task();
      const pair = sources.slice(c, c + 2);
      const digits = digitsModulo(engine, pair, gadget, i, 0);
      targets.forEach(({ key, start }, t) => {
        const outputs = pair.flatMap((_, half) => [0, 1].map((k) => product(t, c + half, k, i)));
        keyProducts(engine, digits, { key, start: start && start + i * 8 * n }, gadget, i, outputs);
      });
    }
  });
  threads.phase();
  const dividends = targets.flatMap(({ table, outputs }, t) =>
    outputs.flatMap(({ addends, out }, c) =>
      [0, 1].map((k) => {
        const addend = addends[k];
        return {
          dropped: (special: number) => product(t, c, k, limbs + special),
          remainder: product(t, c, k, limbs),
          values: (i: number) => product(t, c, k, i),
          addend: addend && ((i: number) => engine.limb(addend, k, i)),
          table,
          out: (i: number) => engine.limb(out, k, i),
        };
      }),
    ),
  );
  conversions.modDown(dividends, gadget.modDown);
  threads.run();
  workspace.free(products);
}

/**
 * Notes down the transforms of one or two polynomials' digits modulo the i-th of the gadget's primes.
 *
 * @param firstLimb of the scratch memory, from where on the digits go
 * @returns for each polynomial, the addresses of its first digit and of the others
 */
export function digitsModulo(
  { stride, threads, conversions }: FastEngine,
  sources: Source[],
  { rings, owners, digits }: PreparedGadget,
  i: number,
  firstLimb: number,
): [number, number][] {
  return sources.map((source, half) => {
    const local = threads.local((firstLimb + half * digits.length) * stride);
    let out = local;
    for (const digit of digits) {
      const conversion = digit.conversions[i];
      if (!conversion) continue;
      conversions.convertBase(source.digits + digit.first * stride, conversion, rings[i], out);
      out += stride;
    }
    return owners[i] < 0 ? [local, local + stride] : [source.values(i), local];
  });
}

/**
 * Notes down the inner products of one or two polynomials' digits with a key, modulo the i-th of the gadget's
 * primes.
 *
 * @param digits what `digitsModulo` gave
 * @param outputs addresses of two products for each polynomial
 */
export function keyProducts(
  engine: FastEngine,
  digits: [number, number][],
  { key, start }: { key: LoadedKey; start: number },
  { limbs, rings, digits: { length }, groups }: PreparedGadget,
  i: number,
  outputs: number[],
): void {
  const { stride, threads } = engine;
  const [[firstA, restA], [firstB, restB] = [0, 0]] = digits;
  const [outA0, outA1, outB0 = 0, outB1 = 0] = outputs;
  const { n, q, one, carry } = rings[i];
  threads.kernels.switchProducts(
    ...([firstA, restA, firstB, restB, stride, keyLimb(engine, key, i, limbs), start] as const),
    ...([outA0, outA1, outB0, outB1, n, length, key.gadget.digits.length, groups[i], q, one] as const),
    ...carry,
  );
}
