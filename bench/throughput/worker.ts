/**
 * A worker of bench/throughput.ts: a server with a client's keys, in a process of its own, that evaluates the
 * one request as often as it is told to.
 *
 *   node bench/throughput/worker.ts MODEL THREADS FOLDER
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compile } from '../../src/ckks/planner/compile.ts';
import { Server } from '../../src/ckks/server.ts';
import { loadModel } from '../../src/model/files.ts';
import { peakMemory } from '../shared/child.ts';

/** Evaluations until the code is warm. */
const WARM_UP = 2;

/** What a worker answers: when it is ready, and to every request. */
export interface WorkerAnswer {
  reply: Uint8Array;
  /** Bytes that the process ever held. */
  peakMemory: number;
  /** Which kernels compute. */
  kernels: string;
}

const [model, threads, folder] = process.argv.slice(2);
const read = async (name: string) => new Uint8Array(await readFile(join(folder, name)));
const server = await Server.open(compile(await loadModel(model)), { threads: Number(threads) });
const { kernels } = server;
const request = await read('request.bin');
const keys = server.loadKeys(await read('evaluation.keys'));
for (let i = 1; i < WARM_UP; i++) server.evaluate(request, keys);
await evaluate();
process.on('message', evaluate);
process.on('disconnect', () => process.exit(0));

async function evaluate(): Promise<void> {
  const reply = server.evaluate(request, keys);
  process.send!({ reply, peakMemory: await peakMemory(), kernels } satisfies WorkerAnswer);
}
