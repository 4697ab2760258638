/**
 * What a client of a service needs, in Node and in the browser: `blindbeat/client`. Keys in folders are in
 * `blindbeat/node`, keys in a browser here.
 */

export { type Manifest, type ParsedManifest, parseManifest } from './ckks/wire/manifest.ts';
export type { Decrypted } from './ckks/wire/reply.ts';
export type { HttpOptions, Patience } from './client/http/http-client.ts';
export { HttpTransport, type OfferedModel } from './client/http-transport.ts';
export { IndexedDbKeys } from './client/key-storage/indexed-db.ts';
export type { KeyFile, KeyStorage, NewKeys, StoredKeys } from './client/key-storage/key-storage.ts';
export {
  findModel,
  type ModelChoice,
  RemoteClient,
  type RemoteModel,
  type RemoteOptions,
} from './client/remote-client.ts';
export type { RoundTrip } from './client/session.ts';
export { type Preprocessing, prepareSegment, type Segment } from './ecg/preprocess.ts';
export { BlindbeatError, ERROR_CODES, type ErrorCode } from './errors.ts';
export { type Classification, classify } from './model/classify.ts';
