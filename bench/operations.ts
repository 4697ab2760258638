/**
 * Milliseconds of each operation of node-seal by number of limbs, and the fit that src/ckks/planner/cost.ts
 * holds. The same for our own kernels is `blindbeat bench --calibrate`.
 *
 *   node bench/operations.ts [--json]
 */

import { CALIBRATION_STEPS, fitCosts, measureOperations } from '../src/ckks/calibrate.ts';
import { SealBackend, SealEngine } from '../src/ckks/evaluator/seal/backend.ts';
import type { Parameters } from '../src/ckks/ring/parameters.ts';
import { choosePrimes, log2Product } from '../src/ckks/ring/primes.ts';
import { type Ciphertext, type ClientModule, loadSeal } from '../src/ckks/seal/seal.ts';
import { machine } from '../src/measure/machine.ts';

const N = 16384;
const LIMBS = [14, 10, 6, 4, 2];
const REPEATS = 5;
const SCALE = 2 ** 20;

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
const publicKey = seal.own(generator.createPublicKey());
const encryptor = seal.own(new module.Encryptor(context, publicKey));
const evaluator = seal.own(new module.Evaluator(context));
const relinearisation = seal.own(generator.createRelinKeys());
const galois = new Map(
  CALIBRATION_STEPS.map((step) => [step, seal.own(generator.createGaloisKeysWithSteps(Int32Array.of(step)))]),
);
using backend = new SealBackend(engine, { relinearisation, galois });

/** An encryption of zero: as random as any ciphertext. */
function make(limbs: number): Ciphertext {
  const out = seal.own(new module.Ciphertext());
  encryptor.encryptZero(out);
  for (let l = primes.length; l > limbs; l--) evaluator.cipherModSwitchToNextInplace(out);
  out.setScale(SCALE);
  return out;
}

const measured = LIMBS.flatMap((limbs) => measureOperations({ backend, make, scale: SCALE }, limbs, REPEATS));
const costs = fitCosts(measured, N);
seal.free(encryptor, publicKey, generator, evaluator, relinearisation, ...galois.values());
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ machine: machine(), n: N, measured, costs }, null, 2));
} else {
  console.log(machine());
  console.log(`ms per operation of node-seal at N = ${N}, least of ${REPEATS}`);
  console.table(
    Object.fromEntries(
      Object.entries(costs).map(([operation, { squared, linear }]) => [
        operation,
        {
          ...Object.fromEntries(
            measured
              .filter((row) => row.operation === operation)
              .map(({ limbs, ms }) => [`${limbs} limbs`, Number(ms.toFixed(3))]),
          ),
          'x limbs^2': squared.toFixed(3),
          'x limbs': linear.toFixed(3),
        },
      ]),
    ),
  );
}
