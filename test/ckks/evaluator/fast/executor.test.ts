import { expect, test } from 'vitest';
import type { RotationLevels } from '../../../../src/ckks/evaluator/executor.ts';
import { FastExecutor } from '../../../../src/ckks/evaluator/fast/executor.ts';
import { plannedKeys } from '../../../../src/ckks/keyswitch/key-set.ts';
import { compile } from '../../../../src/ckks/planner/compile.ts';
import type { Plan } from '../../../../src/ckks/planner/plan.ts';
import { allPrimes } from '../../../../src/ckks/ring/parameters.ts';
import { type RawCiphertext, readCiphertext, readSwitchingKey } from '../../../../src/ckks/seal/bytes.ts';
import { type ClientModule, loadSeal } from '../../../../src/ckks/seal/seal.ts';
import { randomModel } from '../../../helpers/random-model.ts';

/** A client's keys and a request, as SEAL makes them. */
interface ClientFiles {
  switching: Map<number | null, RawCiphertext[]>;
  publicKey: RawCiphertext;
  request: RawCiphertext;
}

async function clientFiles({ manifest: { parameters, keys } }: Plan): Promise<ClientFiles> {
  const seal = await loadSeal<ClientModule>();
  const { module } = seal;
  const none = module.ComprModeType.none;
  const context = seal.context(parameters.n, allPrimes(parameters), true);
  const generator = seal.own(new module.KeyGenerator(context));
  const publicKey = seal.own(generator.createPublicKey());
  const encryptor = seal.own(new module.Encryptor(context, publicKey));
  const digitsOf = (step: number | null) =>
    seal.using(
      step === null ? generator.createRelinKeys() : generator.createGaloisKeysWithSteps(Int32Array.of(step)),
      (key) => [...readSwitchingKey(key.saveToArray(none))],
    );
  const steps = [null, ...keys.galois.map(({ step }) => step)];
  const files = {
    switching: new Map(steps.map((step) => [step, digitsOf(step)])),
    publicKey: readCiphertext(publicKey.saveToArray(none)),
    request: seal.using(new module.Ciphertext(), (zero) => {
      encryptor.encryptZero(zero);
      return readCiphertext(zero.saveToArray(none));
    }),
  };
  seal.free(encryptor, publicKey, generator, context);
  return files;
}

// Helical blocks: their averages are pooled by rotations of all inputs.
const model = randomModel({ channels: [4, 8], helix: 2, samples: 2048, seed: 11 });
const { circuit, plan } = compile(model, { outputs: 'scores+map', keySwitching: 'per-prime' });
const pooling = circuit.stages.flatMap((stage) => (stage.kind === 'linear' ? stage.pooling : []));

/** Bytes that the first and the second evaluation under newly loaded keys leave in the kernels' memory. */
async function bytesLeft(files: ClientFiles, rotated: RotationLevels): Promise<number[]> {
  using executor = await FastExecutor.open(circuit, rotated, 1);
  const load = () => {
    const keys = executor.createKeys();
    for (const key of plannedKeys(plan.manifest.parameters, plan.manifest.keys))
      keys.setSwitchingKey(key, files.switching.get(key.step)!);
    keys.setPublicKey(files.publicKey);
    return keys;
  };
  {
    using keys = load();
    executor.evaluate(files.request, keys); // makes what belongs to no key: the threads' program
  }
  using keys = load();
  return [1, 2].map(() => {
    const before = executor.memoryInUse;
    executor.evaluate(files.request, keys);
    return executor.memoryInUse - before;
  });
}

test('when per-prime keys are loaded, then an evaluation has nothing left to make of them', async () => {
  const files = await clientFiles(plan);
  expect(pooling).not.toEqual([]);
  expect(await bytesLeft(files, plan.rotated)).toEqual([0, 0]);
  const forgotten = new Map([...plan.rotated].filter(([step]) => !pooling.includes(step)));
  const [first, second] = await bytesLeft(files, forgotten);
  expect(first).toBeGreaterThan(0);
  expect(second).toBe(0);
});
