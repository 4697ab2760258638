import type { Plan } from '../../ckks/planner/plan.ts';
import type { WireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import type { Decrypted } from '../../ckks/wire/reply.ts';
import type { SegmentStep, SetupStep } from '../../client/session.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import type { StageTime } from '../../measure/stages.ts';
import type { Classes } from '../../model/classes.ts';
import { describeEcg, type EcgInput } from '../files/ecg.ts';
import type { Colours } from './io.ts';
import {
  describeMemory,
  describeParameters,
  describeThreads,
  mergeLayers,
  type PeakMemory,
  profileLines,
} from './plan.ts';
import { evidenceOf, resultLines } from './result.ts';
import { fact, heading, right, table } from './table.ts';
import { drawTrace } from './trace-drawing.ts';

/** What of a model or its manifest is shown. */
export type ShownModel = Classes & { name: string; preprocessing: { seconds: number } };

/** What came out of one ECG, and what it took. */
export interface ClassifiedEcg {
  /** Of a service's plan a client knows the manifest and the sizes. */
  plan: { manifest: ParsedManifest; bytes: Omit<WireSizes, 'secretKey'> } & Partial<
    Pick<Plan, 'stages' | 'operations'>
  >;
  decrypted: Decrypted;
  /** Milliseconds of the network's computation. */
  ms: number;
  /** Of a service that may be audited: whether it was this time, and answered right. */
  audited?: boolean;
  /** Missing if it was only simulated. */
  encrypted?: {
    /** Milliseconds of what was done, if the server tells. */
    steps: Partial<Record<Step, number>>;
    loadedKeys?: number; // bytes of the server's memory, if it tells
    layers: StageTime[];
    /** On which the server computed, if it tells. */
    threads?: number;
    peak: PeakMemory;
  };
}

type Step = 'start' | 'open' | 'queue' | SetupStep | SegmentStep;

/** The ECG's segment under its name; with a map that was decrypted also where the evidence is. */
export function ecgLines(
  input: EcgInput,
  model: ShownModel,
  width: number,
  colours: Colours,
  decrypted?: Decrypted,
): string[] {
  const { samples } = input.segment;
  const { seconds } = model.preprocessing;
  const evidence = decrypted && evidenceOf(decrypted, model);
  return [
    '',
    heading(model.name, describeEcg(input), colours),
    '',
    ...drawTrace(samples, seconds, width, colours, evidence),
    '',
  ];
}

/**
 * The class and what it took.
 *
 * @param shown how the scores and the stages are shown, and the largest error of a score against the clear
 * model, for whoever has it
 */
export function classificationLines(
  run: ClassifiedEcg,
  model: Classes,
  shown: { exact?: boolean; profile?: boolean; maxError?: number },
  colours: Colours,
): string[] {
  const { plan, decrypted, ms, encrypted } = run;
  const line = (name: string, text: string) => fact(name, text, 12, colours);
  return [
    ...resultLines(decrypted, model, colours, shown.exact),
    '',
    ...(encrypted
      ? [...stepLines(plan, encrypted, colours), '']
      : [`  ${colours.yellow('simulated: nothing was encrypted')}, ${formatMs(ms)}`]),
    ...(encrypted && plan.stages && shown.profile
      ? [...profileLines(plan.stages, encrypted.layers, colours), '']
      : []),
    ...(shown.maxError === undefined ? [] : [line('precision', describePrecision(shown.maxError))]),
    ...(run.audited === undefined ? [] : [line('audit', AUDITED[run.audited ? 'yes' : 'no'])]),
    line('parameters', describeParameters(plan.manifest)),
    ...(encrypted ? [line('memory', `${describeMemory(encrypted.peak)}, at most`)] : []),
  ];
}

/** A row for everything that was done, as far as the server tells. */
function stepLines(
  { stages = [], bytes }: ClassifiedEcg['plan'],
  { steps, layers, threads }: NonNullable<ClassifiedEcg['encrypted']>,
  colours: Colours,
): string[] {
  const { evaluationKeys, request, reply } = bytes;
  const row = (where: string, what: string, step: Step, size?: number): string[][] => {
    const ms = steps[step];
    if (ms === undefined) return [];
    return [[where, what, formatMs(ms), size === undefined ? '' : formatBytes(size)]];
  };
  const all = `all layers${threads === undefined ? '' : `, ${describeThreads(threads)}`}`;
  const rows = [
    ...row('server', 'start (once)', 'start'),
    ...row('client', 'key generation', 'keygen'),
    ...row('up', 'evaluation keys (once)', 'upKeys', evaluationKeys),
    ...row('server', 'load keys (once)', 'loadKeys'),
    ...row('client', 'encrypt', 'encrypt'),
    ...row('up', 'request', 'upRequest', request),
    ...row('server', 'wait', 'queue'),
    ...mergeLayers(stages, layers).map(({ name, ms }) => ['server', name, formatMs(ms), '']),
    ...row('server', all, 'server').map((cells) => cells.map((cell) => colours.bold(cell))),
    ...row('down', 'reply', 'down', reply),
    ...row('client', 'decrypt', 'decrypt'),
  ];
  return table([{ title: 'where' }, { title: 'step' }, right('time'), right('bytes')], rows, colours);
}

const AUDITED = {
  yes: 'a known recording went along and was answered right',
  no: 'not this time',
};

function describePrecision(maxError: number): string {
  if (maxError === 0) return 'scores equal those of the clear model';
  const bits = (-Math.log2(maxError)).toFixed(1);
  return `${bits} bits: largest score error ${maxError.toExponential(1)} against the clear model`;
}
