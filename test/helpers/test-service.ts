import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CompiledModel, type CompileOptions, compile } from '../../src/ckks/planner/compile.ts';
import { Server } from '../../src/ckks/server.ts';
import { wireSizes } from '../../src/ckks/wire/file-sizes.ts';
import { BlindbeatError, ERROR_CODES, type ErrorCode } from '../../src/errors.ts';
import type { Model } from '../../src/model/model.ts';

/** Answers in place of the service, and then gives true. */
type Fault = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>;

/** A service as a client sees it: the smallest that keeps to the contract, around a real server. */
export class TestService implements Disposable {
  url = '';
  /** What was asked and answered: `PUT /v1/keys/... 202`. */
  readonly log: string[] = [];
  /** Asked before each request; the first that answers does so once. */
  readonly faults: Fault[] = [];
  /** By hash, as far as they arrived. */
  readonly keys = new Map<string, Buffer>();
  /** The one that is let in; anybody if there is none. */
  token: string | undefined;
  /** Requests that are being evaluated, at most. */
  mostAtOnce = 0;
  readonly server: Server;
  readonly #owned = new DisposableStack();
  #atOnce = 0;

  private constructor(server: Server) {
    this.server = server;
  }

  /** Starts a service of one model on a port of its own; dispose it. */
  static start(model: Model, options: CompileOptions = {}): Promise<TestService> {
    return TestService.startCompiled(compile(model, options));
  }

  /** The same of what was compiled before. */
  static async startCompiled(compiled: CompiledModel): Promise<TestService> {
    const service = new TestService(await Server.open(compiled, { threads: 1 }));
    const listener = createServer((request, response) => void service.#serve(request, response));
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    service.#owned.use(service.server);
    service.#owned.defer(() => {
      listener.closeAllConnections();
      listener.close();
    });
    service.url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
    return service;
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Adds a fault that happens once, to the next request whose method and address begin so. */
  once(what: string, fault: (request: IncomingMessage, response: ServerResponse) => unknown): void {
    this.faults.push(async (request, response) => {
      if (!`${request.method} ${request.url}`.startsWith(what)) return false;
      await fault(request, response);
      return true;
    });
  }

  /** How often something was asked. */
  count(what: string): number {
    return this.log.filter((line) => line.startsWith(what)).length;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('close', () =>
      this.log.push(
        `${request.method} ${request.url} ${response.writableEnded ? response.statusCode : 'cut'}`,
      ),
    );
    try {
      for (const [i, fault] of this.faults.entries()) {
        if (!(await fault(request, response))) continue;
        this.faults.splice(i, 1);
        return;
      }
      const { token } = this;
      if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
        throw new BlindbeatError('UNAUTHORISED', 'a token is needed');
      await this.#answer(request, response);
    } catch (error) {
      if (!response.destroyed) refuse(response, error);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, 'http://here');
    const { manifest } = this.server;
    const id = manifest.model.name;
    const { evaluationKeys, request: requestBytes, reply } = wireSizes(manifest);
    const key = /^\/v1\/keys\/([0-9a-f]{64})$/.exec(pathname)?.[1];
    if (pathname === '/v1/models') {
      const bytes = { evaluationKeys, request: requestBytes, reply };
      const { planHash, classes } = manifest;
      json(response, 200, { models: [{ id, planHash, classes, bytes }] });
    } else if (pathname === `/v1/models/${id}/manifest`) json(response, 200, manifest);
    else if (pathname === `/v1/models/${id}/infer`) {
      await this.#infer(request, response, searchParams.get('keys') ?? '');
    } else if (key === undefined || (searchParams.get('model') ?? id) !== id)
      throw new BlindbeatError('NOT_FOUND', `nothing is at ${pathname}`);
    else if (request.method === 'PUT') await this.#takeKeys(request, response, key, evaluationKeys);
    else if (request.method === 'DELETE') {
      this.keys.delete(key);
      response.writeHead(204).end();
    } else {
      const received = this.keys.get(key)?.length;
      if (received === undefined) throw noKeys();
      const complete = received === evaluationKeys;
      json(response, 200, { hash: key, size: evaluationKeys, received, complete, expires: null });
    }
  }

  async #takeKeys(
    request: IncomingMessage,
    response: ServerResponse,
    hash: string,
    size: number,
  ): Promise<void> {
    const [, from, to, total] = /^bytes (\d+)-(\d+)\/(\d+)$/
      .exec(request.headers['content-range']!)!
      .map(Number);
    if (total !== size) throw new BlindbeatError('FORMAT', 'keys of this model have another size');
    const before = this.keys.get(hash) ?? Buffer.alloc(0);
    if (before.length === size) return json(response, 200, { received: size });
    if (from !== before.length) {
      const detail = `expected the bytes from ${before.length} on`;
      return problem(response, 'MISMATCH', detail, { received: before.length });
    }
    // What arrives stays, however the connection ends.
    for await (const piece of request)
      this.keys.set(hash, Buffer.concat([this.keys.get(hash) ?? before, piece]));
    const content = this.keys.get(hash)!;
    if (content.length !== to + 1) throw new BlindbeatError('FORMAT', 'a piece of another length');
    if (content.length < size) return json(response, 202, { received: content.length });
    if (createHash('sha256').update(content).digest('hex') !== hash) {
      this.keys.delete(hash);
      throw new BlindbeatError('FORMAT', 'the keys have another hash: send them again');
    }
    json(response, 201, { received: size });
  }

  async #infer(request: IncomingMessage, response: ServerResponse, hash: string): Promise<void> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#atOnce);
    try {
      const body = await read(request);
      const file = this.keys.get(hash);
      if (file?.length !== wireSizes(this.server.manifest).evaluationKeys) throw noKeys();
      await new Promise((next) => setImmediate(next)); // others may be heard meanwhile
      using keys = this.server.loadKeys(file);
      const started = performance.now();
      const reply = this.server.evaluate(body, keys);
      const ms = performance.now() - started;
      const times = `queue;dur=0.5, load;dur=1.25, evaluate;dur=${ms.toFixed(3)}`;
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'server-timing': times });
      response.end(reply);
    } finally {
      this.#atOnce--;
    }
  }
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

function noKeys(): BlindbeatError {
  return new BlindbeatError('KEYS_NOT_FOUND', 'evaluation keys not found: send them');
}

function refuse(response: ServerResponse, error: unknown): void {
  const code = error instanceof BlindbeatError ? error.code : 'INTERNAL';
  problem(response, code, (error as Error).message);
}

/** A refusal in the form of RFC 9457. */
export function problem(response: ServerResponse, code: ErrorCode, detail: string, more: object = {}): void {
  const { status } = ERROR_CODES[code];
  json(
    response,
    status,
    { type: `/errors#${code}`, title: code, status, detail, code, ...more },
    'problem+json',
  );
}

function json(response: ServerResponse, status: number, body: object, type = 'json'): void {
  response.writeHead(status, { 'content-type': `application/${type}` }).end(JSON.stringify(body));
}
