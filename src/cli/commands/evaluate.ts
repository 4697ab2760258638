import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { confusionChart } from '../../charts/confusion.ts';
import { drawSvg } from '../../charts/svg.ts';
import type { BackendName } from '../../ckks/evaluator/backend.ts';
import { fingerprint, type Plan } from '../../ckks/planner/plan.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import type { WireSizes } from '../../ckks/wire/file-sizes.ts';
import type { ParsedManifest } from '../../ckks/wire/manifest.ts';
import { startServer } from '../../client/local-server.ts';
import { RemoteClient } from '../../client/remote-client.ts';
import { openDataset } from '../../dataset/open.ts';
import { BlindbeatError } from '../../errors.ts';
import { type Comparison, compareWith, requireSameClasses } from '../../evaluation/compare.ts';
import {
  byLocalServer,
  type EncryptedBy,
  type EncryptedEvaluation,
  evaluateEncrypted,
} from '../../evaluation/encrypted.ts';
import { UNNAMED } from '../../evaluation/metrics.ts';
import { evaluateRecords, type Outcome } from '../../evaluation/outcome.ts';
import { worstRanges } from '../../evaluation/ranges.ts';
import { chooseRecords, drawRecords, PARTS, type RecordChoice } from '../../evaluation/records.ts';
import { summarise } from '../../evaluation/summary.ts';
import { formatCount, round } from '../../measure/format.ts';
import { machine } from '../../measure/machine.ts';
import type { Watch } from '../../measure/progress.ts';
import { byClass, NOT_A_DEVICE } from '../../model/classes.ts';
import { loadModel } from '../../model/files.ts';
import type { Model } from '../../model/model.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import {
  BULK,
  type BulkOptions,
  bulkOptions,
  CONCURRENCY,
  findService,
  keyStorage,
  requireServer,
  serviceOptions,
} from '../files/service.ts';
import { type BackendChoice, backendOptions, examples, modelOption, wholeNumber } from '../options.ts';
import {
  comparisonLines,
  encryptedLines,
  metricsLines,
  rangeLines,
  unnamedLines,
} from '../terminal/evaluation.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, jsonText, printable, printJson, printLines, warn } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { heading } from '../terminal/table.ts';

interface EvaluateOptions extends RecordChoice, BackendChoice, BulkOptions {
  model: string;
  encrypted?: number;
  against?: string;
  /** A file; true for standard output. */
  json?: string | true;
  svg?: string;
}

/** `blindbeat evaluate`: how good a model is on labelled recordings, in the clear and encrypted. */
export function addEvaluate(program: Command, io: Io): void {
  const command = program
    .command('evaluate')
    .summary('measure a model on labelled recordings')
    .description(
      'Measure how good a model is on recordings whose class is known: confusion matrix, F1, CinC score ' +
        'and accuracy with 95 % bootstrap intervals, and how far the values went. Each record takes the ' +
        'path that ships: one segment, one class or none, and none counts as a miss.',
    )
    .addOption(modelOption())
    .requiredOption(
      '--data <path>',
      'training2017.zip, or a zip or folder laid out as it is, with its REFERENCE-v3.csv',
    )
    .addOption(
      new Option('--split <part>', 'part of the CinC 2017 split to take; all: every record, of any data set')
        .choices([...PARTS])
        .default('test'),
    )
    .option('--limit <k>', 'take k records only, drawn by the seed', wholeNumber(1))
    .option(
      '--encrypted <k>',
      'the same for k of the records under encryption, drawn by the seed',
      wholeNumber(1),
    );
  bulkOptions(serviceOptions(backendOptions(command)))
    .option('--against <name|dir>', 'compare with a second model on the same records')
    .option('--seed <n>', 'seed of the draws and of the bootstrap', wholeNumber(0), 1)
    .option('--json [file]', 'write one JSON object, with every record; without a file on standard output')
    .option('--svg <file>', 'draw the confusion matrix')
    .action((options: EvaluateOptions) => interruptible((signal) => evaluate(options, io, signal)));
  examples(command, [
    'blindbeat evaluate --data training2017.zip',
    'blindbeat evaluate --data training2017.zip --limit 20 --encrypted 5',
    'blindbeat evaluate --model models/mine --against deepcardio-deg2 \\\n' +
      '      --data training2017.zip --json mine.json --svg mine.svg',
    'blindbeat evaluate --data my-records/ --split all',
    'blindbeat evaluate --data training2017.zip --encrypted 50 \\\n      --server https://heart.example --token-file my.token',
  ]);
}

