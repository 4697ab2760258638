import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { prepareSegment } from '../../src/ecg/preprocess.ts';
import { largestDifference } from '../../src/evaluation/agreement.ts';
import { loadModel } from '../../src/model/files.ts';
import { forward } from '../../src/model/forward.ts';
import { benchRecording } from '../probe/probe.ts';
import { Child } from '../shared/child.ts';
import type { Worker } from './load.ts';
import type { Split } from './split.ts';
import type { WorkerAnswer } from './worker.ts';

const WORKER = join(import.meta.dirname, 'worker.ts');
/** Of a score, from the clear model's. */
const MOST_ERROR = 1e-2;

/** The processes of one split. Disposing ends them. */
export class Workers implements Disposable {
  readonly all: Worker[];
  readonly startMs: number;
  /** Everybody's first one. */
  readonly replies: Uint8Array[];
  readonly kernels: string;
  readonly #children: Child[];
  readonly #peaks: number[];

  private constructor(children: Child[], first: WorkerAnswer[], startMs: number) {
    this.#children = children;
    this.#peaks = first.map(({ peakMemory }) => peakMemory);
    this.startMs = startMs;
    this.replies = first.map(({ reply }) => reply);
    this.kernels = first[0].kernels;
    this.all = children.map((child, k) => async () => {
      this.#peaks[k] = (await child.ask<WorkerAnswer>('evaluate')).peakMemory;
    });
  }

  static async start(model: string, { workers, threads }: Split, folder: string): Promise<Workers> {
    const start = performance.now();
    using owned = new DisposableStack();
    const children = Array.from({ length: workers }, (_, k) =>
      owned.use(new Child(WORKER, [model, String(threads), folder], `worker ${k + 1}`)),
    );
    const first = await Promise.all(children.map((child) => child.answer<WorkerAnswer>()));
    owned.move();
    return new Workers(children, first, performance.now() - start);
  }

  /** Bytes. */
  get memory(): number {
    return this.#peaks.reduce((sum, bytes) => sum + bytes, 0);
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child[Symbol.dispose]();
  }
}

/** Writes the files that workers need: the client's part. The client stays, to judge replies. */
export async function prepareFiles(modelName: string, folder: string) {
  const model = await loadModel(modelName);
  const { manifest } = compile(model).plan;
  using owned = new DisposableStack();
  const client = owned.use(await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY }));
  const secret = owned.use(client.createSecretKey());
  const { leads, rate } = benchRecording();
  const { samples } = prepareSegment(leads[0].mv, rate, manifest.preprocessing);
  const request = client.encrypt(secret, samples);
  await writeFile(join(folder, 'evaluation.keys'), client.evaluationKeys(secret));
  await writeFile(join(folder, 'request.bin'), request);
  const { scores } = forward(model, samples);
  const digest = requestDigest(request);
  const held = owned.move();
  return {
    /** @throws Error when scores are not those of the clear model: then there is nothing to measure */
    check(reply: Uint8Array): void {
      const error = largestDifference(client.decrypt(secret, reply, digest).scores, scores);
      if (!(error <= MOST_ERROR)) throw new Error(`a score is off by ${error}: the workers compute nonsense`);
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}
