import type { Command } from 'commander';
import type { BackendName } from '../../ckks/evaluator/backend.ts';
import { type Plan, plan } from '../../ckks/planner/plan.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { simulate } from '../../ckks/simulate.ts';
import type { Outputs } from '../../ckks/wire/manifest.ts';
import type { Decrypted } from '../../ckks/wire/reply.ts';
import { type OpeningStep, type SegmentStep, Session } from '../../client/session.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import type { StartTask } from '../../measure/progress.ts';
import { peakMemory, roundMs, type StageTime } from '../../measure/stages.ts';
import { byClass } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import { forward } from '../../model/forward.ts';
import type { Model } from '../../model/model.ts';
import { describeEcg, type EcgInput, type EcgOptions, ecgOptions, readEcg } from '../files/ecg.ts';
import {
  backendOption,
  exactOption,
  examples,
  jsonOption,
  keyBudgetOption,
  keySwitchingOption,
  modelOption,
  outputsOption,
  type ScheduleOptions,
  scheduleChoice,
  scheduleCostsOption,
  threadsOption,
} from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import {
  type Colours,
  coloursOf,
  type Io,
  printable,
  printJson,
  printLines,
  warn,
  widthOf,
} from '../terminal/io.ts';
import {
  describeMemory,
  describeParameters,
  describeThreads,
  mergeLayers,
  profileLines,
} from '../terminal/plan.ts';
import { progressOn } from '../terminal/progress.ts';
import { evidenceOf, resultJson, resultLines } from '../terminal/result.ts';
import { table } from '../terminal/table.ts';
import { drawTrace } from '../terminal/trace-drawing.ts';

interface ClassifyOptions extends EcgOptions, ScheduleOptions {
  model: string;
  outputs: Outputs;
  backend: BackendName;
  threads?: number;
  simulate?: boolean;
  profile?: boolean;
  exact?: boolean;
  json?: boolean;
}

/** `blindbeat classify`: both roles on this machine, the server in a process of its own. */
export function addClassify(program: Command, io: Io): void {
  const command = program
    .command('classify')
    .summary('classify an ECG in one encrypted round trip')
    .description(
      'Classify an ECG in one encrypted round trip, both roles on this machine: this process is the client (makes ' +
        'keys, encrypts, decrypts), a second one is the server (has the network, sees ciphertexts only). ' +
        'Without an ECG a built-in synthetic one is used.',
    )
    .argument(
      '[ecg]',
      'WFDB record (.hea, .mat, .dat or its name) or table of numbers (.csv, .tsv, .txt) in mV',
    )
    .addOption(modelOption());
  ecgOptions(command)
    .addOption(outputsOption())
    .addOption(keyBudgetOption())
    .addOption(keySwitchingOption())
    .addOption(scheduleCostsOption())
    .addOption(backendOption())
    .addOption(threadsOption())
    .option('--simulate', 'the same packed computation without encryption: fast, and shows the same class')
    .option('--profile', 'time and operations of every stage')
    .addOption(exactOption())
    .addOption(jsonOption())
    .action(async (path: string | undefined, options: ClassifyOptions) => {
      await interruptible((signal) => classifyEcg(path, options, io, signal));
    });
  examples(command, [
    'blindbeat classify',
    'blindbeat classify --rhythm af --seed 7 --outputs scores+map',
    'blindbeat classify records/A00001.hea',
    'blindbeat classify holter.csv --rate 250 --lead 2 --start 600',
    'blindbeat classify --json | jq .class',
  ]).addHelpText(
    'after',
    `
With --json: ms are milliseconds, bytes those on the wire, maxError the largest
difference between decrypted and clear scores. With --simulate nothing is
encrypted: simulated is true, ms has only server; no bytes, no peakMemory.
If no class can be named (a score beyond the limit that the model was validated
for), the exit code is 9.`,
  );
}

/** What came out, and what it took. */
interface Run {
  plan: Plan;
  decrypted: Decrypted;
  layers: StageTime[];
  steps: Record<Step, number>;
  /** On which the server computed. */
  threads: number;
  peak: { client: number; server: number };
}

type Step = OpeningStep | SegmentStep;

async function classifyEcg(
  path: string | undefined,
  options: ClassifyOptions,
  io: Io,
  signal: AbortSignal,
): Promise<void> {
  const model = await loadModel(options.model);
  const input = await readEcg(path, options, model.preprocessing);
  warn(io, input.segment.warnings);
  if (options.simulate) return classifySimulated(model, input, options, io);
  // What is known is shown at once; with a map the drawing waits for the evidence.
  const early = !options.json && options.outputs === 'scores';
  if (early) printLines(io.stdout, drawing(input, model, io));
  const run = await roundTrip(model, input, options, progressOn(io, options.json), signal);
  const clear = forward(model, input.segment.samples).scores;
  const maxError = largestDifference(run.decrypted.scores, clear);
  if (options.json) {
    const { keygen, encrypt, server, decrypt } = run.steps;
    const { evaluationKeys, request, reply } = run.plan.bytes;
    const { map, ...result } = resultJson(run.decrypted, model, options.exact);
    printJson(io, {
      model: model.name,
      ...result,
      clearScores: byClass(clear, model),
      maxError,
      ms: { keygen, encrypt, server, decrypt, layers: run.layers },
      bytes: { evaluationKeys, request, reply },
      params: parametersJson(run.plan.manifest.parameters),
      operations: run.plan.operations,
      threads: run.threads,
      peakMemory: run.peak,
      ...(map && { map }),
      warnings: input.segment.warnings,
    });
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    ...(early ? [] : drawing(input, model, io, run.decrypted)),
    ...resultLines(run.decrypted, model, colours, options.exact),
    '',
    ...stepLines(run, colours),
    '',
    ...(options.profile ? [...profileLines(run.plan.stages, run.layers, colours), ''] : []),
    `  ${colours.dim('precision')}   ${describePrecision(maxError)}`,
    `  ${colours.dim('parameters')}  ${describeParameters(run.plan.manifest)}`,
    `  ${colours.dim('memory')}      ${describeMemory(run.peak)}, at most`,
  ]);
}

