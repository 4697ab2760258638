/**
 * What a container must be, written a second time and as simply as it goes, from docs/file-formats.md and
 * without a line of the code that is tested.
 */
import { createHash } from 'node:crypto';

/** The fields of a manifest from which the layout of its files follows. */
export interface PlanFields {
  planHash: string;
  parameters: { n: number; primes: number[]; spare?: number[]; special: number };
  outputs: string;
  keys: {
    gadgets: { limbs: number; digits: number[][]; special: number[] }[];
    relinearisation: { limbs: number }[];
    galois: { step: number; limbs: number }[];
  };
  reply: { group: number };
}

/** Numbers of `bits` bits, each below `prime`; or bytes that may be anything. */
export type Part = { count: number; bits: number; prime: number } | { bytes: number };

/** What a container holds. */
export type Kind = 'secret key' | 'evaluation keys' | 'request' | 'reply';

/** The kinds by their number in a file. */
export const KINDS: readonly Kind[] = ['secret key', 'evaluation keys', 'request', 'reply'];

const SEED = { bytes: 64 };

/** The parts of a body, in their order. */
export function layoutOf(kind: Kind, plan: PlanFields): Part[] {
  const { n, primes, spare = [], special } = plan.parameters;
  const all = [...primes, ...spare, special];
  const limb = (prime: number): Part => ({ count: n, bits: prime.toString(2).length, prime });
  if (kind === 'secret key') return all.map(limb);
  if (kind === 'request') return [...primes.map(limb), SEED];
  if (kind === 'reply') {
    const polynomials = plan.outputs === 'scores+map' ? 3 : 1;
    const carried: Part = { count: 2 * plan.reply.group, bits: 32, prime: primes[0] };
    return [carried, ...Array.from({ length: polynomials }, () => limb(primes[0]))];
  }
  const key = (limbs: number): Part[] => {
    const gadget = plan.keys.gadgets.find((g) => g.limbs === limbs);
    const digits = gadget ? gadget.digits.length : limbs;
    const specials = gadget ? gadget.special : [all.length - 1];
    const digit = [...primes.slice(0, limbs).map(limb), ...specials.map((i) => limb(all[i])), SEED];
    return Array.from({ length: digits }, () => digit).flat();
  };
  const lists = [...plan.keys.relinearisation, ...plan.keys.galois];
  return [...lists.flatMap(({ limbs }) => key(limbs)), limb(primes[0]), limb(special), SEED];
}

/** Bytes of a part. */
export function sizeOf(part: Part): number {
  return 'bytes' in part ? part.bytes : Math.ceil((part.count * part.bits) / 8);
}

/** The number with this place in a part that begins at `start`. */
export function residueAt(body: Uint8Array, start: number, bits: number, place: number): number {
  const first = place * bits;
  let value = 0;
  for (let byte = Math.floor((first + bits - 1) / 8); byte >= Math.floor(first / 8); byte--)
    value = value * 256 + body[start + byte];
  return Math.floor(value / 2 ** (first % 8)) % 2 ** bits;
}

/** SHA-256. */
export function sha256(...pieces: (Uint8Array | string)[]): Uint8Array {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

/**
 * What is wrong with a container, or null: magic, version, kind, the header as text, sizes, checksum, every
 * residue.
 *
 * @param header the one text that its header may be, by the key pair that the file names
 */
export function containerProblem(
  bytes: Uint8Array,
  kind: Kind,
  header: (keyId: string) => string | null,
  layout: Part[],
): string | null {
  if (bytes.length < 48) return 'too short';
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (start.toString('latin1', 0, 8) !== 'BLNDBEAT') return 'magic';
  if (start.readUInt16LE(8) !== (kind === 'reply' ? 2 : 1)) return 'version';
  if (start.readUInt16LE(10) !== KINDS.indexOf(kind)) return 'kind';
  const length = start.readUInt32LE(12);
  if (length > 4096 || 16 + length > bytes.length) return 'header length';
  const text = start.toString('utf8', 16, 16 + length);
  let keyId: unknown;
  try {
    keyId = JSON.parse(text)?.keyId;
  } catch {
    return 'header no JSON';
  }
  if (typeof keyId !== 'string') return 'header without key pair';
  const right = header(keyId);
  if (right === null) return 'another key pair';
  if (!start.subarray(16, 16 + length).equals(Buffer.from(right))) return 'header not the canonical one';
  const size = layout.reduce((sum, part) => sum + sizeOf(part), 0);
  if (bytes.length !== 16 + length + size + 32) return 'size';
  const end = bytes.length - 32;
  if (!start.subarray(end).equals(sha256(bytes.subarray(0, end)))) return 'checksum';
  return residueProblem(bytes.subarray(16 + length, end), layout);
}

/** Whether a number is not below its prime. */
export function residueProblem(body: Uint8Array, layout: Part[]): string | null {
  let at = 0;
  for (const part of layout) {
    if ('prime' in part)
      for (let k = 0; k < part.count; k++)
        if (residueAt(body, at, part.bits, k) >= part.prime) return 'residue not below its prime';
    at += sizeOf(part);
  }
  return null;
}

/** Whether a part that has primes is zero throughout. */
export function zeroPart(body: Uint8Array, layout: Part[]): boolean {
  let at = 0;
  return layout.some((part) => {
    const piece = body.subarray(at, at + sizeOf(part));
    at += sizeOf(part);
    return 'prime' in part && piece.every((byte) => byte === 0);
  });
}

/** The hash that a manifest must name: of its other fields, their keys sorted. */
export function planHashOf(content: Record<string, unknown>): string {
  const { planHash: _, ...rest } = content;
  return Buffer.from(sha256(JSON.stringify(sorted(rest)))).toString('hex');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, sorted((value as Record<string, unknown>)[key])]));
}
