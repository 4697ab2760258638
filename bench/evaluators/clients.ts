import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { SecretKey } from '../../src/ckks/secret/secret-key.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { hexDigest } from '../../src/digest.ts';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { largestDifference } from '../../src/evaluation/agreement.ts';
import { loadModel } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import type { Job } from '../../src/service/evaluators.ts';
import { benchRecording } from '../probe/probe.ts';

/** Of a score, from the clear model's. */
const MOST_ERROR = 1e-2;

/** A job that can be sent again and again, one at a time, and the judge of its reply. */
export interface CheckedJob {
  job: Job;
  /** @throws Error when scores are not those of the clear model */
  check(reply: Uint8Array): void;
}

/** So many requests for one recording, and keys in a folder: those of `pairs` key pairs in turn. */
export async function prepareJobs(modelName: string, folder: string, count: number, pairs: number) {
  const model = await loadModel(modelName);
  const { manifest } = compile(model).plan;
  using owned = new DisposableStack();
  const client = owned.use(await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY }));
  const { leads, rate } = benchRecording();
  const { samples } = prepareSegment(leads[0].mv, rate, manifest.preprocessing);
  const { scores } = forward(model, samples);
  const keys: { secret: SecretKey; keyFile: string; hash: string }[] = [];
  for (let k = 0; k < Math.min(pairs, count); k++) {
    const secret = owned.use(client.createSecretKey());
    const file = concat(client.evaluationKeys(secret));
    const keyFile = join(folder, `${k}.keys`);
    await writeFile(keyFile, file);
    keys.push({ secret, keyFile, hash: hexDigest(file) });
  }
  const jobs = Array.from({ length: count }, (_, k): CheckedJob => {
    const { secret, keyFile, hash } = keys[k % keys.length];
    const request = client.encrypt(secret, samples);
    const digest = requestDigest(request);
    return {
      job: { model: manifest.model.name, keys: hash, keyFile, request },
      check(reply) {
        const error = largestDifference(client.decrypt(secret, reply, digest).scores, scores);
        if (!(error <= MOST_ERROR))
          throw new Error(`a score is off by ${error}: evaluators compute nonsense`);
      },
    };
  });
  const held = owned.move();
  return { jobs, [Symbol.dispose]: () => held.dispose() };
}
