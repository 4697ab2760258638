import * as v from 'valibot';
import { type Fault, hex, parse, record, wholeNumber } from '../../schema.ts';
import type { KeyFile } from '../key-storage/key-storage.ts';
import { type Answer, type HttpClient, jsonOf } from './http-client.ts';
import { ServiceError } from './service-error.ts';

/** Bytes of a piece: half a minute on a line of 1 Mbit/s. */
const PIECE = 1 << 22;
/** More than any answer about keys. */
const MOST_ANSWER_BYTES = 1 << 16;
/** Pieces in a row that the server wanted from elsewhere. */
const MOST_RESTARTS = 5;
const bytes = () => wholeNumber(0, Number.MAX_SAFE_INTEGER);
const KeysSchema = record({
  hash: hex(64),
  size: bytes(),
  received: bytes(),
  complete: v.boolean('true or false'),
});
const ReceivedSchema = record({ received: bytes() });
const FAULT: Fault = { code: 'FORMAT', title: 'the server tells of keys what cannot be', root: 'answer' };

/** Whom to tell, and when to give up. */
export interface UploadOptions {
  /** Told how many bytes of the file the server has. */
  onProgress?: (received: number) => void;
  signal?: AbortSignal;
}

/** Where a service keeps a file of evaluation keys. */
export function keysPath(hash: string, model: string): string {
  return `/v1/keys/${hash}?model=${encodeURIComponent(model)}`;
}

/**
 * Sends what a service has not of an evaluation keys file, piece by piece, from where an earlier attempt ended.
 *
 * @returns bytes that were sent and answered; 0 if the service had the keys
 * @throws ServiceError as `HttpClient.ask`; BlindbeatError FORMAT when the service contradicts itself, FILE when
 * the file cannot be read
 */
export async function uploadKeys(
  http: HttpClient,
  model: string,
  file: KeyFile,
  { onProgress = () => {}, signal }: UploadOptions = {},
): Promise<number> {
  const path = keysPath(file.hash, model);
  const ask = () => receivedOf(http, path, file, signal);
  let received = await http.persist(ask, signal);
  let sent = 0;
  for (let restarts = 0; received < file.size; ) {
    onProgress(received);
    try {
      received = await http.persist(async (failed) => {
        // Of a piece that was cut off the service may have kept a part.
        const from = failed === 0 ? received : await ask();
        if (from === file.size) return from;
        const end = Math.min(from + PIECE, file.size);
        const body = await file.slice(from, end);
        const headers = { 'content-range': `bytes ${from}-${end - 1}/${file.size}` };
        const answer = await http.askOnce({
          ...{ method: 'PUT', path, headers, body, limit: MOST_ANSWER_BYTES, work: true, signal },
        });
        sent += body.length;
        return answer.status === 202 ? progressOf(answer, from, file.size) : file.size;
      }, signal);
      restarts = 0;
    } catch (error) {
      // It has more or less than we think: an upload that expired, or that another run goes on with.
      const wanted = error instanceof ServiceError ? error.received : undefined;
      if (wanted === undefined || wanted === received || wanted > file.size || ++restarts > MOST_RESTARTS)
        throw error;
      received = wanted;
    }
  }
  onProgress(file.size);
  return sent;
}

/** The bytes of a file that a service has. */
async function receivedOf(
  http: HttpClient,
  path: string,
  file: KeyFile,
  signal?: AbortSignal,
): Promise<number> {
  try {
    const answer = await http.askOnce({ method: 'GET', path, limit: MOST_ANSWER_BYTES, signal });
    const { hash, size, received, complete } = parse(KeysSchema, jsonOf(answer), FAULT);
    const sound =
      hash === file.hash && size === file.size && received <= size && complete === (received === size);
    if (sound) return received;
    throw new ServiceError('FORMAT', `${http.url}: ${FAULT.title}: it has ${received} of ${size} bytes`);
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'KEYS_NOT_FOUND') return 0;
    throw error;
  }
}

function progressOf(answer: Answer, before: number, size: number): number {
  const { received } = parse(ReceivedSchema, jsonOf(answer), FAULT);
  if (received > before && received < size) return received;
  throw new ServiceError('FORMAT', `${FAULT.title}: it had ${before} of ${size} bytes, and now ${received}`);
}
