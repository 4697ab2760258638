import { BlindbeatError } from '../../errors.ts';
import type { OnStage } from '../circuit/circuit.ts';
import type { PlannedKey } from '../keyswitch/key-set.ts';
import type { PackedCiphertext } from './packed-ciphertext.ts';

/** Kinds of the fast backend's kernels, widest vectors first: native ones, and WebAssembly's. Results are the same. */
export const KERNEL_KINDS = ['avx512', 'avx2', 'wasm'] as const;
/** One of `KERNEL_KINDS`. */
export type KernelKind = (typeof KERNEL_KINDS)[number];

/**
 * Rotation steps, each with the limbs of the ciphertexts that it rotates, as a dry run found them
 * (`TraceBackend.rotated`); step 0 is the complex conjugation.
 */
export type RotationLevels = ReadonlyMap<number, ReadonlySet<number>>;

/**
 * A client's evaluation keys as one executor holds them, of use to it alone; public data. Fill them, use them,
 * dispose them; a second time does nothing.
 */
export interface LoadedEvaluationKeys extends Disposable {
  /** Bytes of memory that they take. */
  readonly bytes: number;
  /**
   * Loads a key from its digits, each modulo the primes of the key's gadget.
   *
   * @throws BlindbeatError FORMAT for a residue that is not below its prime
   */
  setSwitchingKey(key: PlannedKey, digits: PackedCiphertext[]): void;
  /**
   * Loads the key under which replies are re-randomised, modulo the first and the special prime.
   *
   * @throws BlindbeatError FORMAT for a residue that is not below its prime
   */
  setPublicKey(publicKey: PackedCiphertext): void;
}

/** A ciphertext of one limb in NTT form: n residues each. */
export interface Polynomials {
  c0: Uint32Array;
  c1: Uint32Array;
}

/** What leaves an evaluation: scores, and when planned the map, re-randomised. */
export interface EncryptedResult {
  scores: Polynomials;
  map?: Polynomials;
}

/** One plan's circuit on one backend, with all that a server needs around it. Holds no secret. */
export interface Executor extends Disposable {
  /** How many threads compute. */
  readonly threads: number;
  /** Whose kernels compute. */
  readonly kernels: KernelKind | 'seal';
  /** SEAL objects that are alive on its behalf. */
  readonly liveHandles: number;
  /** Bytes of its own memory in use; 0 where SEAL has it. */
  readonly memoryInUse: number;
  /** Bytes of memory that these keys take once they are loaded. */
  keyBytes(planned: PlannedKey[]): number;
  /**
   * Room for these keys, to be filled in their order, and for a public key.
   *
   * @throws BlindbeatError ENVIRONMENT when there is no room for them
   */
  createKeys(planned: PlannedKey[]): LoadedEvaluationKeys;
  /**
   * Runs the network on a request and adds a fresh encryption of zero to what comes out, so that the reply's
   * polynomials are those of no intermediate ciphertext.
   *
   * @throws BlindbeatError FORMAT for a residue that is not below its prime, MISMATCH for keys of another
   * executor, or disposed ones
   */
  evaluate(request: PackedCiphertext, keys: LoadedEvaluationKeys, onStage?: OnStage): EncryptedResult;
}

/** The refusal of keys that an executor did not load, or that are no more: they point into foreign memory. */
export function foreignKeys(): BlindbeatError {
  return new BlindbeatError(
    'MISMATCH',
    'these evaluation keys are not loaded in this server: another one loaded them, or they were disposed; ' +
      "load the client's file here",
  );
}
