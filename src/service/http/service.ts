import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { DestinationStream, Logger } from 'pino';
import { BlindbeatError } from '../../errors.ts';
import { readTextFile } from '../../files/input.ts';
import { makeFolder } from '../../files/output.ts';
import { openEvaluators } from '../evaluators/open.ts';
import type { Evaluators } from '../evaluators.ts';
import { KeyStore } from '../key-store.ts';
import { type TokenFile, tokensIn } from '../tokens.ts';
import { LOCAL } from './access.ts';
import { buildApp } from './app.ts';
import type { Config } from './config.ts';
import { noting } from './event-log.ts';
import { createLog } from './request-log.ts';

/** A service that listens. Disposing it finishes what runs, and ends. */
export interface Service extends AsyncDisposable {
  url: string;
  models: string[];
  /** Whether requests need a token. */
  tokens: boolean;
}

/** How long requests that run when a service ends may take, in milliseconds. */
const GRACE_MS = 30_000;
const SWEEP_MS = 600_000;
const DAY_MS = 24 * 3_600_000;
const MAX_PEM_BYTES = 1 << 20;

/**
 * Starts a service: opens evaluators and the keys on the disk, and listens.
 *
 * @param to where its log goes, a line of JSON at a time
 * @throws BlindbeatError USAGE for settings that do not fit together, or without tokens an address that others reach;
 * ENVIRONMENT for one that is taken; FILE or FORMAT for files that cannot be used; what `openEvaluators` throws
 */
export async function startService(
  config: Config,
  to: DestinationStream,
  signal?: AbortSignal,
): Promise<Service> {
  await using owned = new AsyncDisposableStack();
  const log = createLog(to);
  const tokens = config.dataDir === undefined ? null : tokensIn(config.dataDir);
  const required = (await tokens?.isRequired()) ?? false;
  if (!required) requireThisMachine(config.host);
  const tls = config.tls && (await readTls(config.tls));
  const keys = await openKeys(config, owned);
  const evaluators = owned.use(await openAny(config, noting(log), signal));
  const { requestsPerMinute, origins, proxies } = config;
  const app = await buildApp({ evaluators, keys, tokens, log, requestsPerMinute, origins, proxies, tls });
  owned.defer(() => finish(app, evaluators));
  const sweeping = setInterval(() => sweep(keys, tokens, evaluators, log), SWEEP_MS);
  owned.defer(() => clearInterval(sweeping));
  const url = await listen(app, config);
  signal?.throwIfAborted();
  const models = [...evaluators.models.keys()];
  log.info({ listening: url, models, tokens: required });
  const held = owned.move();
  return {
    ...{ url, tokens: required, models },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function requireThisMachine(host: string): void {
  if (['localhost', '127.0.0.1', '::1'].includes(host)) return;
  throw new BlindbeatError(
    'USAGE',
    `without tokens everybody who reaches ${host} could use this service: make one first (blindbeat token create NAME ` +
      '--data-dir DIR), and serve with that --data-dir, or leave --host out',
  );
}

async function readTls({ cert, key }: { cert: string; key: string }): Promise<{ cert: string; key: string }> {
  const tls = {
    cert: await readTextFile(cert, 'a certificate', MAX_PEM_BYTES),
    key: await readTextFile(key, "a certificate's key", MAX_PEM_BYTES),
  };
  try {
    createSecureContext(tls);
  } catch (cause) {
    const { message } = cause as Error;
    throw new BlindbeatError('USAGE', `${cert} and ${key} are no certificate and its key: ${message}`, {
      cause,
    });
  }
  return tls;
}

/** Without a folder for data, keys are in one that goes with the service. */
async function openKeys(config: Config, owned: AsyncDisposableStack): Promise<KeyStore> {
  const { keyQuotaMB, keyRoomMB, keyDays } = config;
  let { dataDir } = config;
  if (dataDir === undefined) {
    const folder = await mkdtemp(join(tmpdir(), 'blindbeat-'));
    owned.defer(() => rm(folder, { recursive: true, force: true }));
    dataDir = folder;
  } else await makeFolder(dataDir);
  return KeyStore.open(join(dataDir, 'keys'), {
    ...(keyQuotaMB !== undefined && { quota: 1e6 * keyQuotaMB }),
    ...(keyRoomMB !== undefined && { room: 1e6 * keyRoomMB }),
    ...(keyDays !== undefined && { keepMs: DAY_MS * keyDays }),
  });
}

/** Evaluators of this machine, or with NATS those of others. */
async function openAny(
  { models, nats, workers, threads, mostWaiting, keyMemoryMB }: Config,
  onEvent: ReturnType<typeof noting>,
  signal?: AbortSignal,
): Promise<Evaluators> {
  if (nats !== undefined) {
    const { NatsEvaluators } = await import('../nats/evaluators.ts'); // others start without it
    return NatsEvaluators.open({ servers: nats, mostWaiting, onEvent, signal });
  }
  return openEvaluators({
    ...{ models, workers, threads, mostWaiting, onEvent, signal },
    ...(keyMemoryMB !== undefined && { keyMemory: 1e6 * keyMemoryMB }),
  });
}

async function listen(app: FastifyInstance, { host, port, tls }: Config): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = REASONS[code ?? ''];
    if (why === undefined) throw cause;
    throw new BlindbeatError('ENVIRONMENT', `${host}, port ${port}: ${why}`, { cause });
  }
  const { address, port: found, family } = app.server.address() as AddressInfo;
  return `${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${found}`;
}

const REASONS: Record<string, string> = {
  EADDRINUSE: 'it is taken: end what listens there, or choose another --port',
  EACCES: 'it is not yours to take: choose a --port of 1024 or more',
  EADDRNOTAVAIL: 'this machine has no such address: choose another --host',
  ENOTFOUND: 'there is no such name: choose another --host',
};

/** Refuses more work while that which it has is finished, then closes; what takes too long is cut off. */
async function finish(app: FastifyInstance, evaluators: Evaluators): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
  await evaluators.drain();
  await app.close();
  clearTimeout(cut);
}

async function sweep(
  keys: KeyStore,
  tokens: TokenFile | null,
  evaluators: Evaluators,
  log: Logger,
): Promise<void> {
  try {
    const required = (await tokens?.isRequired()) ?? false;
    const owners = required ? (await tokens!.list()).map(({ id }) => id) : [LOCAL];
    const gone = await keys.sweep((owner) => owners.includes(owner));
    for (const hash of gone) await evaluators.forget(hash);
    if (gone.length > 0) log.info({ expiredKeys: gone.length });
  } catch (err) {
    log.error({ err });
  }
}
