import { setTimeout as sleep } from 'node:timers/promises';
import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import { type ObjectStore, Objm } from '@nats-io/obj';
import { connect, type Msg, type MsgCallback, type NatsConnection, nanos } from '@nats-io/transport-node';
import type * as v from 'valibot';
import { BlindbeatError } from '../../errors.ts';
import { parse } from '../../schema.ts';
import { ALL_JOBS, BUCKET, FAULT, MOST_AGE_MS, STREAM } from './protocol.ts';

/** What happens between machines, for a log. */
export type EngineEvent =
  | { type: 'disconnected' }
  | { type: 'reconnected' }
  /** Something came that is not believed, or could not be done. */
  | { type: 'refused'; reason: Error };

/** Requests that may wait in all, 785 kB each on the disk of nats-server. */
const MOST_JOBS = 2000;
/** Keys go when they were sent so long ago; who still has them sends them again. */
const KEEP_KEYS_MS = 40 * 24 * 3_600_000;
/** A machine that is gone without a word is noticed after twice as long. */
const PING_MS = 10_000;
const RECONNECT_MS = 250;
const DRAIN_MS = 2000;

/** A connection to nats-server, with what is kept there. Disposing sends what is to be sent, and closes it. */
export class Engine implements AsyncDisposable {
  readonly connection: NatsConnection;
  readonly jobs: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly keys: ObjectStore;

  private constructor(connection: NatsConnection, manager: JetStreamManager, keys: ObjectStore) {
    this.connection = connection;
    this.jobs = jetstream(connection);
    this.manager = manager;
    this.keys = keys;
  }

  /**
   * Connects, and makes stream and bucket if need be. A connection that is lost comes back by itself.
   *
   * @param servers as nats://[USER:PASSWORD@]HOST:PORT, or several of one cluster between commas
   * @throws BlindbeatError USAGE for no such address; ENVIRONMENT if it cannot be reached, refuses, or has no JetStream
   */
  static async connect(servers: string, onEvent: (event: EngineEvent) => void): Promise<Engine> {
    const addresses = servers.split(',').map(addressOf);
    const [{ user, pass, tls }] = addresses;
    const hosts = addresses.map(({ host }) => host);
    try {
      await using owned = new AsyncDisposableStack();
      const connection = await connect({
        servers: hosts,
        ...(user && { user, pass }),
        ...(tls && { tls: {} }),
        maxReconnectAttempts: -1,
        reconnectTimeWait: RECONNECT_MS,
        pingInterval: PING_MS,
      });
      owned.defer(() => connection.close());
      void tellStatus(connection, onEvent);
      const manager = await jetstreamManager(connection);
      await requireStream(manager);
      const keys = await new Objm(connection).create(BUCKET, {
        storage: StorageType.File,
        ttl: nanos(KEEP_KEYS_MS),
      });
      owned.move();
      return new Engine(connection, manager, keys);
    } catch (cause) {
      const words =
        `${hosts.join(', ')}: ${(cause as Error).message}; expected a nats-server with JetStream there ` +
        '(nats-server -js), to which one may connect';
      throw new BlindbeatError('ENVIRONMENT', words, { cause });
    }
  }

  /**
   * Hands on what comes; what is no such message is refused.
   *
   * @param answer what it returns is sent to whoever asks
   */
  listen<S extends v.GenericSchema>(
    subject: string,
    schema: S,
    onEvent: (event: EngineEvent) => void,
    answer: (message: v.InferOutput<S>) => Promise<object | null>,
  ): void {
    const hear = async (message: Msg) => {
      try {
        const answered = await answer(read(schema, message.string()));
        if (answered) message.respond(JSON.stringify(answered));
      } catch (reason) {
        onEvent({ type: 'refused', reason: reason as Error });
      }
    };
    const callback: MsgCallback<Msg> = (error, message) => {
      if (!error) void hear(message);
    };
    this.connection.subscribe(subject, { callback });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const drained = this.connection.drain().catch(() => {});
    await Promise.race([drained, sleep(DRAIN_MS, undefined, { ref: false })]); // nats-server may be away
    await this.connection.close();
  }
}

/**
 * JSON from outside.
 *
 * @throws BlindbeatError INTERNAL for what is none, or not as its schema says
 */
export function read<S extends v.GenericSchema>(schema: S, json: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new BlindbeatError('INTERNAL', `${FAULT.title}: no JSON`, { cause });
  }
  return parse(schema, value, FAULT);
}

function addressOf(server: string): { host: string; user?: string; pass?: string; tls: boolean } {
  const url = URL.canParse(server) ? new URL(server) : null;
  if (!url || !['nats:', 'tls:'].includes(url.protocol) || url.hostname === '')
    throw new BlindbeatError(
      'USAGE',
      'an address of nats-server was expected, such as nats://127.0.0.1:4222',
    );
  const [user, pass] = [url.username, url.password].map(decodeURIComponent);
  return { host: url.host, tls: url.protocol === 'tls:', ...(user !== '' && { user, pass }) };
}

async function requireStream(manager: JetStreamManager): Promise<void> {
  const config = {
    subjects: [ALL_JOBS],
    max_age: nanos(MOST_AGE_MS),
    max_msgs: MOST_JOBS,
    discard: DiscardPolicy.New,
  };
  const streams = await manager.streams.list().next();
  if (streams.some(({ config: { name } }) => name === STREAM)) await manager.streams.update(STREAM, config);
  else
    await manager.streams.add({
      name: STREAM,
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
      ...config,
    });
}

async function tellStatus(connection: NatsConnection, onEvent: (event: EngineEvent) => void): Promise<void> {
  for await (const { type } of connection.status())
    if (type === 'disconnect') onEvent({ type: 'disconnected' });
    else if (type === 'reconnect') onEvent({ type: 'reconnected' });
}
