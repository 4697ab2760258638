import type { Command } from 'commander';
import { compile } from '../../ckks/planner/compile.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { simulate } from '../../ckks/simulate.ts';
import { startServer } from '../../client/local-server.ts';
import { Session } from '../../client/session.ts';
import { largestDifference } from '../../evaluation/agreement.ts';
import { peakMemory } from '../../measure/machine.ts';
import { startParts, type Watch } from '../../measure/progress.ts';
import { roundMs } from '../../measure/stages.ts';
import { byClass } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import { forward } from '../../model/forward.ts';
import type { Model } from '../../model/model.ts';
import { type EcgInput, type EcgOptions, ecgOptions, readEcg } from '../files/ecg.ts';
import {
  type BackendChoice,
  backendOptions,
  compileOptions,
  discloseOption,
  exactOption,
  examples,
  jsonOption,
  type PlanChoice,
  planOptions,
} from '../options.ts';
import { type ClassifiedEcg, classificationLines, ecgLines } from '../terminal/classification.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, printJson, printLines, warn, widthOf } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { disclosureJson, disclosureLines, resultJson } from '../terminal/result.ts';

interface ClassifyOptions extends EcgOptions, PlanChoice, BackendChoice {
  simulate?: boolean;
  profile?: boolean;
  exact?: boolean;
  disclose?: boolean;
  json?: boolean;
}

/** `blindbeat classify`: both roles on this machine, the server in a process of its own. */
export function addClassify(program: Command, io: Io): void {
  const command = program
    .command('classify')
    .summary('classify an ECG in one encrypted round trip')
    .description(
      'Classify an ECG in one encrypted round trip, both roles on this machine: this process is the ' +
        'client (makes keys, encrypts, decrypts), a second one is the server (has the network, sees ' +
        'ciphertexts only). Without an ECG a built-in synthetic one is used.',
    );
  backendOptions(planOptions(ecgOptions(command), io))
    .option('--simulate', 'the same packed computation without encryption: fast, and shows the same class')
    .option('--profile', 'time and operations of every stage')
    .addOption(exactOption())
    .addOption(discloseOption().conflicts('profile'))
    .addOption(jsonOption())
    .action((path: string | undefined, options: ClassifyOptions) =>
      interruptible((signal) => classifyEcg(path, options, io, signal)),
    );
  examples(command, [
    'blindbeat classify',
    'blindbeat classify --rhythm af --seed 7 --outputs scores+map',
    'blindbeat classify records/A00001.hea',
    'blindbeat classify holter.csv --rate 250 --lead 2 --start 600',
    'blindbeat classify --json | jq .class',
  ]).addHelpText(
    'after',
    `
With --json: ms are milliseconds; bytes those on the wire, but loadedKeys those
in the server's memory; maxError the largest difference of decrypted from clear
scores. --simulate encrypts nothing: simulated is true, ms has only server. The
exit code is 9 if no class can be named (a score beyond the validated limit).`,
  );
}

async function classifyEcg(
  path: string | undefined,
  options: ClassifyOptions,
  io: Io,
  signal: AbortSignal,
): Promise<void> {
  const model = await loadModel(options.model);
  const input = await readEcg(path, options, model.preprocessing);
  warn(io, input.segment.warnings);
  const draw = (run?: ClassifiedEcg) =>
    ecgLines(input, model, widthOf(io.stdout), coloursOf(io.stdout), run?.decrypted);
  // What is known is shown at once; with a map the drawing waits for the evidence.
  const early = !options.json && !options.simulate && !options.disclose && options.outputs === 'scores';
  if (early) printLines(io.stdout, draw());
  const run = options.simulate
    ? await simulated(model, input, options)
    : await roundTrip(model, input, options, { start: progressOn(io, options.json), signal });
  if (options.disclose) {
    if (options.json) printJson(io, { model: model.name, ...disclosureJson(run.decrypted, model) });
    else printLines(io.stdout, ['', ...disclosureLines(run.decrypted, model, coloursOf(io.stdout))]);
    return;
  }
  const clear = forward(model, input.segment.samples).scores;
  const maxError = largestDifference(run.decrypted.scores, clear);
  if (options.json) {
    const { map, ...result } = resultJson(run.decrypted, model, options.exact);
    printJson(io, {
      model: model.name,
      ...result,
      clearScores: byClass(clear, model),
      maxError,
      ...runJson(run),
      ...(map && { map }),
      warnings: input.segment.warnings,
      ...(!run.encrypted && { simulated: true }),
    });
    return;
  }
  const shown = { exact: options.exact, profile: options.profile, maxError };
  printLines(io.stdout, [
    ...(early ? [] : draw(run)),
    ...classificationLines(run, model, shown, coloursOf(io.stdout)),
  ]);
}

function runJson({ plan, ms, encrypted }: ClassifiedEcg): object {
  const { open, keygen, loadKeys, encrypt, decrypt } = { ...encrypted?.steps }; // JSON has what is defined
  const { evaluationKeys, request, reply } = plan.bytes;
  return {
    ms: { open, keygen, loadKeys, encrypt, server: ms, decrypt, layers: encrypted?.layers },
    ...(encrypted && { bytes: { evaluationKeys, loadedKeys: encrypted.loadedKeys, request, reply } }),
    params: parametersJson(plan.manifest.parameters),
    operations: plan.operations,
    ...(encrypted && { threads: encrypted.threads, peakMemory: encrypted.peak }),
  };
}

/** The whole protocol, with the server in its own process. */
async function roundTrip(
  model: Model,
  { segment }: EcgInput,
  options: ClassifyOptions,
  watch: Watch,
): Promise<ClassifiedEcg> {
  const { threads } = options;
  const choice = { model: options.model, name: model.name, threads, ...(await compileOptions(options)) };
  using server = await startServer(choice, watch);
  using session = await Session.open(server.transport, server.manifest, {
    ...watch,
    maxKeyBytes: server.plan.bytes.evaluationKeys,
  });
  const { plan, startMs, openMs } = server;
  const estimates = plan.stages.map((stage) => stage.estimateMs);
  using task = startParts(watch.start, 'classifying, encrypted', estimates);
  const trip = await session.classify(segment.samples, {
    onProgress: (stages) => task.update(stages),
    signal: watch.signal,
  });
  return {
    plan,
    decrypted: trip.decrypted,
    ms: trip.steps.server,
    encrypted: {
      steps: { start: startMs, open: openMs, ...session.steps, ...trip.steps },
      loadedKeys: session.loadedKeys,
      layers: trip.layers,
      threads: trip.threads,
      peak: { client: peakMemory(), server: trip.peakMemory },
    },
  };
}

/** The same computation on plain numbers. */
async function simulated(
  model: Model,
  { segment }: EcgInput,
  options: ClassifyOptions,
): Promise<ClassifiedEcg> {
  const compiled = compile(model, await compileOptions(options));
  const started = performance.now();
  const decrypted = simulate(compiled, segment.samples);
  return { plan: compiled.plan, decrypted, ms: roundMs(performance.now() - started) };
}
