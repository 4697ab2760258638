import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import type { SecretKey } from '../../../src/ckks/secret/secret-key.ts';
import { concat } from '../../../src/ckks/wire/container.ts';
import type { ParsedManifest } from '../../../src/ckks/wire/manifest.ts';
import { hexDigest } from '../../../src/digest.ts';
import { type AppOptions, buildApp } from '../../../src/service/http/app.ts';
import { createLog } from '../../../src/service/http/request-log.ts';
import { ProblemReply } from '../../../src/service/http/schemas.ts';
import { KeyStore, type KeyStoreLimits } from '../../../src/service/key-store.ts';
import { type EvaluatorsHere, evaluatorsHere } from '../../helpers/evaluators-here.ts';
import { randomModel } from '../../helpers/random-model.ts';

/** So small that keys have 2 MB and an evaluation takes a tenth of a second. */
export const MODEL = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 });
export const BUDGET = { keyBudget: 2.2e6 };

/** A client with its files. */
export interface Person extends Disposable {
  client: Client;
  secret: SecretKey;
  keys: Uint8Array;
  /** SHA-256 of the keys. */
  hash: string;
  request: Uint8Array;
}

export async function makePerson(manifest: ParsedManifest): Promise<Person> {
  const client = await Client.open(manifest);
  const secret = client.createSecretKey();
  const keys = concat(client.evaluationKeys(secret));
  const samples = Float32Array.from({ length: manifest.samples }, (_, i) => Math.sin(i / 5));
  const request = client.encrypt(secret, samples);
  const dispose = () => {
    secret[Symbol.dispose]();
    client[Symbol.dispose]();
  };
  return { client, secret, keys, hash: hexDigest(keys), request, [Symbol.dispose]: dispose };
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-service-'));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A service on a port of this machine. */
export interface Running extends AsyncDisposable {
  url: string;
  port: number;
  evaluators: EvaluatorsHere;
  keys: KeyStore;
  manifest: ParsedManifest;
  /** How many are open. */
  connections(): Promise<number>;
  /** Its log. */
  lines: Record<string, unknown>[];
}

/** One evaluator for all services of a test file. */
export const openEvaluators = () => evaluatorsHere(MODEL, BUDGET);

export async function startService(
  evaluators: EvaluatorsHere,
  options: Partial<AppOptions> & { folder?: string; limits?: Partial<KeyStoreLimits> } = {},
): Promise<Running> {
  const { folder = temporaryFolder(), limits, ...rest } = options;
  const keys = await KeyStore.open(join(folder, 'keys'), limits);
  const lines: Running['lines'] = [];
  const log = createLog({ write: (line) => void lines.push(JSON.parse(line)) });
  const app = await buildApp({ evaluators, keys, tokens: null, log, ...rest });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const { manifest } = evaluators.models.get(MODEL.name)!;
  const url = `http://127.0.0.1:${port}`;
  return {
    ...{ url, port, evaluators, keys, manifest, lines },
    connections: promisify(app.server.getConnections.bind(app.server)),
    [Symbol.asyncDispose]: async () => {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

export const OCTETS = { 'content-type': 'application/octet-stream' };

/** The address of a key file. */
export function keysAt({ url, manifest }: Running, hash: string): string {
  return `${url}/v1/keys/${hash}?model=${manifest.model.name}`;
}

export function inferAt({ url, manifest }: Running, hash: string): string {
  return `${url}/v1/models/${manifest.model.name}/infer?keys=${hash}`;
}

export function put(to: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(to, { method: 'PUT', body: body as BodyInit, headers: { ...OCTETS, ...headers } });
}

export function post(to: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(to, { method: 'POST', body: body as BodyInit, headers: { ...OCTETS, ...headers } });
}

/** Bytes from `from` on, as a part of an upload. */
export function part(keys: Uint8Array, from: number, to: number): [Uint8Array, Record<string, string>] {
  return [keys.subarray(from, to), { 'content-range': `bytes ${from}-${to - 1}/${keys.length}` }];
}

/** Status and code of an answer, which is a sound problem. */
export async function problemIn(answer: Response | Promise<Response>): Promise<[number, string]> {
  const response = await answer;
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  if (!type.startsWith('application/problem+json'))
    throw new Error(`${response.status} ${type}: ${text.slice(0, 200)}`);
  const problem = v.parse(ProblemReply, JSON.parse(text));
  if (problem.status !== response.status) throw new Error(`${problem.status} in ${response.status}`);
  return [problem.status, problem.code];
}
