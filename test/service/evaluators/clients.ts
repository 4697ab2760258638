import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '../../../src/ckks/client.ts';
import { type CompileOptions, compile } from '../../../src/ckks/planner/compile.ts';
import type { SecretKey } from '../../../src/ckks/secret/secret-key.ts';
import { concat } from '../../../src/ckks/wire/container.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import { hexDigest } from '../../../src/digest.ts';
import { saveModel } from '../../../src/model/files.ts';
import { forward } from '../../../src/model/forward.ts';
import type { Model } from '../../../src/model/model.ts';
import type { Job, Outcome } from '../../../src/service/evaluators.ts';

/** Of a score, from the clear model's. */
const MOST_ERROR = 1e-2;

/** A model in a folder, clients whose keys lie in files there, and jobs of theirs. Disposing removes the folder. */
export class Clients implements AsyncDisposable {
  readonly folder: string;
  readonly model: Model;
  /** What jobs name the keys by. */
  readonly hashes: string[] = [];
  readonly #client: Client;
  readonly #secrets: SecretKey[] = [];
  #made = 0;

  private constructor(folder: string, model: Model, client: Client) {
    this.folder = folder;
    this.model = model;
    this.#client = client;
  }

  static async make(model: Model, count: number, options: CompileOptions = {}): Promise<Clients> {
    const folder = await mkdtemp(join(tmpdir(), 'blindbeat-evaluators-'));
    await saveModel(model, folder);
    const clients = new Clients(folder, model, await Client.open(compile(model, options).plan.manifest));
    for (let c = 0; c < count; c++) {
      const secret = clients.#client.createSecretKey();
      const keys = concat(clients.#client.evaluationKeys(secret));
      clients.#secrets.push(secret);
      clients.hashes.push(hexDigest(keys));
      await writeFile(clients.keyFile(c), keys);
    }
    return clients;
  }

  keyFile(c: number): string {
    return join(this.folder, `${c}.keys`);
  }

  /** A job of one client, always another one; `check` throws if the outcome is not right. */
  job(c: number): Job & { digest: string; check(outcome: Outcome): void } {
    const phase = this.#made++;
    const { samples, name } = this.model;
    const segment = Float32Array.from({ length: samples }, (_, t) => Math.sin(t / 5 + phase));
    const request = this.#client.encrypt(this.#secrets[c], segment);
    const digest = requestDigest(request);
    const check = ({ reply }: Outcome) => {
      const { scores } = this.#client.decrypt(this.#secrets[c], reply, digest);
      for (const [k, right] of forward(this.model, segment).scores.entries())
        if (!(Math.abs(scores[k] - right) <= MOST_ERROR))
          throw new Error(`score ${k} is ${scores[k]}, not ${right}`);
    };
    return { model: name, keys: this.hashes[c], keyFile: this.keyFile(c), request, digest, check };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const secret of this.#secrets) secret[Symbol.dispose]();
    this.#client[Symbol.dispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}
