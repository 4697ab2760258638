import { expect, test } from 'vitest';
import { Client } from '../../../../src/ckks/client.ts';
import type { RotationLevels } from '../../../../src/ckks/evaluator/executor.ts';
import { FastExecutor } from '../../../../src/ckks/evaluator/fast/executor.ts';
import {
  type PackedCiphertext,
  packedCiphertext,
  packedDigits,
} from '../../../../src/ckks/evaluator/packed-ciphertext.ts';
import { type PlannedKey, plannedKeys } from '../../../../src/ckks/keyswitch/key-set.ts';
import { switchingKeySize } from '../../../../src/ckks/keyswitch/key-size.ts';
import { compile } from '../../../../src/ckks/planner/compile.ts';
import type { Plan } from '../../../../src/ckks/planner/plan.ts';
import { concat, readContainer } from '../../../../src/ckks/wire/container.ts';
import { bodySizes } from '../../../../src/ckks/wire/file-sizes.ts';
import { randomModel } from '../../../helpers/random-model.ts';

/** A client's keys and a request, as they travel. */
interface ClientFiles {
  switching: Map<PlannedKey, PackedCiphertext[]>;
  publicKey: PackedCiphertext;
  request: PackedCiphertext;
}

async function clientFiles({ manifest }: Plan): Promise<ClientFiles> {
  using client = await Client.open(manifest);
  const secret = client.createSecretKey();
  const { parameters, planHash } = manifest;
  const sizes = bodySizes(manifest);
  const { body } = readContainer(concat(client.evaluationKeys(secret)), 'evaluation keys', {
    planHash,
    bodyBytes: sizes.evaluationKeys,
  });
  const switching = new Map<PlannedKey, PackedCiphertext[]>();
  let offset = 0;
  for (const key of plannedKeys(parameters, manifest.keys)) {
    const start = offset;
    offset += switchingKeySize(parameters, key.gadget);
    switching.set(key, packedDigits(body.subarray(start, offset), key.gadget));
  }
  const request = client.encrypt(secret, new Float32Array(manifest.samples));
  const read = readContainer(request, 'request', { planHash, keyId: secret.keyId, bodyBytes: sizes.request });
  return {
    switching,
    publicKey: packedCiphertext(body.subarray(offset)),
    request: packedCiphertext(read.body),
  };
}

// Helical blocks: their averages are pooled by rotations of all inputs.
const model = randomModel({ channels: [4, 8], helix: 2, samples: 2048, seed: 11 });
const { circuit, plan } = compile(model, { outputs: 'scores+map', keySwitching: 'per-prime' });
const pooling = circuit.stages.flatMap((stage) => (stage.kind === 'linear' ? stage.pooling : []));

/** Bytes that the first and the second evaluation under newly loaded keys leave in the kernels' memory. */
async function bytesLeft(files: ClientFiles, rotated: RotationLevels): Promise<number[]> {
  using executor = await FastExecutor.open(circuit, rotated, 1);
  const load = () => {
    const keys = executor.createKeys([...files.switching.keys()]);
    for (const [key, digits] of files.switching) keys.setSwitchingKey(key, digits);
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
