import type { Command } from 'commander';
import { profileChart } from '../../charts/profile.ts';
import { drawSvg } from '../../charts/svg.ts';
import { keyCount } from '../../ckks/keyswitch/key-set.ts';
import { compile } from '../../ckks/planner/compile.ts';
import { type EvaluationKeys, Server } from '../../ckks/server.ts';
import { openContainerFile, readContainerFile, readHeaderFile } from '../../client/container-files.ts';
import { openKeyFile } from '../../client/key-storage/key-folder.ts';
import { type ModelChoice, ServedKeys } from '../../client/remote-client.ts';
import { answerRequests, findRequests } from '../../client/request-files.ts';
import { BlindbeatError } from '../../errors.ts';
import { inFile } from '../../files/input.ts';
import { writeOutput } from '../../files/output.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import { median, peakMemory } from '../../measure/machine.ts';
import { type StartTask, startParts } from '../../measure/progress.ts';
import { roundMs, stageClock, timed } from '../../measure/stages.ts';
import { loadModel } from '../../model/files.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import {
  type BulkOptions,
  CONCURRENCY,
  concurrencyOption,
  findService,
  modelChoice,
  requireServer,
  serviceOptions,
} from '../files/service.ts';
import {
  type BackendChoice,
  backendOptions,
  compileOptions,
  examples,
  jsonOption,
  type PlanChoice,
  planOptions,
} from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { coloursOf, type Io, printJson, printLines, warn } from '../terminal/io.ts';
import { describeMemory, describeThreads, profileLines } from '../terminal/plan.ts';
import { progressOn } from '../terminal/progress.ts';

interface InferOptions extends PlanChoice, BackendChoice, BulkOptions {
  keys: string;
  out: string;
  profile?: boolean;
  profileSvg?: string;
  json?: boolean;
}

/** `blindbeat infer`: the server's whole work on one request. */
export function addInfer(program: Command, io: Io): void {
  const command = program
    .command('infer')
    .summary('run the network on a request, without seeing the ECG')
    .description(
      "The server's part: run the whole network on an encrypted ECG with the client's evaluation keys. " +
        'Needs no secret and sees no ECG, no score, no class. With --server a service does it: the keys are sent if ' +
        'it does not have them, and of a folder all requests that have no reply yet.',
    )
    .argument('<request>', 'file that encrypt made; with --server also a folder of them')
    .requiredOption('-k, --keys <file>', "the client's evaluation.keys")
    .requiredOption('-o, --out <file>', 'the reply to write; of a folder the folder for NAME.reply');
  serviceOptions(backendOptions(planOptions(command, io)), ['profile', 'profileSvg'])
    .addOption(concurrencyOption())
    .option('--profile', 'time and operations of every stage')
    .option('--profile-svg <file>', 'draw the time of every stage')
    .addOption(jsonOption())
    .action((request: string, options: InferOptions) => {
      requireServer(options, ['concurrency']);
      if (options.server === undefined) return infer(request, options, io);
      return interruptible((signal) =>
        inferByService(request, options, io, { ...modelChoice(command), signal }),
      );
    });
  examples(command, [
    'blindbeat infer request.bin --keys my.keys/evaluation.keys --out reply.bin',
    'blindbeat infer request.bin --keys evaluation.keys --out reply.bin --profile',
    'blindbeat infer requests/ --keys my.keys/evaluation.keys --out replies/ \\\n' +
      '      --server https://heart.example --token-file my.token',
  ]);
}

