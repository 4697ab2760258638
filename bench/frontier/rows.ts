import { median } from '../../src/measure/machine.ts';
import { type Probe, warmMs } from '../probe/probe.ts';

/** What the plan of one or more budgets takes; milliseconds are medians of the rounds. */
export interface FrontierRow {
  /** Bytes that evaluation keys might take, of all budgets that give this plan, and what they do take. */
  budgets: number[];
  keyBytes: number;
  planHash: string;
  evaluateMs: number;
  /** Of `evaluateMs` to that of the plan with the most keys: the median of the rounds' ratios. */
  ratio: number;
  /** From a file. */
  loadKeysMs: number;
  /** By the client. */
  makeKeysMs: number;
  /** Bytes of the server's memory. */
  loadedKeys: number;
}

/** A plan, and the budgets that give it. */
export interface BudgetedPlan {
  budgets: number[];
  keyBytes: number;
  planHash: string;
}

/**
 * One row for each plan, in their order.
 *
 * @param probes of each plan, one for each round
 */
export function frontierRows(plans: BudgetedPlan[], probes: Probe[][]): FrontierRow[] {
  const most = probes[plans.findIndex((plan) => plan.keyBytes === Math.max(...plans.map((p) => p.keyBytes)))];
  return plans.map((plan, k) => ({
    ...plan,
    evaluateMs: median(probes[k].map(warmMs)),
    ratio: median(probes[k].map((probe, round) => warmMs(probe) / warmMs(most[round]))),
    loadKeysMs: median(probes[k].map(({ server }) => server.loadKeysMs)),
    makeKeysMs: median(probes[k].map(({ client }) => client.keygenMs)),
    loadedKeys: probes[k][0].server.loadedKeys,
  }));
}
