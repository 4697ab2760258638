/** The one place where the code under test is called by names that its next version may change. */
import { Client } from '../src/ckks/client.ts';
import { type CompileOptions, compile } from '../src/ckks/planner/compile.ts';
import type { Plan } from '../src/ckks/planner/plan.ts';
import { readSecretKey, type SecretKey, writeSecretKey } from '../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, Server } from '../src/ckks/server.ts';
import { concat } from '../src/ckks/wire/container.ts';
import type { ParsedManifest } from '../src/ckks/wire/manifest.ts';
import { requestDigest } from '../src/ckks/wire/reply.ts';
import { Random } from '../src/ecg/random.ts';
import { forward } from '../src/model/forward.ts';
import type { Model } from '../src/model/model.ts';

/** Scores of a decrypted reply may be this far from those in the clear. */
const PRECISION = 2e-3;

/** One plan with a server, a client and its keys. */
export class World implements Disposable {
  readonly model: Model;
  readonly plan: Plan;
  readonly server: Server;
  readonly client: Client;
  readonly secret: SecretKey;
  readonly keyFile: Uint8Array;
  readonly keys: EvaluationKeys;

  private constructor(model: Model, server: Server, client: Client) {
    this.model = model;
    this.plan = server.plan;
    this.server = server;
    this.client = client;
    this.secret = client.createSecretKey();
    this.keyFile = concat(client.evaluationKeys(this.secret));
    this.keys = server.loadKeys(this.keyFile);
  }

  static async open(model: Model, options: CompileOptions = {}): Promise<World> {
    const server = await openServer(model, options);
    return new World(model, server, await openClient(server.manifest));
  }

  get manifest(): ParsedManifest {
    return this.server.manifest;
  }

  /** SEAL objects alive on behalf of client and server. */
  get handles(): number {
    return this.server.liveHandles + this.client.liveHandles;
  }

  /** Bytes of the kernels' memory in use. */
  get kernelBytes(): number {
    return this.server.memoryInUse;
  }

  /** A segment that the client takes. */
  segment(seed: number): Float32Array {
    const random = new Random(seed);
    return Float32Array.from({ length: this.model.samples }, () => random.between(-0.8, 0.8));
  }

  /** Whether a good request still gives the right scores: what is wrong, or null. */
  check(seed: number): string | null {
    const segment = this.segment(seed);
    const request = this.client.encrypt(this.secret, segment);
    const reply = this.server.evaluate(request, this.keys);
    const { scores } = decrypt(this.client, this.secret, reply, request);
    const right = forward(this.model, segment).scores;
    const off = Math.max(...scores.map((s, i) => Math.abs(s - right[i])));
    return off < PRECISION ? null : `a good request gives scores that are ${off.toExponential(1)} off`;
  }

  [Symbol.dispose](): void {
    this.keys[Symbol.dispose]();
    this.client[Symbol.dispose]();
    this.server[Symbol.dispose]();
  }
}

/** A server of a model, with one thread. */
export async function openServer(model: Model, options: CompileOptions): Promise<Server> {
  return Server.open(compile(model, options), { threads: 1 });
}

/** Opens a client with what may be no manifest. */
export async function openClient(manifest: unknown): Promise<Client> {
  return Client.open(manifest);
}

/** Decrypts the reply to a request. */
export function decrypt(
  client: Client,
  secret: SecretKey,
  reply: Uint8Array,
  request: Uint8Array,
): { scores: number[] } {
  return client.decrypt(secret, reply, requestDigest(request));
}

/** Reads a secret key's file. */
export function readSecret(bytes: Uint8Array, manifest: ParsedManifest): SecretKey {
  return readSecretKey(bytes, manifest);
}

/** The file of a secret key. */
export function secretFile(secret: SecretKey, manifest: ParsedManifest): Uint8Array {
  return writeSecretKey(secret, manifest);
}

/** All evaluation keys of a secret key. */
export function evaluationKeyFile(client: Client, secret: SecretKey): Uint8Array {
  return concat(client.evaluationKeys(secret));
}