/** Requests of one key pair, evaluated by a service. */
async function inferByService(
  path: string,
  options: InferOptions,
  io: Io,
  choice: ModelChoice & { signal: AbortSignal },
): Promise<void> {
  const { out, concurrency: atOnce = CONCURRENCY } = options;
  const { signal } = choice;
  const { requests, others } = await findRequests(path, out);
  if (requests[0].path === path) await requireOutputs([out], [path, options.keys]);
  const { planHash, keyId } = requests[0].header;
  const remote = await findService(options, io, { ...choice, planHash, bulk: true });
  const { manifest } = remote;
  const file = await openKeyFile(options.keys, manifest, keyId);
  if (others.length > 0) warn(io, [`${others.length} files of ${path} are no requests: left out`]);
  const start = progressOn(io, options.json);
  const times: { upKeys?: number } = {};
  const keys = new ServedKeys(remote, file, { start, signal });
  const sent = await timed(times, 'upKeys', () => keys.send());
  using task = start('classifying, encrypted', { total: requests.length });
  const { replies, before, failures } = await answerRequests(keys, manifest, requests, {
    ...{ atOnce, signal, onReply: (done) => task.update(done) },
  });
  warn(
    io,
    failures.map(({ message }) => message),
  );
  if (failures.length > 0) {
    const { code } = failures[0];
    throw new BlindbeatError(
      code,
      `${failures.length} of ${requests.length} requests got no reply, see above`,
    );
  }
  const ms = replies.length === 0 ? undefined : roundMs(median(replies.map((reply) => reply.ms)));
  if (options.json) {
    const bytes = remote.model.bytes;
    const upKeys = sent > 0 ? times.upKeys : undefined;
    printJson(io, {
      model: manifest.model.name,
      keyId,
      path: out,
      replies: replies.length,
      repliedBefore: before,
      bytes,
      ms: { upKeys, server: ms },
    });
    return;
  }
  const earlier = before > 0 ? `, ${before} were there before` : '';
  const each = ms === undefined ? '' : `, computed in ${formatMs(ms)} each (median)`;
  printLines(io.stdout, [
    `${out}: ${replies.length === 1 ? '1 reply' : `${replies.length} replies`}${earlier}${each}`,
  ]);
}

async function infer(path: string, options: InferOptions, io: Io): Promise<void> {
  const { out, profileSvg } = options;
  await requireOutputs([out, profileSvg], [path, options.keys]);
  const model = await loadModel(options.model);
  // Whether the files fit is known from their headers, before any of the long work.
  const header = await readHeaderFile(path, 'request');
  const compiled = compile(model, await compileOptions(options));
  const { plan } = compiled;
  const { manifest } = plan;
  requirePlan(path, header.planHash, manifest.planHash);
  const request = await readContainerFile(path, 'request', manifest);
  const { keyId } = header;
  const readKeys = await openContainerFile(options.keys, 'evaluation keys', manifest, keyId);

  const times: { start?: number; loadKeys?: number } = {};
  const start = progressOn(io, options.json);
  using server = await timed(times, 'start', async () => {
    using _task = start('starting the server', { total: 1 });
    return await Server.open(compiled, { threads: options.threads });
  });
  using keys = await timed(times, 'loadKeys', () => {
    using task = start('loading the keys', { total: keyCount(manifest.keys) });
    const onKey = (done: number) => task.update(done);
    return inFile(options.keys, () => server.loadKeys(readKeys(), { keyId, onKey }));
  });
  const { reply, ms, layers } = evaluate(server, request, keys, start);
  await writeOutput(out, reply);
  const how = `backend ${options.backend}, ${describeThreads(server.threads)}`;
  await writeOutputs([[profileSvg, () => drawSvg(profileChart(layers, { model: model.name, how, ms }))]]);

  const peak = peakMemory();
  if (options.json) {
    const { operations, bytes } = plan;
    printJson(io, {
      model: model.name,
      keyId,
      path: out,
      bytes: { evaluationKeys: bytes.evaluationKeys, request: bytes.request, reply: reply.length },
      threads: server.threads,
      ms: { start: times.start, loadKeys: times.loadKeys, server: ms, layers },
      operations,
      peakMemory: { server: peak },
    });
    return;
  }
  const colours = coloursOf(io.stdout);
  printLines(io.stdout, [
    ...(options.profile ? ['', ...profileLines(plan.stages, layers, colours), ''] : []),
    `${out}: send it back to the client (${formatBytes(reply.length)})`,
    ...(profileSvg === undefined ? [] : [`${profileSvg}: the time of every stage`]),
    `computed in ${formatMs(ms)} by ${describeThreads(server.threads)}, ` +
      `memory ${describeMemory({ server: peak })} at most`,
  ]);
}

/** A request is for one plan, and the options make the plan: more of them may differ than the model. */
function requirePlan(path: string, asked: string, planned: string): void {
  if (asked === planned) return;
  throw new BlindbeatError(
    'MISMATCH',
    `${path}: the request was made for plan ${asked.slice(0, 12)}, but these options make plan ` +
      `${planned.slice(0, 12)}: give the same --model, --outputs, --key-switching, --key-budget and ` +
      "--schedule-costs as for the plan or keygen command that made the client's manifest",
  );
}

function evaluate(server: Server, request: Uint8Array, keys: EvaluationKeys, start: StartTask) {
  const estimates = server.plan.stages.map((stage) => stage.estimateMs);
  using task = startParts(start, 'classifying, encrypted', estimates);
  const clock = stageClock((_, index) => task.update(index + 1));
  const reply = server.evaluate(request, keys, clock.onStage);
  return { reply, ...clock.stop() };
}
