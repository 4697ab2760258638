import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { KeyFolder, openToOthers } from '../../client/key-storage/key-folder.ts';
import { findModel, type ModelChoice, type RemoteModel } from '../../client/remote-client.ts';
import { BlindbeatError } from '../../errors.ts';
import { isReadableByOthers, readTextFile } from '../../files/input.ts';
import { formatMs } from '../../measure/format.ts';
import { wholeNumber } from '../options.ts';
import { type Io, warn } from '../terminal/io.ts';

/** Which service, and how it lets the user in. */
export interface ServiceOptions {
  server?: string;
  tokenFile?: string;
}

/** What sending many requests takes. */
export interface BulkOptions extends ServiceOptions {
  /** Folder with keys. */
  keys?: string;
  /** How many requests are under way at a time. */
  concurrency?: number;
}

/** Names of the options that `bulkOptions` adds. */
export const BULK = ['keys', 'concurrency'] as const;
/** How many requests are under way at a time, if the user does not say. */
export const CONCURRENCY = 4;

/** What a user chooses about a server of their own; of a service somebody else has chosen it. */
const OF_THE_SERVER = ['outputs', 'keyBudget', 'keySwitching', 'scheduleCosts', 'backend', 'threads'];
/** Long enough to start a service again. */
const BULK_GIVE_UP_MS = 600_000;
const NOTE_EVERY_MS = 5000;
/** More than any token has. */
const MOST_TOKEN_BYTES = 4096;

/**
 * Adds the options of `ServiceOptions`.
 *
 * @param without options of the command that make no sense with a service
 */
export function serviceOptions(command: Command, without: string[] = []): Command {
  return command
    .addOption(
      new Option('--server <url>', 'have a service compute: `blindbeat serve`, here or elsewhere').conflicts([
        ...OF_THE_SERVER,
        ...without,
      ]),
    )
    .option('--token-file <file>', 'file with the token that the service wants');
}

/** `--keys` of a client of a service. */
export function keysOption(): Option {
  return new Option(
    '-k, --keys <dir>',
    'folder with keys for the service, made when there are none (default: one of yours for each plan)',
  );
}

/** `--concurrency` of many requests. */
export function concurrencyOption(): Option {
  return new Option(
    '--concurrency <n>',
    `how many requests are under way with the service at a time (default: ${CONCURRENCY})`,
  ).argParser(wholeNumber(1, 64));
}

/** Adds the options of `BulkOptions` beside those of `ServiceOptions`. */
export function bulkOptions(command: Command): Command {
  return command.addOption(keysOption()).addOption(concurrencyOption());
}

/**
 * Refuses options that are for a service where none is named.
 *
 * @param names of more such options of the command
 * @throws BlindbeatError USAGE
 */
export function requireServer<T extends ServiceOptions>(
  options: T,
  names: readonly (keyof T & string)[] = [],
): void {
  if (options.server !== undefined) return;
  const given = (['tokenFile', ...names] as const).find((name) => options[name] !== undefined);
  if (given === undefined) return;
  const flag = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new BlindbeatError('USAGE', `--${flag} is for a service: name it with --server`);
}

/** Which of a service's models the user means: the one that was named, or what `--model` is by itself. */
export function modelChoice(command: Command): ModelChoice {
  const { model } = command.opts();
  return command.getOptionValueSource('model') === 'default' ? { preferred: model } : { model };
}

/**
 * Finds a model of the service that was named. What fails for the moment is noted, not every time.
 *
 * @param bulk whether many requests will follow, for which a service may be away for minutes
 * @throws BlindbeatError as `findModel`; FILE for a token that cannot be read
 */
export async function findService(
  { server = '', tokenFile }: ServiceOptions,
  io: Io,
  { bulk = false, ...choice }: ModelChoice & { bulk?: boolean; signal: AbortSignal },
): Promise<RemoteModel> {
  const token = tokenFile === undefined ? undefined : await readToken(tokenFile, io);
  if (token !== undefined && isOpenToAll(server))
    warn(io, [`the token goes to ${server} unencrypted, for all on the way to read: use https`]);
  let told = Number.NEGATIVE_INFINITY;
  const onRetry = (error: BlindbeatError, waitMs: number) => {
    if (performance.now() - told < NOTE_EVERY_MS) return;
    told = performance.now();
    warn(io, [`${error.message}; trying again in ${formatMs(waitMs)}`], 'note');
  };
  const patience = bulk ? { giveUpMs: BULK_GIVE_UP_MS } : {};
  return findModel(server, { ...choice, token, onRetry, patience });
}

async function readToken(path: string, io: Io): Promise<string> {
  const text = await readTextFile(path, 'a token', MOST_TOKEN_BYTES);
  if (await isReadableByOthers(path)) warn(io, [openToOthers(path)]);
  return text.trim();
}

function isOpenToAll(url: string): boolean {
  const { protocol, hostname } = URL.parse(url) ?? {};
  return protocol === 'http:' && !/^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname ?? '');
}

/** Where keys for services are kept: in the folder that was named, or else in one of the user's for each plan. */
export function keyStorage(folder: string | undefined, io: Io): KeyFolder {
  const onWarning = (sentence: string) => warn(io, [sentence]);
  if (folder !== undefined) return new KeyFolder(folder, onWarning);
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return new KeyFolder(({ planHash }) => join(data, 'blindbeat', 'keys', planHash.slice(0, 16)), onWarning);
}