async function evaluate(options: EvaluateOptions, io: Io, signal: AbortSignal): Promise<void> {
  const { seed, json, svg } = options;
  requireServer(options, BULK);
  const jsonFile = typeof json === 'string' ? json : undefined;
  await requireOutputs([jsonFile, svg]);
  const model = await loadModel(options.model);
  const rival = options.against === undefined ? undefined : await loadModel(options.against);
  if (rival) requireSameClasses(model, rival);
  const dataset = openDataset(options.data);
  const { records, warnings } = await chooseRecords(dataset.records, options);
  warn(io, [
    ...(dataset.missing.length > 0
      ? [`${dataset.missing.length} records are labelled but not in ${options.data}: left out`]
      : []),
    ...warnings,
  ]);
  const watch = { start: progressOn(io, json === true), signal };
  // Before long work in the clear: the server refuses what cannot be encrypted.
  using by = options.encrypted === undefined ? undefined : await encryptedBy(model, options, io, watch);

  const outcomes = await evaluateRecords(model, records, watch);
  const evaluation = summarise(outcomes, model.classes, seed);
  const comparison = rival && (await compareWith(rival, records, outcomes, { seed, ...watch }));
  const drawn = drawRecords(records, options.encrypted ?? 0, seed);
  const encrypted = by && (await evaluateEncrypted(model, drawn, outcomes, { ...by, seed, ...watch }));

  const ranges = worstRanges(model, outcomes);
  const document = {
    model: model.name,
    data: basename(resolve(options.data)),
    split: options.split,
    seed,
    ...evaluation,
    notClassified: outcomes
      .filter((o) => o.named === UNNAMED)
      .map(({ id, label, reason }) => ({ id, label, reason })),
    ranges: { ...ranges, scoreLimit: model.scoreLimit },
    ...(rival && comparison && { against: againstJson(rival, comparison) }),
    ...(by && encrypted && { encrypted: encryptedJson(encrypted, model, by) }),
    command: commandOf(options),
    machine: machine(),
    results: outcomes.map((o) => resultOf(o, model, 6)),
  };
  const part = options.split === 'all' ? 'records' : `records of the ${options.split} part`;
  const what = `${formatCount(records.length)} ${part}`;
  const title = { model: model.name, records: what };
  await writeOutputs(
    [
      [jsonFile, () => jsonText(document)],
      [svg, () => drawSvg(confusionChart(evaluation, model.classes, title))],
    ],
    signal,
  );
  if (json === true) {
    printJson(io, document);
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    '',
    heading(model.name, `${what}, in the clear; seed ${seed}`, colours),
    '',
    ...metricsLines(evaluation, model.classes, colours),
    '',
    ...unnamedLines(outcomes, colours),
    ...rangeLines(ranges, model.scoreLimit, colours),
    '',
    ...(rival && comparison ? [...comparisonLines(comparison, rival, model, colours), ''] : []),
    ...(by && encrypted ? [...encryptedLines(encrypted, by, colours), ''] : []),
    `  ${colours.dim(NOT_A_DEVICE)}`,
    ...[jsonFile, svg].flatMap((file) => (file === undefined ? [] : [`  written: ${printable(file)}`])),
  ]);
}

function againstJson(rival: Model, { evaluation, difference }: Comparison): object {
  return { model: rival.name, ...evaluation, difference };
}

/** Who computes on ciphertexts, and what is known of its plan. */
interface Computing extends EncryptedBy, Disposable {
  /** A backend of this machine, or a service's address. */
  backend?: BackendName;
  service?: string;
  manifest: ParsedManifest;
  bytes: Omit<WireSizes, 'secretKey'>;
  operations?: Plan['operations'];
}

/** The service that was named, or else a server in a process of its own. */
async function encryptedBy(model: Model, options: EvaluateOptions, io: Io, watch: Watch): Promise<Computing> {
  const { backend, threads, concurrency = CONCURRENCY } = options;
  if (options.server !== undefined) {
    const remote = await findService(options, io, { model: model.name, bulk: true, signal: watch.signal });
    const { transport, manifest, model: offered } = remote;
    requireSameModel(model, manifest, transport.url);
    const open = () => RemoteClient.open(remote, { keys: keyStorage(options.keys, io), ...watch });
    const known = { service: transport.url, manifest, bytes: offered.bytes };
    return { ...known, open, atOnce: concurrency, [Symbol.dispose]() {} };
  }
  const opened = { model: options.model, name: model.name, outputs: 'scores', backend, threads } as const;
  const server = await startServer(opened, watch);
  const { bytes, operations } = server.plan;
  const known = { backend, manifest: server.manifest, bytes, operations };
  return { ...known, ...byLocalServer(server, watch), [Symbol.dispose]: () => server[Symbol.dispose]() };
}

/** What is compared with the clear model must be the same network. */
function requireSameModel(model: Model, manifest: ParsedManifest, url: string): void {
  if (manifest.model.fingerprint === fingerprint(model)) return;
  throw new BlindbeatError(
    'MISMATCH',
    `${url} has another network of the name ${model.name}: give the same --model as its server has`,
  );
}

function encryptedJson(found: EncryptedEvaluation, model: Model, by: Computing): object {
  const { parameters, planHash } = by.manifest;
  return {
    ...found.evaluation,
    ...found.agreement,
    ...found.times,
    levels: parameters.primes.length - 1,
    operations: by.operations,
    bytes: by.bytes,
    setupMs: found.setupMs,
    peakMemory: found.peakMemory,
    backend: by.backend,
    service: by.service,
    planHash,
    params: parametersJson(parameters),
    results: found.outcomes.map((outcome) => ({ ...resultOf(outcome, model, 3), ms: outcome.ms })),
  };
}

/** One record; of decrypted scores few digits are told, as everywhere. */
function resultOf({ id, label, named, scores }: Outcome, model: Model, digits: number): object {
  const rounded = scores && Array.from(scores, (s) => round(s, digits));
  return { id, label, class: model.classes[named] ?? null, scores: rounded && byClass(rounded, model) };
}

/** The command that measures the same again, with stand-ins for the data's place and the service's. */
function commandOf(options: EvaluateOptions): string {
  const { model, split, limit, encrypted, backend, threads, against, seed, server } = options;
  const parts = [`blindbeat evaluate --model ${model} --data PATH --split ${split} --seed ${seed}`];
  if (limit !== undefined) parts.push(`--limit ${limit}`);
  if (against !== undefined) parts.push(`--against ${against}`);
  if (encrypted === undefined) return parts.join(' ');
  parts.push(`--encrypted ${encrypted} ${server === undefined ? `--backend ${backend}` : '--server URL'}`);
  if (threads !== undefined) parts.push(`--threads ${threads}`);
  return parts.join(' ');
}
