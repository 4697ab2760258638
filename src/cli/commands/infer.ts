import type { Command } from 'commander';
import { profileChart } from '../../charts/profile.ts';
import { drawSvg } from '../../charts/svg.ts';
import { type BackendName, keySwitchingOf } from '../../ckks/evaluator/backend.ts';
import { KEY_SWITCHINGS } from '../../ckks/keyswitch/gadget.ts';
import { keyCount } from '../../ckks/keyswitch/key-set.ts';
import type { PlanOptions } from '../../ckks/planner/compile.ts';
import { type Plan, plan } from '../../ckks/planner/plan.ts';
import { Server } from '../../ckks/server.ts';
import type { Header } from '../../ckks/wire/container.ts';
import { writeOutput } from '../../files/output.ts';
import { formatBytes, formatMs } from '../../measure/format.ts';
import { peakMemory } from '../../measure/machine.ts';
import { type StartTask, startParts } from '../../measure/progress.ts';
import { stageClock, timed } from '../../measure/stages.ts';
import { loadModel } from '../../model/files.ts';
import type { Model } from '../../model/model.ts';
import { inFile, readContainerFile, readHeaderFile } from '../files/input.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import {
  type BackendChoice,
  backendOptions,
  examples,
  jsonOption,
  type PlanChoice,
  planOptions,
  scheduleChoice,
} from '../options.ts';
import { coloursOf, type Io, printJson, printLines } from '../terminal/io.ts';
import { describeMemory, describeThreads, profileLines } from '../terminal/plan.ts';
import { progressOn } from '../terminal/progress.ts';

interface InferOptions extends Omit<PlanChoice, 'outputs'>, BackendChoice {
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
  backendOptions(planOptions(command, io, { without: ['outputs'] }))
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
  const choice = await scheduleChoice(options);
  const planned = planFor(model, header, choice, options.backend);
  const { manifest } = planned;
  const request = await readContainerFile(path, 'request', manifest);
  const keysFile = await readContainerFile(options.keys, 'evaluation keys', manifest, header.keyId);

  const times: { start?: number; loadKeys?: number } = {};
  const start = progressOn(io, options.json);
  using server = await timed(times, 'start', async () => {
    using _task = start('starting the server', { total: 1 });
    const { backend, threads } = options;
    const { outputs } = manifest;
    const keySwitching = manifest.keys.switching;
    return await Server.open(model, { outputs, backend, threads, ...choice, keySwitching });
  });
  using keys = await timed(times, 'loadKeys', () => {
    using task = start('loading the keys', { total: keyCount(manifest.keys) });
    return inFile(options.keys, () => server.loadKeys(keysFile, (done) => task.update(done)));
  });
  const { reply, ms, layers } = evaluate(server, request, keys, start);
  await writeOutput(out, reply);
  const how = `backend ${options.backend}, ${describeThreads(server.threads)}`;
  await writeOutputs([[profileSvg, () => drawSvg(profileChart(layers, { model: model.name, how, ms }))]]);

  const peak = peakMemory();
  if (options.json) {
    const { operations, bytes } = planned;
    printJson(io, {
      model: model.name,
      keyId: header.keyId,
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
    ...(options.profile ? ['', ...profileLines(planned.stages, layers, colours), ''] : []),
    `${out}: send it back to the client (${formatBytes(reply.length)})`,
    ...(profileSvg === undefined ? [] : [`${profileSvg}: the time of every stage`]),
    `computed in ${formatMs(ms)} by ${describeThreads(server.threads)}, ` +
      `memory ${describeMemory({ server: peak })} at most`,
  ]);
}

/**
 * The plan that the request was made for: that of the scores, or with the map, with the backend's kind of key
 * switching or the other; if none, the first will tell.
 */
function planFor(model: Model, { planHash }: Header, choice: PlanOptions, backend: BackendName): Plan {
  const kinds = choice.keySwitching
    ? [choice.keySwitching]
    : KEY_SWITCHINGS.toSorted(
        (a, b) => Number(b === keySwitchingOf(backend)) - Number(a === keySwitchingOf(backend)),
      );
  let first: Plan | null = null;
  for (const keySwitching of kinds)
    for (const outputs of ['scores', 'scores+map'] as const) {
      const planned = plan(model, { ...choice, keySwitching, outputs });
      if (planned.manifest.planHash === planHash) return planned;
      first ??= planned;
    }
  return first!;
}

function evaluate(
  server: Server,
  request: Uint8Array,
  keys: ReturnType<Server['loadKeys']>,
  start: StartTask,
) {
  const estimates = server.plan.stages.map((stage) => stage.estimateMs);
  using task = startParts(start, 'classifying, encrypted', estimates);
  const clock = stageClock((_, index) => task.update(index + 1));
  const reply = server.evaluate(request, keys, clock.onStage);
  return { reply, ...clock.stop() };
}
