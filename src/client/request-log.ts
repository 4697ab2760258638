import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { BlindbeatError } from '../errors.ts';
import { inFile, readWhole } from '../files/input.ts';
import { type OutputFiles, writeOutput } from '../files/output.ts';
import { type Fault, hex, list, notNegative, parse, record, requireFormat } from '../schema.ts';

const FORMAT = 'blindbeat requests';
const VERSION = 1;
const FAULT: Fault = { code: 'FORMAT', title: 'not a usable list of requests', root: 'list' };
/** Requests that are remembered; older ones are named with --request. */
const MOST_REQUESTS = 1000;
/** More than the longest list that is written. */
const MAX_BYTES = 4 << 20;
/** Characters of a file's or a recording's name that are kept. */
const MOST_NAME = 128;

const name = () => v.pipe(v.string('a text'), v.maxLength(MOST_NAME, `at most ${MOST_NAME} characters`));
const time = () => v.pipe(v.string('a time'), v.isoTimestamp('a time such as 2026-01-31T12:00:00.000Z'));

/** The schema of `RequestNote`. */
const NoteSchema = record({
  /** `requestDigest` of the request. */
  digest: hex(64),
  /** Where it was written. */
  file: name(),
  time: time(),
  /** The segment: the recording's name, where it starts and how long it is, in seconds. */
  recording: name(),
  startSeconds: notNegative(),
  seconds: notNegative(),
  /** The reply that was decrypted last, and when. */
  reply: v.optional(record({ digest: hex(64), time: time() })),
});

/** What a client remembers of a request; nothing of the signal. */
export type RequestNote = v.InferOutput<typeof NoteSchema>;

const LogSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  /** The key pair: requests under others are forgotten. */
  keyId: hex(32),
  requests: list(NoteSchema, MOST_REQUESTS),
});

/** Where a folder of keys keeps its requests. */
export function requestLogFile(folder: string): string {
  return join(folder, 'requests.json');
}

/** A file's or recording's name as it is kept: of a long one its end, which says more than its start. */
export function shortName(text: string): string {
  return text.slice(-MOST_NAME);
}

/** The requests of a key pair that were noted in its folder, oldest first. */
export class RequestLog {
  readonly path: string;
  readonly #keyId: string;
  readonly #requests: RequestNote[];

  private constructor(path: string, keyId: string, requests: RequestNote[]) {
    this.path = path;
    this.#keyId = keyId;
    this.#requests = requests;
  }

  /**
   * Reads a folder's list; it is empty where there is none yet, or where it is of other keys.
   *
   * @throws BlindbeatError FILE or FORMAT
   */
  static async read(folder: string, keyId: string): Promise<RequestLog> {
    const path = requestLogFile(folder);
    if (!existsSync(path)) return new RequestLog(path, keyId, []);
    const bytes = await readWhole(path, { what: 'a list of requests', limit: MAX_BYTES });
    const log = await inFile(path, () => parseLog(bytes));
    return new RequestLog(path, keyId, log.keyId === keyId ? log.requests : []);
  }

  /** The request with this digest, if it was noted. */
  find(digest: string): RequestNote | undefined {
    return this.#requests.find((request) => request.digest === digest);
  }

  /** Adds a request; of more than 1000 the oldest is forgotten. */
  note(request: RequestNote): void {
    this.#requests.push(request);
    this.#requests.splice(0, this.#requests.length - MOST_REQUESTS);
  }

  /** Remembers which reply to a request was decrypted. */
  noteReply(request: RequestNote, reply: { digest: string; time: string }): void {
    request.reply = reply;
  }

  /**
   * Writes the list, for its owner alone; with `files` beside others, all or none.
   *
   * @throws BlindbeatError FILE
   */
  async write(files?: OutputFiles): Promise<void> {
    const content = { format: FORMAT, version: VERSION, keyId: this.#keyId, requests: this.#requests };
    const text = `${JSON.stringify(content, null, 1)}\n`;
    if (files) await files.write(this.path, text, { mode: 0o600 });
    else await writeOutput(this.path, text, { mode: 0o600 });
  }
}

function parseLog(bytes: Uint8Array): v.InferOutput<typeof LogSchema> {
  const remedy = 'delete it, and name requests with --request when their replies are decrypted';
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    requireFormat(value, FORMAT, VERSION, FAULT);
    return parse(LogSchema, value, FAULT);
  } catch (cause) {
    const found = cause instanceof BlindbeatError ? cause.message : `${FAULT.title}: it is no JSON`;
    throw new BlindbeatError('FORMAT', `${found}\n${remedy}`, { cause });
  }
}
