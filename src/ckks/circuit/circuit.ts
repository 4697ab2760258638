import type { KeySwitching, LevelGadgets } from '../keyswitch/gadget.ts';
import type { Parameters } from '../ring/parameters.ts';
import type { Outputs } from '../wire/manifest.ts';
import type { ReplyLayout } from '../wire/reply-layout.ts';
import type { Schedule } from './bsgs.ts';
import type { ActivationStep } from './polynomial.ts';

/** A packed linear layer: rotations, weights, bias, and where it stands in the chain of primes. */
export interface LinearStage {
  kind: 'linear';
  name: string;
  inputs: number;
  outputs: number;
  period: number;
  /** Key steps that every input is rotated by first, each rotation added to what it rotates. */
  pooling: number[];
  /** Limbs of its input. */
  limbs: number;
  /** Scale of its input, of its weights, and of its output after rescaling (exact). */
  scaleIn: number;
  weightScale: number;
  scaleOut: number;
  schedule: Schedule;
  /** One period per output ciphertext, added after rescaling. */
  bias: Float64Array[];
  /** Largest |value| of the output on the validated range. */
  bound: number;
}

/** Squares every ciphertext, relinearises and rescales. */
export interface SquareStage {
  kind: 'square';
  name: string;
  ciphertexts: number;
  limbs: number;
  scaleIn: number;
  scaleOut: number;
  bound: number;
}

/** Evaluates a polynomial on every ciphertext. */
export interface ActivationStage {
  kind: 'activation';
  name: string;
  ciphertexts: number;
  limbs: number;
  limbsOut: number;
  scaleIn: number;
  scaleOut: number;
  steps: ActivationStep[];
  bound: number;
}

/**
 * The dense layer's time sums: rotations by interleave * 2^k, each added to what it rotates; then the one
 * rescale.
 */
export interface SumStage {
  kind: 'sum';
  name: string;
  limbs: number;
  scaleIn: number;
  scaleOut: number;
  /** Key steps whose sums are windows of the map; then those that complete the sum over all time. */
  windowSteps: number[];
  totalSteps: number[];
  /** One period each: the scores' bias, and each window's share of it. */
  bias: Float64Array;
  windowBias: Float64Array;
  bound: number;
}

/** One step of the network on ciphertexts. */
export type Stage = LinearStage | SquareStage | ActivationStage | SumStage;

/** The whole encrypted computation, weights included: what a server runs. Holds no key. */
export interface Circuit {
  parameters: Parameters;
  keySwitching: KeySwitching;
  /** Of hybrid keys, by level; empty lists for per-prime keys. */
  gadgets: LevelGadgets;
  outputs: Outputs;
  inputScale: number;
  stages: Stage[];
  reply: ReplyLayout;
  /** |score| that the last prime has room for. */
  scoreBound: number;
}

/** Called after each stage with its name. */
export type OnStage = (stage: Stage, index: number, count: number) => void;
