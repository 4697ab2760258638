import { hexDigest } from '../../digest.ts';
import type { ReplyLayout } from './reply-layout.ts';

/**
 * What a reply names the request by that it answers: the SHA-256 of the request file, 64 hexadecimal digits.
 * It tells replies apart that were mixed up or kept; a server that lies can write any digest.
 */
export function requestDigest(request: Uint8Array): string {
  return hexDigest(request);
}

/** What the client reads from a reply. */
export interface Decrypted {
  /** One number per class, before the softmax. */
  scores: number[];
  /** `[windows][classes]` contributions in time order; present when planned. */
  map?: number[][];
}

/** The slots of the encrypted input: each sample repeated until all are full. */
export function packSegment(segment: Float32Array, slots: number): Float64Array {
  const copies = slots / segment.length;
  return Float64Array.from({ length: slots }, (_, j) => segment[Math.floor(j / copies)]);
}

/** The scores, from slots that repeat with the group's period. */
export function readScores(slots: Float64Array, reply: ReplyLayout, classes: number): number[] {
  return Array.from({ length: classes }, (_, c) => slots[mod(c - reply.offset, reply.group)]);
}

/** `[windows][classes]` contributions, from all slots. They overlap, so their sum is not the scores. */
export function readMap(slots: Float64Array, reply: ReplyLayout, classes: number): number[][] {
  const { windows, hop, interleave } = reply.map!;
  return Array.from({ length: windows }, (_, w) =>
    Array.from(
      { length: classes },
      (_, c) => slots[mod(w * hop * interleave + c - reply.offset, slots.length)],
    ),
  );
}

function mod(a: number, m: number): number {
  return ((a % m) + m) % m;
}
