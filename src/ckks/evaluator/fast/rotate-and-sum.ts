import type { RotationTerm } from '../backend.ts';
import type { Dividend } from './base-conversion.ts';
import type { FastCiphertext, FastEngine } from './engine.ts';
import { type LoadedKey, type LoadedSwitchingKeys, servingKey } from './keys.ts';
import { decompose, digitsModulo, keyProducts } from './keyswitch.ts';
import type { PreparedGadget } from './prepared-gadget.ts';
import type { Workspace } from './workspace.ts';

/** Values by column, to be rotated by one step. */
interface DecomposedTerm {
  values: (FastCiphertext | null)[];
  /** Coefficients of their second polynomials' digits. */
  digits: (FastCiphertext | null)[];
  key: LoadedKey;
  /** Of the step's automorphism. */
  table: number;
}

/**
 * Adds up, for each column, `values[column]` rotated by `step` over all terms, and `plus[column]`; with
 * hybrid keys only. Products with keys are rotated and added up modulo the special primes too; the sum is
 * divided once.
 *
 * @returns for a column of nothing but nulls in the terms `plus[column]` itself
 * @throws BlindbeatError INTERNAL within `Workspace.parallel`, and for a step without a key
 */
export function rotateAndSum(
  workspace: Workspace,
  keys: LoadedSwitchingKeys | null,
  terms: RotationTerm<FastCiphertext>[],
  plus: (FastCiphertext | null)[],
): (FastCiphertext | null)[] {
  workspace.requireSequential();
  const { engine } = workspace;
  const { threads, conversions } = engine;
  const { limbs } = terms.flatMap(({ values }) => values).find((v) => v !== null) ?? { limbs: 0 };
  const decomposed = terms.map(({ values, step }): DecomposedTerm => {
    const key = servingKey(keys?.galois.get(step), limbs);
    const digits = values.map((v) => v && decompose(workspace, (i) => engine.limb(v, 1, i), key, limbs));
    return { values, digits, key, table: engine.automorphisms.rotation(step).table };
  });
  threads.phase();
  const columns = plus.map((_, k) => k).filter((k) => terms.some(({ values }) => values[k] !== null));
  if (columns.length === 0) return plus;
  const gadget = engine.gadgets.prepared(decomposed[0].key, limbs);
  const sums = workspace.make(2 * columns.length, gadget.rings.length);
  const firsts = workspace.make(columns.length, limbs);
  sumKeyProducts(engine, decomposed, columns, gadget, sums);
  sumFirsts(engine, decomposed, columns, plus, firsts);
  threads.phase();
  const made = columns.map(() => workspace.make(2, limbs));
  const dividends = columns.flatMap((column, c) =>
    [0, 1].map((k): Dividend => {
      const addend = plus[column];
      const second = addend && ((i: number) => engine.limb(addend, 1, i));
      return {
        dropped: (special) => engine.limb(sums, 2 * c + k, limbs + special),
        remainder: engine.limb(sums, 2 * c + k, limbs),
        values: (i) => engine.limb(sums, 2 * c + k, i),
        addend: k === 0 ? (i) => engine.limb(firsts, c, i) : second,
        table: 0,
        out: (i) => engine.limb(made[c], k, i),
      };
    }),
  );
  conversions.modDown(dividends, gadget.modDown);
  threads.run();
  const digits = decomposed.flatMap((term) => term.digits.filter((d) => d !== null));
  for (const v of [sums, firsts, ...digits]) workspace.free(v);
  return plus.map((v, k) => (columns.includes(k) ? made[columns.indexOf(k)] : v));
}

/** Notes down the products of digits with keys, rotated and added up, modulo all primes of the gadget. */
function sumKeyProducts(
  engine: FastEngine,
  terms: DecomposedTerm[],
  columns: number[],
  gadget: PreparedGadget,
  sums: FastCiphertext,
): void {
  const { threads, stride } = engine;
  gadget.rings.forEach(({ n, q }, i) => {
    for (let c = 0; c < columns.length; c += 2) {
      const pair = columns.slice(c, c + 2);
      threads.task();
      const begun = new Set<number>();
      for (const { values, digits, key, table } of terms) {
        const present = pair.filter((column) => values[column] !== null);
        if (present.length === 0) continue;
        const sources = present.map((column) => ({
          values: (limb: number) => engine.limb(values[column]!, 1, limb),
          digits: digits[column]!.address,
        }));
        const products = present.flatMap((_, half) => [
          threads.local(2 * half * stride),
          threads.local((2 * half + 1) * stride),
        ]);
        const addresses = digitsModulo(engine, sources, gadget, i, 4);
        keyProducts(engine, addresses, { key, start: 0 }, gadget, i, products);
        present.forEach((column, half) => {
          for (let k = 0; k < 2; k++) {
            const sum = engine.limb(sums, 2 * columns.indexOf(column) + k, i);
            threads.kernels.automorphism(
              products[2 * half + k],
              table,
              begun.has(column) ? sum : 0,
              sum,
              n,
              q,
            );
          }
          begun.add(column);
        });
      }
    }
  });
}

/** Notes down the sums of the first polynomials, rotated, and of `plus`. */
function sumFirsts(
  engine: FastEngine,
  terms: DecomposedTerm[],
  columns: number[],
  plus: (FastCiphertext | null)[],
  firsts: FastCiphertext,
): void {
  const { threads, rings } = engine;
  columns.forEach((column, c) => {
    for (let i = 0; i < firsts.limbs; i++) {
      const { n, q } = rings[i];
      const sum = engine.limb(firsts, c, i);
      threads.task();
      let added = plus[column] ? engine.limb(plus[column], 0, i) : 0;
      for (const { values, table } of terms) {
        if (values[column] === null) continue;
        threads.kernels.automorphism(engine.limb(values[column], 0, i), table, added, sum, n, q);
        added = sum;
      }
    }
  });
}
