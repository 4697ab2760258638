/**
 * The one table of errors: what each code means to a shell (exit code) and to an HTTP client (status).
 * Library code throws `BlindbeatError` and never prints; the CLI and the service translate.
 */
export const ERROR_CODES = {
  /** Command-line arguments that do not fit. */
  USAGE: { exit: 2, status: 400 },
  /** An ECG file or signal that cannot be read or classified. */
  ECG: { exit: 3, status: 422 },
  /** A model file that cannot be read, or whose parts do not fit together. */
  MODEL: { exit: 4, status: 500 },
  /** A network or parameters for which no plan exists. */
  PLAN: { exit: 5, status: 422 },
  /** A key, ciphertext or manifest file that is damaged or of another format version. */
  FORMAT: { exit: 6, status: 400 },
  /** A key, ciphertext or manifest that belongs to another model, plan or key pair. */
  MISMATCH: { exit: 7, status: 409 },
  /** A file that cannot be read or written, or that would be overwritten. */
  FILE: { exit: 8, status: 500 },
  /** A decrypted result outside the plan's bound: no class can be named. */
  UNCLASSIFIABLE: { exit: 9, status: 422 },
  /** Something that is missing on this machine (a package, a data set). */
  ENVIRONMENT: { exit: 10, status: 503 },
  /** A service that has as many requests as it takes. */
  BUSY: { exit: 10, status: 503 },
  /** A request that ended the evaluators that tried it. */
  POISON: { exit: 10, status: 422 },
  /** Evaluation keys that a service does not have, or no more. */
  KEYS_NOT_FOUND: { exit: 7, status: 404 },
  /** A token that is missing, unknown or expired. */
  UNAUTHORISED: { exit: 2, status: 401 },
  /** A token that does not allow this. */
  FORBIDDEN: { exit: 2, status: 403 },
  /** More bytes than a service takes. */
  TOO_LARGE: { exit: 6, status: 413 },
  /** An address or a model that a service does not have. */
  NOT_FOUND: { exit: 2, status: 404 },
  /** A client that asks more often than its token allows. */
  RATE_LIMITED: { exit: 10, status: 429 },
  /** A service that did not compute what its manifest says. */
  WRONG_ANSWER: { exit: 11, status: 502 },
  /** Interrupted by the user. */
  INTERRUPTED: { exit: 130, status: 499 },
  /** A fault of ours. */
  INTERNAL: { exit: 70, status: 500 },
} as const;

/** A code of the error table. */
export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * The one error class. Messages say what was expected, what was got and what to do;
 * they never contain key, ciphertext or ECG values.
 */
export class BlindbeatError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BlindbeatError';
    this.code = code;
  }

  /** Exit status of a command that ends with this error. */
  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }
}
