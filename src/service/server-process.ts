import { type CompileOptions, compile } from '../ckks/planner/compile.ts';
import type { Plan } from '../ckks/planner/plan.ts';
import { type EvaluationKeys, Server, type ServerOptions } from '../ckks/server.ts';
import { BlindbeatError, type ErrorCode } from '../errors.ts';
import { peakMemory } from '../measure/machine.ts';
import { type StageTime, stageClock } from '../measure/stages.ts';
import { loadModel } from '../model/files.ts';

/** How a model is compiled, and the server opened. */
export type OpenOptions = CompileOptions & ServerOptions;

/**
 * What the client's process sends to this one, the server's, which knows the model and nothing else:
 * evaluation keys and requests, as they would travel over a network.
 */
export type ToServer =
  /** The first message. `model` is a name or a folder. */
  | { type: 'open'; model: string; options: OpenOptions }
  /** A piece of the evaluation keys file; with `last` the keys are loaded. */
  | { type: 'keys'; piece: Uint8Array; last: boolean }
  | { type: 'infer'; request: Uint8Array };

/** What the server's process answers. */
export type FromServer =
  | { type: 'opened'; plan: Plan }
  /** Of the work asked for last, so many parts are done: keys loaded, or stages computed. */
  | { type: 'progress'; done: number }
  | { type: 'loaded' }
  | { type: 'reply'; reply: Uint8Array; ms: number; layers: StageTime[]; threads: number; peakMemory: number }
  /** Without a code it is a fault of ours. */
  | { type: 'error'; code?: ErrorCode; message: string; stack?: string };

let server: Server;
let keys: EvaluationKeys;
let file: Uint8Array | null = null;
let received = 0;

async function answer(message: ToServer): Promise<FromServer | null> {
  switch (message.type) {
    case 'open':
      server = await Server.open(compile(await loadModel(message.model), message.options), message.options);
      return { type: 'opened', plan: server.plan };
    case 'keys':
      return takeKeys(message.piece, message.last);
    case 'infer':
      return infer(message.request);
  }
}

/** Puts the pieces of the evaluation keys together as they arrive; the size is known, so no more is held. */
function takeKeys(piece: Uint8Array, last: boolean): FromServer | null {
  file ??= new Uint8Array(server.plan.bytes.evaluationKeys);
  if (received + piece.length > file.length) {
    throw new BlindbeatError('FORMAT', `expected evaluation keys of ${file.length} bytes, got more`);
  }
  file.set(piece, received);
  received += piece.length;
  if (!last) return null;
  keys = server.loadKeys(file.subarray(0, received), (done) => send({ type: 'progress', done }));
  file = null;
  return { type: 'loaded' };
}

function infer(request: Uint8Array): FromServer {
  const clock = stageClock((_, index) => send({ type: 'progress', done: index + 1 }));
  const reply = server.evaluate(request, keys, clock.onStage);
  return { type: 'reply', reply, ...clock.stop(), threads: server.threads, peakMemory: peakMemory() };
}

const parent = process.ppid;

function send(message: FromServer): void {
  if (process.ppid !== parent) process.exit(1); // the client is gone: nobody waits for the answer
  process.send!(message);
}

process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToServer) => {
  answer(message).then(
    (reply) => reply && send(reply),
    (error: Error) => {
      const code = error instanceof BlindbeatError ? error.code : undefined;
      send({ type: 'error', code, message: error.message, stack: error.stack });
    },
  );
});
