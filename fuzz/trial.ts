import { createHash } from 'node:crypto';
import { Random } from '../src/ecg/random.ts';

/** What must become of a case: `either` where both are right. */
export interface Expectation {
  must: 'accept' | 'refuse' | 'either';
  /** The rule that says so; of an accepted case, why that is right. */
  why: string;
}

/** One case: something from outside, and what is to be done with it. */
export interface Trial {
  /** The row of the table that it counts for. */
  format: string;
  /** What was done to a good one. */
  attack: string;
  /** Hands it to the code under test, as its users do; what that throws is its refusal. */
  act(): unknown;
  /** Error codes that a refusal may have. */
  codes: readonly string[];
  /** Called after `act`, and not timed. */
  expected(): Expectation;
  /** Looks at what an accepted one gave: what is wrong with it, or null. */
  inspect?(result: unknown): string | null | Promise<string | null>;
}

/** What must not grow. */
export interface Resources {
  /** SEAL objects that are alive. */
  handles: number;
  /** Bytes of the kernels' memory that are in use. */
  kernelBytes: number;
}

/** One class of cases, open for trials. */
export interface Subject {
  /** The case with this number: the first ones are the directed attacks, one each. */
  trial(index: number, random: Random): Trial | Promise<Trial>;
  /** Whether a good input is still served rightly: what is wrong, or null. */
  control(): string | null | Promise<string | null>;
  resources(): Resources;
  /** Makes everything new after a violation, so that one fault is not counted twice. */
  renew(): Promise<void>;
  close(): void;
}

/** Random numbers of one case, the same whichever cases ran before. */
export function caseRandom(seed: number, name: string, index: number): Random {
  const hash = createHash('sha256').update(`${seed} ${name} ${index}`).digest();
  return new Random([0, 4, 8, 12].map((at) => hash.readUInt32LE(at)) as [number, number, number, number]);
}

/** One of these. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)];
}

/** Bytes that do not matter. */
export function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** The first ones in order, once each; afterwards one of them, or null for what is random altogether. */
export function directed<T>(random: Random, index: number, attacks: readonly T[], share: number): T | null {
  if (index < attacks.length) return attacks[index];
  return random.next() < share ? pick(random, attacks) : null;
}
