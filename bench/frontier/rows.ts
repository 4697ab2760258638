import { median } from '../../src/measure/machine.ts';
import type { Probe } from '../probe/probe.ts';
import { pairedRatio } from '../shared/statistics.ts';

/** What the plan of one or more budgets takes; milliseconds are medians. */
export interface FrontierRow {
  /** Bytes that evaluation keys might take, of all budgets that give this plan, and what they do take. */
  budgets: number[];
  keyBytes: number;
  planHash: string;
  evaluateMs: number;
  /** To that of the plan with the most keys: the median of the ratios of evaluations in turn. */
  ratio: number;
  /** Of the processor, which says more on a busy machine. */
  evaluateCpuMs: number;
  cpuRatio: number;
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
 * @param rounds probes of each plan
 */
export function frontierRows(plans: BudgetedPlan[], rounds: Probe[][]): FrontierRow[] {
  const probes = plans.map((_, k) => rounds.map((round) => round[k]));
  const times = probes.map((all) => all.flatMap(({ server }) => server.runs.map(({ ms }) => ms)));
  const cpuTimes = probes.map((all) => all.flatMap(({ server }) => server.runs.map(({ cpuMs }) => cpuMs)));
  const sizes = plans.map(({ keyBytes }) => keyBytes);
  const most = sizes.indexOf(Math.max(...sizes));
  return plans.map((plan, k) => ({
    ...plan,
    evaluateMs: median(times[k]),
    ratio: pairedRatio(times[k], times[most]),
    evaluateCpuMs: median(cpuTimes[k]),
    cpuRatio: pairedRatio(cpuTimes[k], cpuTimes[most]),
    loadKeysMs: median(probes[k].map(({ server }) => server.loadKeysMs)),
    makeKeysMs: median(probes[k].map(({ client }) => client.keygenMs)),
    loadedKeys: probes[k][0].server.loadedKeys,
  }));
}
