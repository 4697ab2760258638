import type { Command } from 'commander';
import { compile } from '../../ckks/planner/compile.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { simulate } from '../../ckks/simulate.ts';
import { startServer } from '../../client/local-server.ts';
import { type ModelChoice, RemoteClient } from '../../client/remote-client.ts';
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
  findService,
  keyStorage,
  keysOption,
  modelChoice,
  requireServer,
  type ServiceOptions,
  serviceOptions,
} from '../files/service.ts';
import {
  type BackendChoice,
  backendOptions,
  compileOptions,
  discloseOption,
  exactOption,
  examples,
  jsonOption,
  number,
  type PlanChoice,
  planOptions,
} from '../options.ts';
import {
  type ClassifiedEcg,
  classificationLines,
  ecgLines,
  type ShownModel,
} from '../terminal/classification.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, printJson, printLines, warn, widthOf } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { disclosureJson, disclosureLines, resultJson } from '../terminal/result.ts';

interface ClassifyOptions extends EcgOptions, PlanChoice, BackendChoice, ServiceOptions {
  /** Folder with keys for a service. */
  keys?: string;
  /** The share of classifications that a known recording goes along with. */
  audit?: number;
  simulate?: boolean;
  profile?: boolean;
  exact?: boolean;
  disclose?: boolean;
  json?: boolean;
}

/** `blindbeat classify`: both roles on this machine, the server in a process of its own; or a service's client. */
export function addClassify(program: Command, io: Io): void {
  const command = program
    .command('classify')
    .summary('classify an ECG in one encrypted round trip')
    .description(
      'Classify an ECG in one encrypted round trip, both roles on this machine: this process is the ' +
        'client (makes keys, encrypts, decrypts), a second one is the server (has the network, sees ' +
        'ciphertexts only). With --server this process is the client of a service. Without an ECG a built-in ' +
        'synthetic one is used.',
    );
  serviceOptions(backendOptions(planOptions(ecgOptions(command), io)), ['simulate', 'profile'])
    .addOption(keysOption())
    .option(
      '--audit <p>',
      'with this chance send a recording along whose scores the manifest tells, and refuse a service that answers ' +
        'it wrong',
      number(0, 1),
    )
    .option('--simulate', 'the same packed computation without encryption: fast, and shows the same class')
    .option('--profile', 'time and operations of every stage')
    .addOption(exactOption())
    .addOption(discloseOption().conflicts('profile'))
    .addOption(jsonOption())
    .action((path: string | undefined, options: ClassifyOptions) =>
      interruptible((signal) => {
        requireServer(options, ['keys', 'audit']);
        const job: Job = { path, options, choice: modelChoice(command), io, signal };
        return options.server === undefined ? classifyHere(job) : classifyByService(job);
      }),
    );
  examples(command, [
    'blindbeat classify',
    'blindbeat classify --rhythm af --seed 7 --outputs scores+map',
    'blindbeat classify records/A00001.hea',
    'blindbeat classify holter.csv --rate 250 --lead 2 --start 600',
    'blindbeat classify --json | jq .class',
    'blindbeat classify record.hea --server URL --token-file my.token',
  ]).addHelpText(
    'after',
    `
With --json: ms are milliseconds; bytes those on the wire, but loadedKeys those
in the server's memory; maxError the largest difference of decrypted from clear
scores. --simulate encrypts nothing: simulated is true, ms has only server. The
exit code is 9 if no class can be named (a score beyond the validated limit).
With --server the keys are kept, and sent when the service does not have them;
what only the owner of the network knows is left out: clear scores, stages. The
exit code is 11 if --audit finds that it answered wrong.`,
  );
}

/** What the command was asked for. */
interface Job {
  path?: string;
  options: ClassifyOptions;
  /** Of a service's models. */
  choice: ModelChoice;
  io: Io;
  signal: AbortSignal;
}

