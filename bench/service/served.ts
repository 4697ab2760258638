import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hexDigest } from '../../src/digest.ts';
import type { Worker } from '../throughput/load.ts';
import type { Split } from '../throughput/split.ts';
import { ServiceProcess } from './process.ts';

const OCTETS = { 'content-type': 'application/octet-stream' };

/** A service in processes of its own, that has the keys and was asked twice. Disposing ends it. */
export class Served implements AsyncDisposable {
  readonly #service: ServiceProcess;
  readonly #infer: string;
  readonly #request: BodyInit;
  /** Its first reply. */
  readonly reply: Uint8Array;

  private constructor(service: ServiceProcess, infer: string, request: BodyInit, reply: Uint8Array) {
    this.#service = service;
    this.#infer = infer;
    this.#request = request;
    this.reply = reply;
  }

  /** @param folder of the client's files, as `prepareFiles` writes them */
  static async start(model: string, { workers, threads }: Split, folder: string): Promise<Served> {
    const service = await ServiceProcess.start([
      ...['--models', model, '--workers', `${workers}`, '--threads', `${threads}`],
    ]);
    const { url } = service;
    const [keys, request] = await Promise.all(
      ['evaluation.keys', 'request.bin'].map(
        async (name) => new Uint8Array(await readFile(join(folder, name))),
      ),
    );
    const { models } = await (await fetch(`${url}/v1/models`)).json();
    const { id } = models[0];
    const hash = hexDigest(keys);
    await octets(`${url}/v1/keys/${hash}?model=${id}`, 'PUT', keys);
    const infer = `${url}/v1/models/${encodeURIComponent(id)}/infer?keys=${hash}`;
    await octets(infer, 'POST', request);
    return new Served(service, infer, request, await octets(infer, 'POST', request));
  }

  /** One for each client. */
  workers(clients: number): Worker[] {
    return Array.from({ length: clients }, () => async () => {
      await octets(this.#infer, 'POST', this.#request);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service[Symbol.asyncDispose]();
  }
}

async function octets(url: string, method: string, body: BodyInit): Promise<Uint8Array> {
  const response = await fetch(url, { method, body, headers: OCTETS });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (response.ok) return bytes;
  throw new Error(`${method} was answered with ${response.status}: ${new TextDecoder().decode(bytes)}`);
}
