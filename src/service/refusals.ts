import { BlindbeatError } from '../errors.ts';

// What whoever evaluates refuses, on this machine or on others.

/** No more jobs are taken. */
export function closed(): BlindbeatError {
  return new BlindbeatError('BUSY', 'the server is being shut down: try again later');
}

/** The queue is full. */
export function tooManyWait(most: number): BlindbeatError {
  return new BlindbeatError('BUSY', `${most} requests wait already, which is the most: try again later`);
}

export function noSuchModel(model: string, models: ReadonlyMap<string, unknown>): BlindbeatError {
  const names = [...models.keys()].join(', ');
  return new BlindbeatError('NOT_FOUND', `there is no model "${model}" here: ask for one of ${names}`);
}

export function keysNotFound(cause?: unknown): BlindbeatError {
  return new BlindbeatError('KEYS_NOT_FOUND', 'evaluation keys not found: send them again', { cause });
}
