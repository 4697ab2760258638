import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

export interface Served {
  bytes: Uint8Array;
  /** Default `"1"`; null for none. */
  etag?: string | null;
  /** Answers Range requests; default true. */
  ranges?: boolean;
  /** The next answer stops after so many bytes, the one after that after the next number; then whole ones. */
  stops?: number[];
}

/** A real HTTP server on a port of its own, closed after the test file. */
export class FileServer {
  readonly files = new Map<string, Served | Handler>();
  /** What was asked and answered: `GET /name 206 bytes=10-`. */
  readonly log: string[] = [];
  url = '';
  /** The answer that stopped, and how much of the file the client has when it has all of it. */
  #stopped: { response: ServerResponse; at: number } | undefined;

  static async start(): Promise<FileServer> {
    const files = new FileServer();
    const server = createServer((request, response) => files.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    afterAll(() => {
      server.closeAllConnections();
      server.close();
    });
    files.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return files;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = (request.url ?? '').slice(1);
    const served = this.files.get(name);
    if (served === undefined) response.writeHead(404).end('none');
    else if (typeof served === 'function') served(request, response);
    else this.#send(served, request, response);
    const { method, headers } = request;
    this.log.push([method, name, response.statusCode, headers.range].filter(Boolean).join(' '));
  }

  #send(served: Served, { headers }: IncomingMessage, response: ServerResponse): void {
    const { bytes, etag = '"1"', ranges = true, stops = [] } = served;
    let from = 0;
    const range = /^bytes=(\d+)-$/.exec(headers.range ?? '');
    if (range && ranges && (!headers['if-range'] || headers['if-range'] === etag)) {
      from = Number(range[1]);
      if (from >= bytes.length) return void response.writeHead(416).end();
      response.statusCode = 206;
      response.setHeader('content-range', `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
    }
    if (etag !== null) response.setHeader('etag', etag);
    response.setHeader('content-length', bytes.length - from);
    const stop = stops.shift();
    if (stop === undefined) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, from + stop));
    this.#stopped = { response, at: from + stop };
  }

  /**
   * Cuts the connection of an answer that stopped, if a client with `size` bytes of the file has all of it.
   */
  cut(size: number): void {
    if (size !== this.#stopped?.at) return;
    this.#stopped.response.destroy();
    this.#stopped = undefined;
  }
}
