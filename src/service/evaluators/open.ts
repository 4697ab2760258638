import { availableParallelism, totalmem } from 'node:os';
import type { KernelKind } from '../../ckks/evaluator/executor.ts';
import type { CompileOptions } from '../../ckks/planner/compile.ts';
import { BlindbeatError } from '../../errors.ts';
import { type Fault, list, parse, positive, record, text, wholeNumber } from '../../schema.ts';
import type { Evaluators } from '../evaluators.ts';
import { type EvaluatorEvent, WorkerPool } from './pool.ts';

export type { EvaluatorEvent };

/** What evaluators are opened for, and how they work. */
export interface EvaluatorsOptions {
  /** Names of shipped models, or folders; jobs name a model by the name that its manifest gives it. */
  models: readonly string[];
  /** Processes, and threads of each. Default: one process with a thread for every core. */
  workers?: number;
  threads?: number;
  /**
   * Bytes of memory that loaded keys of all clients may take; of them, each model of each worker gets an equal part.
   * Default: half of the machine's memory.
   */
  keyMemory?: number;
  /** Jobs that may wait; more are refused as BUSY. Default 64. */
  mostWaiting?: number;
  /** Milliseconds without a sign of life, a stage computed or a key loaded, after which a worker is killed. Default 60,000. */
  deadlineMs?: number;
  /** Milliseconds for which a request is refused that ended as many workers as it may. Default 10 minutes. */
  poisonMs?: number;
  /** As `Server.open` takes it. */
  kernels?: KernelKind;
  compile?: CompileOptions;
  /** Told what happens to workers. */
  onEvent?: (event: EvaluatorEvent) => void;
  /** Gives up opening. */
  signal?: AbortSignal;
}

const MOST_MODELS = 100;
const MOST_WORKERS = 1024;
const MOST_WAITING = 100_000;
/** What timers can wait. */
const MOST_MS = 2 ** 31 - 1;
const KEY_MEMORY_SHARE = 0.5;

const OptionsSchema = record({
  models: list(text(), MOST_MODELS, 1),
  workers: wholeNumber(1, MOST_WORKERS),
  mostWaiting: wholeNumber(1, MOST_WAITING),
  deadlineMs: wholeNumber(1, MOST_MS),
  poisonMs: wholeNumber(0, MOST_MS),
  keyMemory: positive(),
});
const FAULT: Fault = { code: 'USAGE', title: 'these evaluators cannot be opened', root: 'options' };

/**
 * Opens evaluators in worker processes of this machine, each with a server of every model. Settles when all are open.
 *
 * @throws BlindbeatError USAGE for options that do not fit, two models of one name, or memory in which no client's keys
 * fit; FILE, MODEL or PLAN for a model that cannot be opened; ENVIRONMENT or INTERNAL when a process ends; the signal's
 * reason
 */
export async function openEvaluators(options: EvaluatorsOptions): Promise<Evaluators> {
  const { workers = 1, compile = {}, kernels, onEvent = () => {}, signal } = options;
  const { mostWaiting = 64, deadlineMs = 60_000, poisonMs = 600_000 } = options;
  const { keyMemory = KEY_MEMORY_SHARE * memory() } = options;
  const checked = parse(
    OptionsSchema,
    { models: options.models, workers, mostWaiting, deadlineMs, poisonMs, keyMemory },
    FAULT,
  );
  const { threads = Math.max(1, Math.floor(availableParallelism() / workers)) } = options;
  const parts = workers * checked.models.length;
  const server = { threads, kernels, keyMemory: keyMemory / parts };
  try {
    const content = { models: checked.models, compile, server };
    return await WorkerPool.open({ ...checked, content, onEvent, signal });
  } catch (error) {
    if (!(error instanceof BlindbeatError) || parts === 1 || !error.message.includes('keyMemory'))
      throw error;
    const words = `${error.message}, or take fewer models or workers: keyMemory is the part of each model of each worker`;
    throw new BlindbeatError(error.code, words, { cause: error });
  }
}

/** Bytes that this process and its children may have. */
function memory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
