import type { Logger } from 'pino';
import type { EvaluatorEvent } from '../evaluators/open.ts';
import type { EngineEvent } from '../nats/engine.ts';

/** What happens to evaluators is noted; a request that ended some by its digest, which tells nothing of its content. */
export function noting(log: Logger): (event: EvaluatorEvent | EngineEvent) => void {
  return ({ type, ...event }) => {
    const level = type === 'opened' || type === 'reconnected' ? 'info' : 'warn';
    const { reason, ...more } = { reason: undefined, ...event };
    log[level]({ evaluator: type, ...more, ...(reason && { err: reason }) });
  };
}
