import { type CompileOptions, compile } from '../../src/ckks/planner/compile.ts';
import { type EvaluationKeys, Server } from '../../src/ckks/server.ts';
import type { LocalServer } from '../../src/client/local-server.ts';
import type { Transport } from '../../src/client/transport.ts';
import { stageClock } from '../../src/measure/stages.ts';
import type { Model } from '../../src/model/model.ts';

/** A server in this very process behind the interface of a transport; `asked` lists the calls. */
export async function serverHere(
  model: Model,
  options: CompileOptions = {},
): Promise<LocalServer & { asked: string[] }> {
  const server = await Server.open(compile(model, options), { threads: 1 });
  const asked: string[] = [];
  const pieces: Uint8Array[] = [];
  let keys: EvaluationKeys | undefined;
  const transport: Transport = {
    async sendKeys(piece) {
      if (asked.at(-1) !== 'sendKeys') asked.push('sendKeys');
      pieces.push(piece);
    },
    async loadKeys({ onProgress } = {}) {
      asked.push('loadKeys');
      keys = await server.loadKeys(pieces, { onKey: onProgress });
      return { ms: 3, bytes: 4 };
    },
    async infer(request, { onProgress, signal } = {}) {
      asked.push('infer');
      signal?.throwIfAborted();
      const clock = stageClock((_, index) => onProgress?.(index + 1));
      const reply = server.evaluate(request, keys!, clock.onStage);
      return { reply, ...clock.stop(), upMs: 1, downMs: 2, threads: server.threads };
    },
    [Symbol.dispose]() {
      asked.push('dispose');
      keys?.[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
  const { plan, manifest } = server;
  return {
    transport,
    plan,
    manifest,
    startMs: 0,
    openMs: 0,
    asked,
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  };
}

/** Progress that nobody watches. */
export const UNWATCHED = { start: () => ({ update() {}, [Symbol.dispose]() {} }) };
