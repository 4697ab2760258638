/**
 * Milliseconds of each operation of node-seal by number of limbs, and the quadratic fit that src/ckks/cost.ts holds.
 *
 *   node bench/operations.ts [--json]
 */
import { SealBackend, SealEngine, type SwitchingKeys } from '../src/ckks/backends/seal.ts';
import { choosePrimes, log2Product, type Parameters } from '../src/ckks/parameters.ts';
import { type Ciphertext, type ClientModule, loadSeal } from '../src/ckks/seal.ts';
import { machine, median } from '../src/cli/machine.ts';

const N = 16384;
const LIMBS = [14, 10, 6, 4, 2];
const REPEATS = 7;

const primes = choosePrimes(N, [30, ...new Array<number>(13).fill(28), 30]);
const special = primes.pop()!;
const parameters: Parameters = {
  n: N,
  primes,
  special,
  logQP: log2Product([...primes, special]),
  security: 128,
};
const seal = await loadSeal<ClientModule>();
const { module } = seal;
using engine = new SealEngine(seal, parameters);
const { context } = engine;
const generator = seal.own(new module.KeyGenerator(context));
const keys: SwitchingKeys = {
  relinearisation: seal.own(generator.createRelinKeys()),
  galois: new Map([[1, seal.own(generator.createGaloisKeysWithSteps(Int32Array.of(1)))]]),
};
using backend = new SealBackend(engine, keys);
const scale = 2 ** 26;
let ciphertext = encrypt();

/** Median milliseconds of an operation that makes a ciphertext, or several. */
function time(operation: () => Ciphertext | (Ciphertext | null)[]): number {
  const laps: number[] = [];
  for (let i = 0; i <= REPEATS; i++) {
    const start = performance.now();
    const made = operation();
    if (i > 0) laps.push(performance.now() - start); // the first warms up
    for (const c of [made].flat()) if (c) backend.free(c);
  }
  return median(laps);
}

function encrypt(): Ciphertext {
  const publicKey = seal.own(generator.createPublicKey());
  const encryptor = seal.own(new module.Encryptor(context, publicKey));
  const out = seal.own(new module.Ciphertext());
  encryptor.encryptZero(out);
  out.setScale(scale);
  seal.free(encryptor, publicKey);
  return out;
}

const rows = LIMBS.map((limbs) => {
  while (ciphertext.coeffModulusSize() > limbs) {
    const next = backend.rescale(ciphertext, scale);
    backend.free(ciphertext);
    ciphertext = next;
  }
  const weights = backend.encode(
    Float64Array.from({ length: 32 }, (_, j) => Math.sin(j)),
    2 ** 20,
    limbs,
  );
  const bias = backend.encode(Float64Array.of(1), scale, limbs);
  const squared = backend.square(ciphertext);
  const one = time(() => backend.multiplySum([ciphertext], [[weights]]));
  const row = {
    limbs,
    rotate: time(() => backend.rotate(ciphertext, 1)),
    relinearise: time(() => backend.relinearise(squared)),
    multiplyPlain: one,
    'multiplyPlain + add':
      (time(() => backend.multiplySum(new Array(9).fill(ciphertext), [new Array(9).fill(weights)])) - one) /
      8,
    add: time(() => backend.add(ciphertext, ciphertext)),
    addPlain: time(() => backend.addPlain(ciphertext, bias)),
    square: time(() => backend.square(ciphertext)),
    rescale: time(() => backend.rescale(ciphertext, scale)),
  };
  backend.free(squared);
  return row;
});
backend.free(ciphertext);
seal.free(keys.relinearisation, ...keys.galois.values(), generator);

/** Least squares of ms = a limbs^2 + b limbs, with relative weights. */
function fit(name: keyof (typeof rows)[0]) {
  let [s44, s43, s33, r2, r1] = [0, 0, 0, 0, 0];
  for (const row of rows) {
    const l = row.limbs;
    const w = 1 / row[name] ** 2;
    s44 += w * l ** 4;
    s43 += w * l ** 3;
    s33 += w * l ** 2;
    r2 += w * l ** 2 * row[name];
    r1 += w * l * row[name];
  }
  const determinant = s44 * s33 - s43 ** 2;
  return { squared: (r2 * s33 - r1 * s43) / determinant, linear: (s44 * r1 - s43 * r2) / determinant };
}

const names = Object.keys(rows[0]).filter((name) => name !== 'limbs') as (keyof (typeof rows)[0])[];
const fits = Object.fromEntries(names.map((name) => [name, fit(name)]));
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ machine: machine(), n: N, rows, fits }, null, 2));
} else {
  console.log(machine());
  console.log(`ms per operation at N = ${N}, median of ${REPEATS}`);
  console.table(
    rows.map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, Number(v.toFixed(3))]))),
  );
  console.table(
    Object.fromEntries(
      names.map((name) => [
        name,
        { 'limbs^2': fits[name].squared.toFixed(3), limbs: fits[name].linear.toFixed(3) },
      ]),
    ),
  );
}