/** The whole protocol, with the server in its own process. */
async function roundTrip(
  model: Model,
  { segment }: EcgInput,
  options: ClassifyOptions,
  start: StartTask,
  signal: AbortSignal,
): Promise<Run> {
  const { outputs, backend, threads } = options;
  const server = { outputs, backend, threads, ...(await scheduleChoice(options)) };
  using session = await Session.open({ model: options.model, name: model.name, server }, start, signal);
  const { plan } = session;
  const { serverMs } = plan.estimate;
  const units = plan.stages.map((stage) => stage.estimateMs);
  using task = start('classifying, encrypted', { total: serverMs, estimateMs: serverMs, units });
  const answer = await session.classify(segment.samples, task.update);
  return {
    plan,
    decrypted: answer.decrypted,
    layers: answer.layers,
    steps: { ...session.steps, ...answer.steps },
    threads: answer.threads,
    peak: { client: peakMemory(), server: answer.peakMemory },
  };
}

async function classifySimulated(
  model: Model,
  input: EcgInput,
  options: ClassifyOptions,
  io: Io,
): Promise<void> {
  const planOptions = { outputs: options.outputs, ...(await scheduleChoice(options)) };
  const planned = plan(model, planOptions);
  const started = performance.now();
  const decrypted = simulate(model, input.segment.samples, planOptions);
  const server = roundMs(performance.now() - started);
  const clear = forward(model, input.segment.samples).scores;
  const maxError = largestDifference(decrypted.scores, clear);
  const { map, ...result } = resultJson(decrypted, model, options.exact);
  if (options.json) {
    printJson(io, {
      model: model.name,
      ...result,
      clearScores: byClass(clear, model),
      maxError,
      ms: { server },
      params: parametersJson(planned.manifest.parameters),
      operations: planned.operations,
      ...(map && { map }),
      warnings: input.segment.warnings,
      simulated: true,
    });
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    ...drawing(input, model, io, decrypted),
    ...resultLines(decrypted, model, colours, options.exact),
    '',
    `  ${colours.yellow('simulated: nothing was encrypted')}, ${formatMs(server)}`,
    `  ${colours.dim('precision')}   ${describePrecision(maxError)}`,
    `  ${colours.dim('parameters')}  ${describeParameters(planned.manifest)}`,
  ]);
}

function drawing(input: EcgInput, model: Model, io: Io, decrypted?: Decrypted): string[] {
  const colours = coloursOf(io.stdout);
  const { samples } = input.segment;
  const { seconds } = model.preprocessing;
  const evidence = decrypted && evidenceOf(decrypted, model);
  return [
    '',
    `  ${colours.bold(printable(model.name))}  ${colours.dim(describeEcg(input))}`,
    '',
    ...drawTrace(samples, seconds, widthOf(io.stdout), colours, evidence),
    '',
  ];
}

function stepLines({ plan, steps, layers, threads }: Run, colours: Colours): string[] {
  const ms = (step: Step) => formatMs(steps[step]);
  const { evaluationKeys, request, reply } = plan.bytes;
  const rows = [
    ['server', 'start (once)', ms('start'), ''],
    ['client', 'key generation', ms('keygen'), ''],
    ['up', 'evaluation keys (once)', ms('upKeys'), formatBytes(evaluationKeys)],
    ['server', 'load keys (once)', ms('loadKeys'), ''],
    ['client', 'encrypt', ms('encrypt'), ''],
    ['up', 'request', ms('upRequest'), formatBytes(request)],
    ...mergeLayers(plan.stages, layers).map(({ name, ms }) => ['server', name, formatMs(ms), '']),
    ['server', `all layers, ${describeThreads(threads)}`, ms('server'), ''],
    ['down', 'reply', ms('down'), formatBytes(reply)],
    ['client', 'decrypt', ms('decrypt'), ''],
  ].map((row) => (row[1].startsWith('all layers') ? row.map((cell) => colours.bold(cell)) : row));
  const columns = [
    { title: 'where' },
    { title: 'step' },
    { title: 'time', align: 'right' as const },
    { title: 'bytes', align: 'right' as const },
  ];
  return table(columns, rows, colours);
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
}

function describePrecision(maxError: number): string {
  if (maxError === 0) return 'scores equal those of the clear model';
  return `${(-Math.log2(maxError)).toFixed(1)} bits: largest score error ${maxError.toExponential(1)} against the clear model`;
}
