/** Files, for programs on Node. */
export { readRecording } from './ecg/files.ts';
export { loadModel, saveModel, shippedModels } from './model/files.ts';
