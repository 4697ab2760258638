/**
 * A process that evaluates requests: a server of every model, and the keys of recent clients. It ends with the
 * process that started it, and with nothing else: an interrupt of the terminal reaches it too, but what it works
 * on is to be finished.
 */
import { compile } from '../../ckks/planner/compile.ts';
import { Server } from '../../ckks/server.ts';
import { wireSizes } from '../../ckks/wire/file-sizes.ts';
import { BlindbeatError } from '../../errors.ts';
import { readPieces } from '../../files/input.ts';
import { roundMs, stageClock } from '../../measure/stages.ts';
import { loadModel } from '../../model/files.ts';
import { KeyCache } from '../key-cache.ts';
import { answerParent } from '../processes/parent.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './messages.ts';

interface Opened {
  server: Server;
  cache: KeyCache;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
/** By name. */
const models = new Map<string, Opened>();
const send = answerParent<ToWorker, FromWorker>(answer);

async function answer(message: ToWorker): Promise<FromWorker> {
  switch (message.type) {
    case 'open':
      return open(message.options);
    case 'evaluate':
      try {
        return await evaluate(message);
      } finally {
        tellLoaded();
      }
    case 'forget':
      for (const { cache } of models.values()) cache.forget(message.keys);
      tellLoaded();
      return { type: 'forgotten' };
  }
}

async function open({ models: names, compile: options, server: serverOptions }: WorkerOptions) {
  for (const nameOrFolder of names) {
    const server = await Server.open(compile(await loadModel(nameOrFolder), options), serverOptions);
    const { name } = server.manifest.model;
    if (models.has(name))
      throw new BlindbeatError('USAGE', `two models have the name "${name}": give each model once`);
    models.set(name, { server, cache: new KeyCache(server) });
    send({ type: 'alive' });
  }
  const opened = [...models.values()].map(({ server: { manifest, keyBytes } }) => ({ manifest, keyBytes }));
  return { type: 'opened' as const, models: opened };
}

async function evaluate(job: Extract<ToWorker, { type: 'evaluate' }>): Promise<FromWorker> {
  const { server, cache } = models.get(job.model)!;
  const alive = () => send({ type: 'alive' });
  const limit = wireSizes(server.manifest).evaluationKeys;
  const known = cache.names.includes(job.keys);
  const started = performance.now();
  const source = () => readPieces(job.keyFile, { what: 'evaluation keys', limit, tooLarge: 'FORMAT' });
  using lease = await cache.lease(job.keys, source, { onKey: alive });
  const loadKeysMs = known ? 0 : roundMs(performance.now() - started);
  const clock = stageClock(alive);
  const reply = server.evaluate(job.request, lease.keys, clock.onStage);
  const { ms, layers } = clock.stop();
  return { type: 'reply', reply, loadKeysMs, evaluateMs: ms, layers };
}

function tellLoaded(): void {
  send({ type: 'loaded', keys: [...models.values()].flatMap(({ cache }) => cache.names) });
}
