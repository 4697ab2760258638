import type * as v from 'valibot';
import { wireSizes } from '../ckks/wire/file-sizes.ts';
import { type ParsedManifest, parseManifest } from '../ckks/wire/manifest.ts';
import { BlindbeatError } from '../errors.ts';
import { roundMs } from '../measure/stages.ts';
import { type Fault, hex, list, name, parse, record, text, wholeNumber } from '../schema.ts';
import { HttpClient, type HttpOptions, jsonOf } from './http/http-client.ts';
import { keysPath, type UploadOptions, uploadKeys } from './http/upload-keys.ts';
import type { KeyFile } from './key-storage/key-storage.ts';
import type { ServerReply } from './transport.ts';

/** More models than a service offers. */
const MOST_MODELS = 100;
const MOST_JSON_BYTES = 1 << 20;
/** More than any file of ours. */
const MOST_BYTES = 2 ** 32;
const FAULT: Fault = {
  code: 'FORMAT',
  title: 'the server tells of its models what cannot be',
  root: 'answer',
};

const bytes = () => wholeNumber(1, MOST_BYTES);
const ModelSchema = record({
  /** What the service calls it. */
  id: name(128),
  planHash: hex(64),
  classes: list(text(), MOST_MODELS, 1),
  bytes: record({ evaluationKeys: bytes(), request: bytes(), reply: bytes() }),
});
const ModelsSchema = record({ models: list(ModelSchema, MOST_MODELS) });

/** A model that a service offers. */
export type OfferedModel = v.InferOutput<typeof ModelSchema>;

/** Whose keys, of which model. */
export interface InferRequest {
  model: OfferedModel;
  /** SHA-256 of the evaluation keys file, hex. */
  keys: string;
  request: Uint8Array<ArrayBuffer>;
  signal?: AbortSignal;
}

/**
 * A service at an address, in Node and in the browser. Every call throws the service's refusal as a BlindbeatError
 * of its code, ENVIRONMENT when it cannot be reached, FORMAT when it answers what cannot be, and the signal's reason.
 */
export class HttpTransport {
  readonly #http: HttpClient;

  /** @throws BlindbeatError USAGE for what is no address or no token */
  constructor(url: string, options?: HttpOptions) {
    this.#http = new HttpClient(url, options);
  }

  /** The service's address. */
  get url(): string {
    return this.#http.url;
  }

  async models(signal?: AbortSignal): Promise<OfferedModel[]> {
    const answer = await this.#http.ask({
      method: 'GET',
      path: '/v1/models',
      limit: MOST_JSON_BYTES,
      signal,
    });
    return parse(ModelsSchema, jsonOf(answer), FAULT).models;
  }

  /**
   * A model's manifest, of which nothing was believed.
   *
   * @throws BlindbeatError MISMATCH when it is not the one that was offered
   */
  async manifest({ id, planHash, bytes }: OfferedModel, signal?: AbortSignal): Promise<ParsedManifest> {
    const path = `/v1/models/${encodeURIComponent(id)}/manifest`;
    const answer = await this.#http.ask({ method: 'GET', path, limit: MOST_JSON_BYTES, signal });
    const manifest = parseManifest(jsonOf(answer));
    const { evaluationKeys, request, reply } = wireSizes(manifest);
    const sizesFit =
      evaluationKeys === bytes.evaluationKeys && request === bytes.request && reply === bytes.reply;
    if (manifest.planHash === planHash && sizesFit) return manifest;
    throw new BlindbeatError(
      'MISMATCH',
      `${this.url}: the manifest of ${id} is not the one that the list of models names: try again; if it stays ` +
        'so, the server is at fault',
    );
  }

  /**
   * Sends what the service has not of an evaluation keys file.
   *
   * @returns bytes that were sent
   */
  uploadKeys({ id }: OfferedModel, file: KeyFile, options?: UploadOptions): Promise<number> {
    return uploadKeys(this.#http, id, file, options);
  }

  /** Has the service forget evaluation keys. */
  async deleteKeys({ id }: OfferedModel, hash: string, signal?: AbortSignal): Promise<void> {
    const path = keysPath(hash, id);
    await this.#http.ask({ method: 'DELETE', path, limit: MOST_JSON_BYTES, signal });
  }

  /**
   * Has a request evaluated: one POST. `upMs` is all until the answer began but the server's own time, waiting
   * included; a browser that may not see the server's times counts everything as the server's.
   *
   * @throws BlindbeatError KEYS_NOT_FOUND when the service does not have the keys, BUSY when it has too much to do
   */
  async infer({ model, keys, request, signal }: InferRequest): Promise<ServerReply> {
    const path = `/v1/models/${encodeURIComponent(model.id)}/infer?keys=${keys}`;
    const limit = model.bytes.reply;
    const answer = await this.#http.ask({ method: 'POST', path, body: request, limit, work: true, signal });
    const { beganMs, endedMs } = answer;
    const { queue = 0, load = 0, evaluate } = serverTimes(answer.headers.get('server-timing') ?? '');
    const ms = evaluate ?? beganMs;
    return {
      reply: answer.body,
      ms: roundMs(ms),
      layers: [],
      upMs: roundMs(Math.max(0, beganMs - queue - load - ms)),
      downMs: roundMs(endedMs - beganMs),
      queueMs: roundMs(queue),
      loadKeysMs: roundMs(load),
    };
  }
}

/** Milliseconds by name, of a Server-Timing header: `queue;dur=1.5, load;dur=0, evaluate;dur=812.3`. */
function serverTimes(header: string): Record<string, number | undefined> {
  const found = header.slice(0, 1000).matchAll(/(?:^|,)\s*(\w+)\s*;\s*dur\s*=\s*(\d+(?:\.\d+)?)/g);
  return Object.fromEntries(Array.from(found, ([, name, ms]) => [name, Number(ms)]));
}
