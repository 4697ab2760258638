import { isIP } from 'node:net';
import * as v from 'valibot';
import { BlindbeatError } from '../../errors.ts';
import { readTextFile } from '../../files/input.ts';
import { type Fault, list, numberWithin, parse, record, refuse, text, wholeNumber } from '../../schema.ts';

const MAX_BYTES = 1 << 16;
const MOST_MODELS = 100;
const MOST_LISTED = 1000;
const MOST_MEGABYTES = 1e9;

const megabytes = () => v.optional(numberWithin(1, MOST_MEGABYTES));
const days = () => v.optional(numberWithin(0.001, 36_500));

function isNetwork(address: string): boolean {
  const [ip, bits = '0', ...more] = address.split('/');
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(ip)]!;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most && more.length === 0;
}

const NETWORK = 'an IP address, or a network such as 10.0.0.0/8';
const network = () => v.pipe(text(), v.check(isNetwork, NETWORK));
const ORIGIN = 'an origin such as https://clinic.example';
const origin = () =>
  v.pipe(
    text(),
    v.check((url) => URL.canParse(url) && new URL(url).origin === url, ORIGIN),
  );

/** Unknown settings are refused: one that is misspelt would be missed in silence. */
const ConfigSchema = v.strictObject(
  {
    /** Where to listen; without tokens on this machine alone. */
    host: v.optional(text(), '127.0.0.1'),
    /** 0 takes any that is free. */
    port: v.optional(wholeNumber(0, 65_535), 8080),
    /** Names of shipped models, or folders. */
    models: v.optional(list(text(), MOST_MODELS, 1), ['deepcardio-deg2']),
    /** Where nats-server is: evaluators are those of `blindbeat worker`, who open models. */
    nats: v.optional(text()),
    /** For tokens and keys; without one there are no tokens, and keys go when the service ends. */
    dataDir: v.optional(text()),
    /** Processes that evaluate, and threads of each. */
    workers: v.optional(wholeNumber(1, 1024)),
    threads: v.optional(wholeNumber(1, 1024)),
    /** Requests that may wait. */
    mostWaiting: v.optional(wholeNumber(1, 100_000)),
    /** Of the processes, for the keys of clients that asked lately. */
    keyMemoryMB: megabytes(),
    /** On the disk: keys of one token, of all, and how long after their last use. */
    keyQuotaMB: megabytes(),
    keyRoomMB: megabytes(),
    keyDays: days(),
    /** Of each token. */
    requestsPerMinute: v.optional(wholeNumber(1, 1e6)),
    /** Files in PEM. */
    tls: v.optional(record({ cert: text(), key: text() })),
    /** Other sites whose pages may ask. */
    origins: v.optional(list(origin(), MOST_LISTED)),
    /** Addresses of proxies in front, whose word on who asks is believed. */
    proxies: v.optional(list(network(), MOST_LISTED)),
  },
  ({ expected }) => (expected === 'never' ? 'no such setting' : 'an object'),
);

/** How a service runs. */
export type Config = v.InferOutput<typeof ConfigSchema>;
/** Settings, of which any may be left out. */
export type Settings = v.InferInput<typeof ConfigSchema>;

const FAULT: Fault = { code: 'USAGE', title: 'these settings are not usable', root: 'settings' };

/**
 * Fills in what is left out.
 *
 * @throws BlindbeatError USAGE that lists all that is wrong
 */
export function configOf(settings: Settings): Config {
  const config = parse(ConfigSchema, settings, FAULT);
  const foreign = (['models', 'workers', 'threads', 'keyMemoryMB'] as const).filter(
    (field) => settings[field] !== undefined,
  );
  if (config.nats !== undefined && foreign.length > 0)
    refuse(FAULT, [
      `${foreign.join(', ')}: give them to \`blindbeat worker\`: with nats nothing is evaluated here`,
    ]);
  return config;
}

/**
 * Reads settings from a file of JSON.
 *
 * @throws BlindbeatError FILE, or USAGE for what is no JSON or no settings
 */
export async function readSettings(path: string): Promise<Settings> {
  const content = await readTextFile(path, 'the settings of a service', MAX_BYTES);
  try {
    const value: unknown = JSON.parse(content);
    const fault = { ...FAULT, title: `${path} is not usable` };
    if (Array.isArray(value)) refuse(fault, ['settings: expected an object, got a list']);
    parse(ConfigSchema, value, fault);
    return value as Settings;
  } catch (cause) {
    if (cause instanceof BlindbeatError) throw cause;
    throw new BlindbeatError('USAGE', `${path} is no JSON`, { cause });
  }
}
