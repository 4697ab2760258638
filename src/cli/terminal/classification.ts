import type { Plan } from '../../ckks/planner/plan.ts';
import type { Decrypted } from '../../ckks/wire/reply.ts';
import type { SegmentStep, SetupStep } from '../../client/session.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import type { StageTime } from '../../measure/stages.ts';
import type { Model } from '../../model/model.ts';
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

/** What came out of one ECG, and what it took. */
export interface ClassifiedEcg {
  plan: Plan;
  decrypted: Decrypted;
  /** Milliseconds of the network's computation. */
  ms: number;
  /** Missing if it was only simulated. */
  encrypted?: {
    /** Milliseconds. */
    steps: Record<Step, number>;
    loadedKeys?: number; // bytes of the server's memory, if it tells
    layers: StageTime[];
    /** On which the server computed. */
    threads: number;
    peak: PeakMemory;
  };
}

type Step = 'start' | 'open' | SetupStep | SegmentStep;

/** The ECG's segment under its name; with a map that was decrypted also where the evidence is. */
export function ecgLines(
  input: EcgInput,
  model: Model,
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
 * model
 */
export function classificationLines(
  run: ClassifiedEcg,
  model: Model,
  shown: { exact?: boolean; profile?: boolean; maxError: number },
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
    ...(encrypted && shown.profile ? [...profileLines(plan.stages, encrypted.layers, colours), ''] : []),
    line('precision', describePrecision(shown.maxError)),
    line('parameters', describeParameters(plan.manifest)),
    ...(encrypted ? [line('memory', `${describeMemory(encrypted.peak)}, at most`)] : []),
  ];
}

function stepLines(
  { stages, bytes }: Plan,
  { steps, layers, threads }: NonNullable<ClassifiedEcg['encrypted']>,
  colours: Colours,
): string[] {
  const ms = (step: Step) => formatMs(steps[step]);
  const { evaluationKeys, request, reply } = bytes;
  const all = ['server', `all layers, ${describeThreads(threads)}`, ms('server'), ''];
  const rows = [
    ['server', 'start (once)', ms('start'), ''],
    ['client', 'key generation', ms('keygen'), ''],
    ['up', 'evaluation keys (once)', ms('upKeys'), formatBytes(evaluationKeys)],
    ['server', 'load keys (once)', ms('loadKeys'), ''],
    ['client', 'encrypt', ms('encrypt'), ''],
    ['up', 'request', ms('upRequest'), formatBytes(request)],
    ...mergeLayers(stages, layers).map(({ name, ms }) => ['server', name, formatMs(ms), '']),
    all.map((cell) => colours.bold(cell)),
    ['down', 'reply', ms('down'), formatBytes(reply)],
    ['client', 'decrypt', ms('decrypt'), ''],
  ];
  return table([{ title: 'where' }, { title: 'step' }, right('time'), right('bytes')], rows, colours);
}

function describePrecision(maxError: number): string {
  if (maxError === 0) return 'scores equal those of the clear model';
  const bits = (-Math.log2(maxError)).toFixed(1);
  return `${bits} bits: largest score error ${maxError.toExponential(1)} against the clear model`;
}
