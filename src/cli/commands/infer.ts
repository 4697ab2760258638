import type { Command } from 'commander';
import { profileChart } from '../../charts/profile.ts';
import { drawSvg } from '../../charts/svg.ts';
import { keyCount } from '../../ckks/keyswitch/key-set.ts';
import { compile } from '../../ckks/planner/compile.ts';
import { type EvaluationKeys, Server } from '../../ckks/server.ts';
import { BlindbeatError } from '../../errors.ts';
import { inFile } from '../../files/input.ts';
import { writeOutput } from '../../files/output.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import { peakMemory } from '../../measure/machine.ts';
import { type StartTask, startParts } from '../../measure/progress.ts';
import { stageClock, timed } from '../../measure/stages.ts';
import { loadModel } from '../../model/files.ts';
import { openContainerFile, readContainerFile, readHeaderFile } from '../files/input.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import {
  type BackendChoice,
  backendOptions,
  compileOptions,
  examples,
  jsonOption,
  type PlanChoice,
  planOptions,
} from '../options.ts';
import { coloursOf, type Io, printJson, printLines } from '../terminal/io.ts';
import { describeMemory, describeThreads, profileLines } from '../terminal/plan.ts';
import { progressOn } from '../terminal/progress.ts';

interface InferOptions extends PlanChoice, BackendChoice {
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
        'Needs no secret and sees no ECG, no score, no class.',
    )
    .argument('<request>', 'file that encrypt made')
    .requiredOption('-k, --keys <file>', "the client's evaluation.keys")
    .requiredOption('-o, --out <file>', 'the reply to write');
  backendOptions(planOptions(command, io))
    .option('--profile', 'time and operations of every stage')
    .option('--profile-svg <file>', 'draw the time of every stage')
    .addOption(jsonOption())
    .action((request: string, options: InferOptions) => infer(request, options, io));
  examples(command, [
    'blindbeat infer request.bin --keys my.keys/evaluation.keys --out reply.bin',
    'blindbeat infer request.bin --keys evaluation.keys --out reply.bin --profile',
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
