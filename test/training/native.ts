import { existsSync } from 'node:fs';

/** Whether `@tensorflow/tfjs-node` is installed. Where it is, it has to load: tests then fail, not skip. */
export const hasNative = existsSync('node_modules/@tensorflow/tfjs-node/package.json');
