import { Client } from '../../src/ckks/client.ts';
import { compile } from '../../src/ckks/planner/compile.ts';
import type { SecretKey } from '../../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, Server } from '../../src/ckks/server.ts';
import { concat } from '../../src/ckks/wire/container.ts';
import type { ParsedManifest } from '../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../src/ckks/wire/reply.ts';
import { DEFAULT_PREPROCESSING } from '../../src/ecg/preprocess.ts';
import { Random } from '../../src/ecg/random.ts';
import type { Model } from '../../src/model/model.ts';

const SAMPLES = 64;

/**
 * A client and a server on a plan of the least network there is: one block of one channel. Attacks on the
 * key need nothing of the network but its replies, and these come fast.
 */
export class Victim implements Disposable {
  readonly client: Client;
  readonly secret: SecretKey;
  readonly #server: Server;
  readonly #keys: EvaluationKeys;
  readonly #random: Random;

  private constructor(client: Client, secret: SecretKey, server: Server, keys: EvaluationKeys, seed: number) {
    this.client = client;
    this.secret = secret;
    this.#server = server;
    this.#keys = keys;
    this.#random = new Random(seed);
  }

  /**
   * @param n ring degree
   * @param seed of the segments; keys are never seeded
   */
  static async open(n: number, seed: number): Promise<Victim> {
    const server = await Server.open(compile(leastModel(), { n }), { threads: 1 });
    const client = await Client.open(server.manifest);
    const secret = client.createSecretKey();
    const keys = server.loadKeys(concat(client.evaluationKeys(secret)));
    return new Victim(client, secret, server, keys, seed);
  }

  get manifest(): ParsedManifest {
    return this.client.manifest;
  }

  [Symbol.dispose](): void {
    this.#keys[Symbol.dispose]();
    this.#server[Symbol.dispose]();
    this.secret[Symbol.dispose]();
    this.client[Symbol.dispose]();
  }

  /** A segment that only the client should know. */
  segment(): Float32Array {
    return Float32Array.from({ length: SAMPLES }, () => this.#random.between(-1, 1));
  }

  /** One round trip: the server's honest reply to a request for this segment. */
  ask(segment: Float32Array): { request: Uint8Array; reply: Uint8Array } {
    const request = this.client.encrypt(this.secret, segment);
    return { request, reply: this.#server.evaluate(request, this.#keys) };
  }

  /** The key's residues, for the judge of an attack. */
  get residues(): Uint32Array {
    return this.secret.residuesFor(this.manifest);
  }

  /** What the client finds in a reply to its request. */
  scores({ request, reply }: { request: Uint8Array; reply: Uint8Array }): number[] {
    return this.client.decrypt(this.secret, reply, requestDigest(request)).scores;
  }
}

/** One block, one channel, x^2 / 8 + x / 4, four classes. */
function leastModel(): Model {
  return {
    name: 'least',
    classes: ['N', 'A', 'O', '~'],
    preprocessing: { ...DEFAULT_PREPROCESSING, samples: SAMPLES, seconds: 0.5, minimumSeconds: 0.5 },
    samples: SAMPLES,
    blocks: [
      {
        inChannels: 1,
        outChannels: 1,
        kernel: 1,
        dilation: 1,
        helix: 0,
        weights: Float32Array.of(0.5),
        bias: Float32Array.of(0.1),
        activation: {
          kind: 'polynomial',
          degree: 2,
          coefficients: Float32Array.of(0, 0.25, 0.125),
          range: [-4, 4],
        },
        pool: 2,
        pooling: 'average',
      },
    ],
    dense: { weights: Float32Array.of(8, -4, 2, -8), bias: Float32Array.of(0.5, -0.5, 0.2, -1) },
    scoreLimit: 32,
    provenance: {
      data: 'none',
      seed: 1,
      command: 'leastModel',
      createdAt: '2026-01-01T00:00:00.000Z',
      metrics: {},
    },
  };
}
