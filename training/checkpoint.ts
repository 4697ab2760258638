import { readFileSync } from 'node:fs';
import { BlindbeatError } from '../src/errors.ts';
import { writeOutput } from '../src/files/output.ts';
import type { Architecture } from './config.ts';
import type { Network } from './network.ts';
import { AdamW, type Parameter } from './optimizer.ts';

/** What one epoch did: a line of the training log. */
export interface EpochRecord {
  epoch: number;
  phase: Network['phase'];
  seconds: number;
  learningRate: number;
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
  /** The same for the average of the weights. */
  averageScore?: number;
  averageCrossEntropy?: number;
  averageLargest?: number;
}

/** Everything that a training needs to go on as if it had never stopped. */
export interface TrainingState {
  config: string;
  seed: number;
  /** Epochs done, over both phases. */
  epoch: number;
  network: Network;
  optimizer: AdamW;
  /** The average of the weights: of a ReLU network from the start, of a polynomial one in phase `exact` only. */
  average?: Network;
  /** The exact network of the lowest validation cross-entropy so far. */
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

/** Reads a checkpoint. Throws `FILE` if it is not there or not one of this version. */
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
      `${path} is no checkpoint of version ${VERSION}. Start without --resume, or with the version that wrote it.`,
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
