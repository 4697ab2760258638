import * as v from 'valibot';
import { ERROR_CODES, type ErrorCode } from '../../errors.ts';
import { choice, hex, list, number, record, text, wholeNumber } from '../../schema.ts';

/** What the service is asked and what it answers: requests are checked against these, and OpenAPI is made of them. */

const bytes = () => wholeNumber(0, Number.MAX_SAFE_INTEGER);

export const ModelParams = record({ id: text() });
export const KeyParams = record({ hash: hex(64) });
export const KeyQuery = record({ model: text() });
/** First byte, last byte and the number of all. */
export const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/;
const RANGE = 'bytes FIRST-LAST/TOTAL, with numbers of bytes';
export const PartHeaders = record({
  'content-range': v.optional(v.pipe(v.string(RANGE), v.regex(CONTENT_RANGE, RANGE))),
});
export const InferQuery = record({ keys: hex(64) });

export const ModelsReply = record({
  models: list(
    record({
      /** For the address of its manifest and for requests. */
      id: text(),
      planHash: hex(64),
      classes: list(text(), 100),
      /** Of files on the wire. */
      bytes: record({ evaluationKeys: bytes(), request: bytes(), reply: bytes() }),
    }),
    1000,
  ),
});

/** `parseManifest` says what is in it, and a client checks it with that. */
export const ManifestReply = v.looseObject({ format: text(), version: number(), planHash: hex(64) });

export const KeysReply = record({
  hash: hex(64),
  size: bytes(),
  received: bytes(),
  complete: v.boolean(),
  expires: v.pipe(v.string(), v.isoTimestamp()),
});

export const UploadReply = record({ received: bytes() });
export const HealthReply = record({ status: choice(['ok', 'not ready']) });

export const ProblemReply = record({
  type: text(),
  title: text(),
  status: wholeNumber(400, 599),
  detail: text(),
  code: choice(Object.keys(ERROR_CODES) as ErrorCode[]),
  received: v.optional(bytes()),
});
