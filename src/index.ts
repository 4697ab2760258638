/**
 * What blindbeat offers to programs, in Node and in the browser. File access for Node is in `blindbeat/node`.
 */

export { ACTIVATIONS, type Activation, type ActivationName } from './approx/activations.ts';
export { type ApproximationOptions, approximate, evaluateApproximation } from './approx/approximate.ts';
export {
  type Approximation,
  type CompositeApproximation,
  METHODS,
  type Method,
  type PolynomialApproximation,
} from './approx/approximation.ts';
export { type ChebyshevSeries, monomials, type Range } from './approx/chebyshev.ts';
export type { Distribution } from './approx/distribution.ts';
export { EXPRESSION_FUNCTIONS, parseActivation } from './approx/expressions.ts';
export {
  type EvaluationScheme,
  evaluationScheme,
  runScheme,
  type Step,
} from './approx/paterson-stockmeyer.ts';
export { Client, type ClientOptions } from './ckks/client.ts';
export type { BackendName } from './ckks/evaluator/backend.ts';
export type { KernelKind } from './ckks/evaluator/executor.ts';
export type { LoadOptions } from './ckks/key-loader.ts';
export { check } from './ckks/planner/check.ts';
export { type CompiledModel, type CompileOptions, compile } from './ckks/planner/compile.ts';
export type { Plan, StagePlan } from './ckks/planner/plan.ts';
export { readSecretKey, type SecretKey, writeSecretKey } from './ckks/secret/secret-key.ts';
export {
  type EvaluationKeys,
  type FilePieces,
  type KeyUpload,
  Server,
  type ServerOptions,
} from './ckks/server.ts';
export { simulate } from './ckks/simulate.ts';
export { concat } from './ckks/wire/container.ts';
export { type Manifest, type Outputs, type ParsedManifest, parseManifest } from './ckks/wire/manifest.ts';
export { type Decrypted, requestDigest } from './ckks/wire/reply.ts';
export { parseCsv } from './ecg/csv.ts';
export { type Preprocessing, prepareSegment, type Segment } from './ecg/preprocess.ts';
export { type Recording, selectLead } from './ecg/recording.ts';
export type { Rhythm } from './ecg/rhythm.ts';
export { synthesise, toCsv } from './ecg/synth.ts';
export { decodeWfdb, parseHeader } from './ecg/wfdb.ts';
export { BlindbeatError, ERROR_CODES, type ErrorCode } from './errors.ts';
export { type Classification, classify, softmax } from './model/classify.ts';
export { parseModel, serialiseModel } from './model/format.ts';
export { forward } from './model/forward.ts';
export type { Block, Dense, Model, Polynomial, Provenance } from './model/model.ts';
export { KeyCache, type KeyLease } from './service/key-cache.ts';
