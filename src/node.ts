/** Files, for programs on Node. */
export { KeyFolder } from './client/key-storage/key-folder.ts';
export { readRecording } from './ecg/files.ts';
export { loadModel, saveModel, shippedModels } from './model/files.ts';
