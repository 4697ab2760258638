import { setTimeout as sleep } from 'node:timers/promises';
import { headers, type NatsConnection, RequestError } from '@nats-io/transport-node';
import { type Answer, doorSubject, HEADER, type JobHeader } from './protocol.ts';

/** How long a front door may be away or answer nothing, and when it is asked again, in milliseconds. */
const GRACE_MS = 5000;
const RETRY_MS = 250;
const ASK_MS = 5000;
/** The same of one that was away for longer. */
const ASK_GONE_MS = 500;
/** How long it is tried while nats-server is away. */
const MOST_MS = 30_000;
const MOST_KNOWN = 1000;

/** The front doors, as a worker speaks to them. */
export class Doors {
  readonly #connection: NatsConnection;
  /** Those that did not come back. */
  readonly #gone = new Set<string>();

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /**
   * Whether a job is still waited for: not if it was answered, or front door or client are gone.
   *
   * @throws Error when nats-server cannot be reached
   */
  async wants(job: JobHeader): Promise<boolean> {
    return (await this.#ask(job)) === '1';
  }

  /**
   * Tells what came of a job, so that it has been heard or nobody is there to hear it.
   *
   * @throws Error when nats-server cannot be reached, or nobody confirms
   */
  async tell(job: JobHeader, answer: Answer, reply?: Uint8Array): Promise<void> {
    await this.#ask(job, JSON.stringify(answer), reply);
  }

  /** What the front door says; null if it is gone. */
  async #ask({ door, job }: JobHeader, header?: string, data?: Uint8Array): Promise<string | null> {
    for (const start = performance.now(); ; await sleep(RETRY_MS)) {
      const spent = () => performance.now() - start;
      try {
        const more = headers();
        if (header !== undefined) more.set(HEADER, header);
        const timeout = this.#gone.has(door) ? ASK_GONE_MS : ASK_MS;
        const options = { timeout, ...(header !== undefined && { headers: more }) };
        const answer = await this.#connection.request(doorSubject(door, job), data, options);
        this.#gone.delete(door);
        return answer.string();
      } catch (error) {
        const isNobody = error instanceof RequestError && error.isNoResponders();
        if ((isNobody || (await this.#isConnected())) && (this.#gone.has(door) || spent() > GRACE_MS)) {
          if (this.#gone.size < MOST_KNOWN) this.#gone.add(door);
          return null;
        }
        if (spent() > MOST_MS || this.#connection.isClosed()) throw error;
      }
    }
  }

  /** Whether nats-server answers, so that silence is a front door's. */
  async #isConnected(): Promise<boolean> {
    const answers = this.#connection.rtt().then(
      () => true,
      () => false,
    );
    return Promise.race([answers, sleep(ASK_GONE_MS, false)]);
  }
}
