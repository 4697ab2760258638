import type { IncomingMessage } from 'node:http';
import { concat } from '../../ckks/wire/container.ts';
import { BlindbeatError } from '../../errors.ts';
import type { Upload } from '../key-store.ts';

/** A request's body while it arrives. */
export interface Body extends Upload {
  /** Bytes that arrived. */
  readonly received: number;
}

/**
 * Reads a request's body piece by piece. What stops the reading leaves the connection open for an answer.
 *
 * Pieces throw BlindbeatError INTERRUPTED when the client goes away or sends nothing for `idleMs`, and what `stop`
 * is given.
 */
export function openBody(request: IncomingMessage, idleMs: number): Body {
  let received = 0;
  let end: (reason: Error) => void = () => {};
  let stopped: Error | null = null;
  async function* pieces() {
    for (;;) {
      if (stopped) throw stopped;
      const piece: Buffer | null = request.read();
      if (piece) {
        received += piece.length;
        yield piece;
      } else if (request.readableEnded || (request.complete && request.readableLength === 0)) return;
      else if (request.destroyed) throw new BlindbeatError('INTERRUPTED', 'the connection was lost');
      else await more();
    }
  }
  /** Settles when there may be something to read, or nothing will come. */
  function more(): Promise<void> {
    return new Promise((resolve, reject) => {
      const events = ['readable', 'end', 'error', 'close'] as const;
      const settle = (then: () => void) => {
        clearTimeout(timer);
        for (const event of events) request.off(event, arrived);
        end = () => {};
        then();
      };
      const arrived = () => settle(resolve);
      end = (reason) => settle(() => reject(reason));
      const timer = setTimeout(
        () => end(new BlindbeatError('INTERRUPTED', `nothing came for ${idleMs / 1000} s`)),
        idleMs,
      );
      for (const event of events) request.on(event, arrived);
    });
  }
  return {
    pieces: pieces(),
    stop(reason) {
      stopped = reason;
      end(reason);
    },
    get received() {
      return received;
    },
  };
}

/** What a request says that its body has, in bytes, if it does. */
export function announcedLength({ headers }: IncomingMessage): number | undefined {
  const length = headers['content-length'];
  return length === undefined ? undefined : Number(length);
}

/**
 * A whole body of a known size.
 *
 * @throws BlindbeatError TOO_LARGE or FORMAT for another size, as soon as that is known; what its pieces throw
 */
export async function readBody(request: IncomingMessage, body: Body, size: number): Promise<Uint8Array> {
  requireSize(announcedLength(request) ?? size, size);
  const pieces: Uint8Array[] = [];
  for await (const piece of body.pieces) {
    pieces.push(piece);
    if (body.received > size) break;
  }
  requireSize(body.received, size);
  return concat(pieces);
}

/**
 * Refuses a body of another size than what is sent has.
 *
 * @throws BlindbeatError TOO_LARGE or FORMAT
 */
export function requireSize(found: number, size: number): void {
  if (found > size) throw new BlindbeatError('TOO_LARGE', `expected ${size} bytes, and more came`);
  if (found < size)
    throw new BlindbeatError('FORMAT', `expected ${size} bytes, got ${found}: it was cut off`);
}

/** How long what is left of a refused body is read, so that its sender gets to hear the refusal. */
const LINGER_MS = 5000;

/** After an answer: reads on for a while what nobody wants, then ends the connection. */
export function dropRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  timer.unref();
  request.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
}