async function classifyHere({ path, options, io, signal }: Job): Promise<void> {
  const model = await loadModel(options.model);
  const input = await readEcg(path, options, model.preprocessing);
  await classifyEcg(input, model, options, io, {
    // With a map the drawing waits for the evidence.
    early: !options.simulate && options.outputs === 'scores',
    run: () =>
      options.simulate
        ? simulated(model, input, options)
        : roundTrip(model, input, options, { start: progressOn(io, options.json), signal }),
    clear: () => forward(model, input.segment.samples).scores,
  });
}

/** The client's part alone: of the network it knows the manifest. */
async function classifyByService({ path, options, choice, io, signal }: Job): Promise<void> {
  const remote = await findService(options, io, { ...choice, signal });
  const { manifest } = remote;
  const input = await readEcg(path, options, manifest.preprocessing);
  await classifyEcg(input, { ...manifest, name: manifest.model.name }, options, io, {
    early: manifest.outputs === 'scores',
    run: async () => {
      const start = progressOn(io, options.json);
      const keys = keyStorage(options.keys, io);
      const { audit } = options;
      using client = await RemoteClient.open(remote, { keys, start, audit, signal });
      using _task = start('classifying, encrypted', { total: 1 });
      const trip = await client.classify(input.segment.samples, { signal });
      const { decrypted, steps, layers, queueMs, loadKeysMs, audited } = trip;
      const loadKeys = loadKeysMs || undefined; // the service has them loaded already
      return {
        plan: { manifest, bytes: remote.model.bytes },
        decrypted,
        ms: steps.server,
        ...(audit !== undefined && { audited }),
        encrypted: {
          steps: { ...client.steps, loadKeys, queue: queueMs, ...steps },
          layers,
          peak: { client: peakMemory() },
        },
      };
    },
  });
}

/** How an ECG is classified, and what can be said of it. */
interface Classifier {
  /** Whether the ECG can be drawn before it is classified. */
  early: boolean;
  run(): Promise<ClassifiedEcg>;
  /** The scores of the clear model, for whoever has it. */
  clear?(): ArrayLike<number>;
}

async function classifyEcg(
  input: EcgInput,
  model: ShownModel,
  options: ClassifyOptions,
  io: Io,
  { run: classify, ...known }: Classifier,
): Promise<void> {
  warn(io, input.segment.warnings);
  const draw = (run?: ClassifiedEcg) =>
    ecgLines(input, model, widthOf(io.stdout), coloursOf(io.stdout), run?.decrypted);
  // What is known is shown at once.
  const early = known.early && !options.json && !options.disclose;
  if (early) printLines(io.stdout, draw());
  const run = await classify();
  if (options.disclose) {
    if (options.json) printJson(io, { model: model.name, ...disclosureJson(run.decrypted, model) });
    else printLines(io.stdout, ['', ...disclosureLines(run.decrypted, model, coloursOf(io.stdout))]);
    return;
  }
  const clear = known.clear?.();
  const maxError = clear && largestDifference(run.decrypted.scores, clear);
  if (options.json) {
    const { map, ...result } = resultJson(run.decrypted, model, options.exact);
    printJson(io, {
      model: model.name,
      ...result,
      ...(clear && { clearScores: byClass(clear, model), maxError }),
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

function runJson({ plan, ms, encrypted, audited }: ClassifiedEcg): object {
  const steps: NonNullable<ClassifiedEcg['encrypted']>['steps'] = { ...encrypted?.steps };
  const { open, keygen, upKeys, loadKeys, queue, encrypt, decrypt } = steps; // JSON has what is defined
  const { evaluationKeys, request, reply } = plan.bytes;
  return {
    ms: {
      ...{
        open,
        keygen,
        ...(queue !== undefined && { upKeys, queue }),
        loadKeys,
        encrypt,
        server: ms,
        decrypt,
      },
      layers: plan.stages && encrypted?.layers,
    },
    ...(encrypted && { bytes: { evaluationKeys, loadedKeys: encrypted.loadedKeys, request, reply } }),
    params: parametersJson(plan.manifest.parameters),
    operations: plan.operations,
    ...(encrypted && { threads: encrypted.threads, peakMemory: encrypted.peak }),
    audited,
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
