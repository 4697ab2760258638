import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@nats-io/transport-node';

const BIN = resolve(import.meta.dirname, '../../../bin/blindbeat.js');

/** Whether tests can start a nats-server here. */
export const HAS_NATS = spawnSync('nats-server', ['--version']).status === 0;

/** A nats-server with JetStream on a port of its own, which can be started anew on the same files. */
export class NatsServer {
  readonly url: string;
  readonly #args: string[];
  #child: ChildProcess | null = null;

  private constructor(port: number, folder: string, more: string[]) {
    this.url = `nats://127.0.0.1:${port}`;
    this.#args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', join(folder, 'jetstream'), ...more];
  }

  static async start(folder: string, more: string[] = []): Promise<NatsServer> {
    const server = new NatsServer(await freePort(), folder, more);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    this.#child = spawn('nats-server', this.#args, { stdio: 'ignore' });
    for (;;)
      try {
        await (await connect({ servers: this.url, reconnect: false })).close();
        return;
      } catch (error) {
        if (this.#child.exitCode !== null) throw error;
        await sleep(20);
      }
  }

  async kill(): Promise<void> {
    await kill(this.#child!);
  }
}

/** A process of `blindbeat worker`, with its log. */
export interface WorkerProcess {
  child: ChildProcess;
  /** By which other processes know it. */
  id: string;
  lines: {
    evaluator?: string;
    pid?: number;
    working?: string[];
    worker?: number | string;
    err?: { message: string };
  }[];
}

/** Starts a worker as a shell does; settles when it takes requests. */
export async function startWorker(url: string, model: string, more: string[] = []): Promise<WorkerProcess> {
  const args = [BIN, 'worker', '--nats', url, '--models', model, '--threads', '1', ...more];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const working = Promise.withResolvers<string>();
  const lines: WorkerProcess['lines'] = [];
  child.on('exit', (code) =>
    working.reject(new Error(`the worker ended with ${code}: ${JSON.stringify(lines)}`)),
  );
  createInterface(child.stdout!).on('line', (line) => {
    const read = JSON.parse(line);
    lines.push(read);
    if (read.working) working.resolve(read.worker);
  });
  return { child, lines, id: await working.promise };
}

/** Kills a process without a warning. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
