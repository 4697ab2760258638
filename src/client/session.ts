import { Client } from '../ckks/client.ts';
import { keyCount } from '../ckks/keyswitch/key-set.ts';
import type { Plan } from '../ckks/planner/plan.ts';
import type { SecretKey } from '../ckks/secret/secret-key.ts';
import type { ServerOptions } from '../ckks/server.ts';
import { parseManifest } from '../ckks/wire/manifest.ts';
import type { Decrypted } from '../ckks/wire/reply.ts';
import { BlindbeatError } from '../errors.ts';
import type { StartTask } from '../measure/progress.ts';
import { type StageTime, timed } from '../measure/stages.ts';
import { RemoteServer } from './process-transport.ts';

interface SessionOptions {
  /** Name or folder, for the server to load; and the name that the loaded model must have. */
  model: string;
  name: string;
  server: ServerOptions;
}

/** What happens once, and with every segment; in milliseconds. */
export type OpeningStep = 'start' | 'keygen' | 'upKeys' | 'loadKeys';
export type SegmentStep = 'encrypt' | 'upRequest' | 'server' | 'down' | 'decrypt';

/** One segment's way. */
export interface RoundTrip {
  decrypted: Decrypted;
  layers: StageTime[];
  steps: Record<SegmentStep, number>;
  /** On which the server computed. */
  threads: number;
  /** Most memory that the server's process ever held, in bytes. */
  peakMemory: number;
}

/** Both roles of the protocol: this process is the client, with new keys, and a second one the server, which has them. */
export class Session implements Disposable {
  readonly plan: Plan;
  readonly steps: Record<OpeningStep, number>;
  readonly #server: RemoteServer;
  readonly #client: Client;
  readonly #secret: SecretKey;
  readonly #owned: DisposableStack;

  private constructor(
    plan: Plan,
    steps: Record<OpeningStep, number>,
    parts: { server: RemoteServer; client: Client; secret: SecretKey; owned: DisposableStack },
  ) {
    this.plan = plan;
    this.steps = steps;
    this.#server = parts.server;
    this.#client = parts.client;
    this.#secret = parts.secret;
    this.#owned = parts.owned;
  }

  /** Starts the server, makes keys and sends them. */
  static async open(options: SessionOptions, start: StartTask, signal: AbortSignal): Promise<Session> {
    using owned = new DisposableStack();
    const steps: Partial<Record<OpeningStep, number>> = {};
    const server = owned.use(RemoteServer.start(signal));
    const plan = await timed(steps, 'start', async () => {
      using _task = start('starting the server', { total: 1 });
      return await server.open(options.model, options.server);
    });
    const manifest = parseManifest(plan.manifest);
    if (manifest.model.name !== options.name) {
      throw new BlindbeatError('MISMATCH', 'the model changed while it was used: try again');
    }
    const total = keyCount(manifest.keys);
    const client = owned.use(await Client.open(manifest));
    const secret = await timed(steps, 'keygen', () => {
      using _task = start('making keys', { total: 1 });
      return owned.use(client.createSecretKey());
    });
    {
      using task = start('making evaluation keys', { total });
      const pieces = client.evaluationKeys(secret, (done) => task.update(done));
      for (;;) {
        const { value, done } = await timed(steps, 'keygen', () => pieces.next());
        if (done) break;
        await timed(steps, 'upKeys', () => server.sendKeys(value));
        signal.throwIfAborted();
      }
    }
    await timed(steps, 'loadKeys', async () => {
      using task = start('loading the keys', { total });
      await server.loadKeys((done) => task.update(done));
    });
    const parts = { server, client, secret, owned: owned.move() };
    return new Session(plan, steps as Record<OpeningStep, number>, parts);
  }

  /**
   * Encrypts a prepared segment, has it evaluated and decrypts the reply. `onProgress` is told the estimated
   * milliseconds of the stages that are done, of `plan.estimate.serverMs`.
   *
   * @throws BlindbeatError UNCLASSIFIABLE when a score is beyond the limit
   */
  async classify(segment: Float32Array, onProgress: (doneMs: number) => void): Promise<RoundTrip> {
    const steps: Partial<Record<SegmentStep, number>> = {};
    const units = this.plan.stages.map((stage) => stage.estimateMs);
    const request = await timed(steps, 'encrypt', () => this.#client.encrypt(this.#secret, segment));
    const answer = await this.#server.infer(request, (done) =>
      onProgress(units.slice(0, done).reduce((a, b) => a + b, 0)),
    );
    const decrypted = await timed(steps, 'decrypt', () => this.#client.decrypt(this.#secret, answer.reply));
    return {
      decrypted,
      layers: answer.layers,
      steps: {
        encrypt: steps.encrypt!,
        upRequest: answer.upMs,
        server: answer.ms,
        down: answer.downMs,
        decrypt: steps.decrypt!,
      },
      threads: answer.threads,
      peakMemory: answer.peakMemory,
    };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
