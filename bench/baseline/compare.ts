import { median } from '../../src/measure/machine.ts';
import type { Probe } from '../probe/probe.ts';
import { pairedRatio } from '../shared/statistics.ts';

/** The same classification by both releases, one after the other. */
export interface Pair {
  before: Probe;
  now: Probe;
}

/**
 * A figure of both releases: medians of all that was measured, and the median of the ratios of what was
 * measured in turn.
 */
export interface Row {
  what: string;
  unit: 'ms' | 'bytes';
  before: number;
  now: number;
  /** now / before */
  ratio: number;
}

export interface Comparison {
  figures: Row[];
  /** Of the evaluations after the first one. */
  stages: Row[];
  /** In how many rounds both named the same class. */
  sameClass: number;
  /** Largest difference of a score. */
  largestDifference: number;
}

/** What a probe measured, once or as often as it evaluated. */
type Measure = (probe: Probe) => number | number[];
type Figure = [what: string, unit: Row['unit'], of: Measure];

const FIGURES: Figure[] = [
  ['open the server', 'ms', ({ server }) => server.openMs],
  ['load keys from a file', 'ms', ({ server }) => server.loadKeysMs],
  ['processor time of loading', 'ms', ({ server }) => server.loadKeysCpuMs],
  ['first reply after loading', 'ms', ({ server }) => server.firstMs],
  ['cold: both together', 'ms', ({ server }) => server.loadKeysMs + server.firstMs],
  ['evaluate, warm', 'ms', ({ server }) => server.runs.map(({ ms }) => ms)],
  ['least of a round', 'ms', ({ server }) => Math.min(...server.runs.map(({ ms }) => ms))],
  ['processor time of one', 'ms', ({ server }) => server.runs.map(({ cpuMs }) => cpuMs)],
  ['memory of loaded keys', 'bytes', ({ server }) => server.loadedKeys],
  ['peak memory, server', 'bytes', ({ server }) => server.peakMemory],
  ['evaluation keys', 'bytes', ({ client }) => client.bytes.evaluationKeys],
  ['request', 'bytes', ({ client }) => client.bytes.request],
  ['client ready', 'ms', ({ client }) => client.readyMs],
  ['make keys', 'ms', ({ client }) => client.keygenMs],
  ['encrypt', 'ms', ({ client }) => client.encryptMs],
  ['decrypt', 'ms', ({ client }) => client.decryptMs],
  ['peak memory, client', 'bytes', ({ client }) => client.peakMemory],
];

/** @param pairs one for each round, all of one model and machine */
export function compare(pairs: Pair[]): Comparison {
  const same = pairs.filter(({ before, now }) => before.client.class === now.client.class);
  return {
    figures: FIGURES.map(([what, unit, of]) => row(what, unit, pairs, of)),
    stages: sharedStages(pairs[0]).map((name) => row(name, 'ms', pairs, (probe) => stageTimes(probe, name))),
    sameClass: same.length,
    largestDifference: Math.max(...pairs.map(scoreDifference)),
  };
}

function row(what: string, unit: Row['unit'], pairs: Pair[], of: Measure): Row {
  const before = pairs.flatMap((pair) => of(pair.before));
  const now = pairs.flatMap((pair) => of(pair.now));
  return { what, unit, before: median(before), now: median(now), ratio: pairedRatio(now, before) };
}

/** The stages that both have, in order. */
function sharedStages({ before, now }: Pair): string[] {
  const theirs = stageNames(before);
  return stageNames(now).filter((name) => theirs.includes(name));
}

function stageNames({ server }: Probe): string[] {
  return server.runs[0].stages.map(({ name }) => name);
}

function stageTimes({ server }: Probe, name: string): number[] {
  return server.runs.map(({ stages }) => stages.find((stage) => stage.name === name)!.ms);
}

function scoreDifference({ before, now }: Pair): number {
  return Math.max(...now.client.scores.map((score, c) => Math.abs(score - before.client.scores[c])));
}
