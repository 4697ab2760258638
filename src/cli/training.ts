import { BlindbeatError } from '../errors.ts';

/**
 * Loads a part of training/, which imports TensorFlow.js: only when it is used.
 *
 * @throws BlindbeatError ENVIRONMENT if TensorFlow.js is not installed
 */
export async function onDemand<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw explainMissing(error);
  }
}

/** A missing package is for the user to install; anything else is a fault of ours. */
export function explainMissing(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes('@tensorflow/')) return error;
  return new BlindbeatError(
    'ENVIRONMENT',
    'training needs TensorFlow.js, which is not installed. In a clone of blindbeat run `npm ci`, then for ' +
      'the fast backend `npm install --no-save ./training`; elsewhere ' +
      '`npm install @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0`, or for the fast ' +
      'one @tensorflow/tfjs-node@4.22.0 in place of the second',
    { cause: error },
  );
}
