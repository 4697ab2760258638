import { type CompileOptions, compile } from '../../src/ckks/planner/compile.ts';
import { Server } from '../../src/ckks/server.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { readPieces } from '../../src/files/input.ts';
import type { Model } from '../../src/model/model.ts';
import type { Evaluators, Job, Outcome } from '../../src/service/evaluators.ts';

/** A server of one model in this very process, which takes one job after another and keeps no keys loaded. */
export interface EvaluatorsHere extends Evaluators {
  /** Hashes that were forgotten. */
  forgotten: string[];
  /** What the next job ends with, instead of an evaluation. */
  next: ((job: Job) => Promise<Outcome>) | null;
  ready: boolean;
  jobs: number;
}

/** Opens a server for a model. */
export async function evaluatorsHere(model: Model, options: CompileOptions = {}): Promise<EvaluatorsHere> {
  const server = await Server.open(compile(model, options), { threads: 1 });
  let last: Promise<unknown> = Promise.resolve();
  const evaluators: EvaluatorsHere = {
    models: new Map([[model.name, { manifest: server.manifest, keyBytes: server.keyBytes }]]),
    ready: true,
    load: { workers: 1, waiting: 0, running: 0, restarts: 0, loadedKeys: 0, waitMs: 0 },
    forgotten: [],
    next: null,
    jobs: 0,
    async evaluate(job) {
      evaluators.jobs++;
      if (!evaluators.ready) throw new BlindbeatError('BUSY', 'it is draining');
      const { next } = evaluators;
      evaluators.next = null;
      const outcome = next ? next(job) : last.then(() => run(server, job));
      last = outcome.catch(() => {});
      return outcome;
    },
    async forget(keys) {
      evaluators.forgotten.push(keys);
    },
    async drain() {
      evaluators.ready = false;
      await last;
    },
    async [Symbol.asyncDispose]() {
      server[Symbol.dispose]();
    },
  };
  return evaluators;
}

async function run(server: Server, { keyFile, request }: Job): Promise<Outcome> {
  const started = performance.now();
  using keys = await server.loadKeys(readPieces(keyFile, { what: 'keys', limit: 1e9 }));
  const loaded = performance.now();
  const reply = server.evaluate(request, keys);
  const evaluateMs = performance.now() - loaded;
  return { reply, queueMs: 0, loadKeysMs: loaded - started, evaluateMs, layers: [] };
}
