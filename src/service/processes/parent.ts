import type { Serializable } from 'node:child_process';
import { BlindbeatError, type ErrorCode } from '../../errors.ts';

/** What a process answers when it refuses or fails. Without a code it is a fault of ours. */
export interface ErrorAnswer {
  type: 'error';
  code?: ErrorCode;
  message: string;
  stack?: string;
}

/**
 * Has this process answer the messages of the one that started it (child.ts is its end), until that is gone.
 *
 * @param answer null is no answer; what it throws is answered as an `ErrorAnswer`
 * @returns sends a message to it in between
 */
export function answerParent<To, From extends Serializable>(
  answer: (message: To) => Promise<From | null>,
): (message: From) => void {
  const parent = process.ppid;
  const send = (message: From | ErrorAnswer) => {
    if (process.ppid !== parent) process.exit(1); // nobody waits for the answer
    process.send!(message);
  };
  process.on('disconnect', () => process.exit(0));
  process.on('message', (message: To) => {
    answer(message).then(
      (reply) => reply !== null && send(reply),
      (error: Error) => {
        const code = error instanceof BlindbeatError ? error.code : undefined;
        send({ type: 'error', code, message: error.message, stack: error.stack });
      },
    );
  });
  return send;
}
