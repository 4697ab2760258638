import { readFileSync } from 'node:fs';
import { BlindbeatError } from '../src/errors.ts';
import { writeOutput } from '../src/files/output.ts';
import type { Architecture } from './config.ts';
import type { Network } from './network.ts';
import { AdamW, type Parameter } from './optimizer.ts';

/** What one epoch did: a row of the training log. */
export interface EpochRecord {
  /** From 1, over both phases. */
  epoch: number;
  phase: Network['phase'];
  /** What its batches took, without validation. */
  seconds: number;
  /** Of the last batch. */
  learningRate: number;
  /** Means over the batches: the loss without the range penalty, and the penalty. */
  loss: number;
  penalty: number;
  /** CinC score of the augmented training batches, as they were seen. */
  trainScore: number;
  /** Largest |score| of a batch, hostile inputs included. */
  trainLargest: number;
  /** CinC score, cross-entropy and largest |score| on the validation part, through the exact network. */
  validationScore: number;
  validationCrossEntropy: number;
  validationLargest: number;
  /** The same for the average of the weights, from when there is one. */
  averageScore?: number;
  averageCrossEntropy?: number;
  averageLargest?: number;
}

/** Everything that a training needs to go on as if it had never stopped. */
export interface TrainingState {
  /** Name or path of the config. */
  config: string;
  seed: number;
  /** Epochs done, over both phases. */
  epoch: number;
  network: Network;
  optimizer: AdamW;
  /** The average of the weights: a ReLU network has it from the start, a polynomial one in phase `exact`. */
  average?: Network;
  /** The exact network of the lowest validation cross-entropy so far, of those that the gate lets pass. */
  best?: { network: Network; score: number; crossEntropy: number; epoch: number };
  history: EpochRecord[];
}

const VERSION = 1;

interface StoredParameter extends Omit<Parameter, 'values'> {
  values: string;
}

interface StoredNetwork {
  architecture: Architecture;
  phase: Network['phase'];
  parameters: StoredParameter[];
}

/**
 * Writes a checkpoint: JSON, arrays as base64 of little-endian float32.
 *
 * @throws BlindbeatError FILE if it cannot be written
 */
export async function saveCheckpoint(path: string, state: TrainingState): Promise<void> {
  const { network, optimizer, average, best, ...rest } = state;
  const stored = {
    format: 'blindbeat-checkpoint',
    version: VERSION,
    ...rest,
    network: storeNetwork(network),
    optimizer: {
      step: optimizer.step,
      first: optimizer.first.map(encode),
      second: optimizer.second.map(encode),
    },
    average: average && storeNetwork(average),
    best: best && { ...best, network: storeNetwork(best.network) },
  };
  await writeOutput(path, JSON.stringify(stored));
}

/**
 * Reads what `saveCheckpoint` wrote.
 *
 * @throws BlindbeatError FILE if there is no such file or it is no checkpoint of this version
 */
export function loadCheckpoint(path: string): TrainingState {
  let stored: ReturnType<typeof JSON.parse>;
  try {
    stored = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new BlindbeatError('FILE', `${path} cannot be read as a checkpoint. Start without --resume.`, {
      cause,
    });
  }
  if (stored.format !== 'blindbeat-checkpoint' || stored.version !== VERSION) {
    throw new BlindbeatError(
      'FILE',
      `${path} is no checkpoint of version ${VERSION}. Start without --resume, or with the version that ` +
        'wrote it.',
    );
  }
  const network = readNetwork(stored.network);
  const optimizer = new AdamW(network.parameters);
  optimizer.step = stored.optimizer.step;
  for (const [i, moment] of optimizer.first.entries()) moment.set(decode(stored.optimizer.first[i]));
  for (const [i, moment] of optimizer.second.entries()) moment.set(decode(stored.optimizer.second[i]));
  return {
    config: stored.config,
    seed: stored.seed,
    epoch: stored.epoch,
    network,
    optimizer,
    average: stored.average && readNetwork(stored.average),
    best: stored.best && { ...stored.best, network: readNetwork(stored.best.network) },
    history: stored.history,
  };
}

function storeNetwork(network: Network): StoredNetwork {
  return { ...network, parameters: network.parameters.map((p) => ({ ...p, values: encode(p.values) })) };
}

function readNetwork(stored: StoredNetwork): Network {
  return { ...stored, parameters: stored.parameters.map((p) => ({ ...p, values: decode(p.values) })) };
}

function encode(values: Float32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

function decode(text: string): Float32Array {
  const bytes = new Uint8Array(Buffer.from(text, 'base64'));
  return new Float32Array(bytes.buffer);
}
