import { type CompileOptions, compile } from '../ckks/planner/compile.ts';
import type { Plan } from '../ckks/planner/plan.ts';
import { type EvaluationKeys, type KeyUpload, Server, type ServerOptions } from '../ckks/server.ts';
import { BlindbeatError } from '../errors.ts';
import { peakMemory } from '../measure/machine.ts';
import { type StageTime, stageClock } from '../measure/stages.ts';
import { loadModel } from '../model/files.ts';
import { answerParent, type ErrorAnswer } from './processes/parent.ts';

/** How a model is compiled, and the server opened. */
export type OpenOptions = CompileOptions & ServerOptions;

/**
 * What the client's process sends to this one, the server's, which knows the model and nothing else:
 * evaluation keys and requests, as they would travel over a network.
 */
export type ToServer =
  /** The first message. `model` is a name or a folder. */
  | { type: 'open'; model: string; options: OpenOptions }
  /** A piece of the evaluation keys file; `last` ends it, and is answered. */
  | { type: 'keys'; piece: Uint8Array; last: boolean }
  | { type: 'infer'; request: Uint8Array };

/** What the server's process answers. */
export type FromServer =
  /** `ms`: to load and compile the model and to encode its weights. */
  | { type: 'opened'; plan: Plan; ms: number }
  /** Of the work asked for last, so many parts are done: keys loaded, or stages computed. */
  | { type: 'progress'; done: number }
  /** `ms`: of the server's work; `bytes`: what the loaded keys take of the backend's memory. */
  | { type: 'loaded'; ms: number; bytes: number }
  | { type: 'reply'; reply: Uint8Array; ms: number; layers: StageTime[]; threads: number; peakMemory: number }
  | ErrorAnswer;

let opening = false;
let server: Server | undefined;
let keys: EvaluationKeys | undefined;
let upload: KeyUpload | undefined;
/** How long loading took, without what it waited for. */
let loadingMs = 0;
/** Why what is uploaded will not do. */
let refusal: unknown;

async function answer(message: ToServer): Promise<FromServer | null> {
  switch (message.type) {
    case 'open': {
      if (opening) throw outOfTurn('it opens one model, and has been told which');
      opening = true;
      const { model, options } = message;
      const clock = stageClock();
      server = await Server.open(compile(await loadModel(model), options), options);
      return { type: 'opened', plan: server.plan, ms: clock.stop().ms };
    }
    case 'keys':
      return takeKeys(opened(), message.piece, message.last);
    case 'infer':
      return infer(opened(), message.request);
    default:
      throw outOfTurn('it knows no such message');
  }
}

function opened(): Server {
  if (server) return server;
  throw outOfTurn('it has no model yet');
}

function outOfTurn(why: string): BlindbeatError {
  return new BlindbeatError('USAGE', `the server process cannot do that now: ${why}`);
}

/**
 * Loads evaluation keys piece by piece as they arrive. Keys that were loaded before give way. The client hears
 * of a refusal when it asks for the keys: until then it waits for no answer.
 */
function takeKeys(server: Server, piece: Uint8Array, last: boolean): FromServer | null {
  if (!upload) {
    keys?.[Symbol.dispose]();
    keys = refusal = undefined;
    loadingMs = 0;
    upload = server.receiveKeys({ onKey: (done) => send({ type: 'progress', done }) });
  }
  const start = performance.now();
  try {
    if (refusal === undefined) upload.write(piece);
  } catch (error) {
    refusal = error;
  }
  loadingMs += performance.now() - start;
  if (!last) return null;
  const ended = upload;
  upload = undefined;
  if (refusal !== undefined) throw refusal;
  const finishing = performance.now();
  keys = ended.finish();
  loadingMs += performance.now() - finishing;
  return { type: 'loaded', ms: loadingMs, bytes: keys.bytes };
}

function infer(server: Server, request: Uint8Array): FromServer {
  if (!keys) throw outOfTurn('it has no keys yet');
  const clock = stageClock((_, index) => send({ type: 'progress', done: index + 1 }));
  const reply = server.evaluate(request, keys, clock.onStage);
  return { type: 'reply', reply, ...clock.stop(), threads: server.threads, peakMemory: peakMemory() };
}

const send = answerParent<ToServer, FromServer>(answer);
