/**
 * The client's part, each operation in a process of its own that loads nothing of the server's: time until it is ready,
 * time of the operation, peak memory.
 *
 *   node bench/client.ts [--model NAME|DIR] [--runs 5] [--json]
 *
 * Ready: `Client.open` and the contexts that the operation needs. Taken of encrypt and decrypt as the first operation less the
 * second, which finds everything made; of keygen with the secret key.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import { parseManifest } from '../src/ckks/manifest.ts';
import { readSecretKey, writeSecretKey } from '../src/ckks/secret-key.ts';
import { machine, median } from './machine.ts';

const OPERATIONS = ['keygen', 'encrypt', 'decrypt'] as const;
type Operation = (typeof OPERATIONS)[number];

interface Report {
  readyMs: number;
  operationMs: number;
  /** Bytes, of the whole process; `startMemory` before the client is opened. */
  peakMemory: number;
  startMemory: number;
}

const SEED = 1;
const { values, positionals } = parseArgs({
  options: {
    model: { type: 'string', default: 'deepcardio-deg2' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

if (process.send) process.send(await report(positionals[0] as Operation, positionals[1]));
else await measure();

/** The child: one operation on the files of `folder`. */
async function report(operation: Operation, folder: string): Promise<Report> {
  const manifest = parseManifest(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')));
  const read = async (name: string) => new Uint8Array(await readFile(join(folder, name)));
  const secret = operation === 'keygen' ? null : readSecretKey(await read('secret.key'), manifest);
  const input = operation === 'keygen' ? null : await read(operation === 'encrypt' ? 'segment' : 'reply');
  const startMemory = await peakMemory();
  const start = performance.now();
  using client = await Client.open(manifest);
  const times = [start];
  if (operation === 'keygen') {
    using made = client.createSecretKey();
    times.push(performance.now());
    await writeFile(join(folder, 'secret.key'), writeSecretKey(made, manifest));
    await pipeline(client.evaluationKeys(made), createWriteStream(join(folder, 'evaluation.keys')));
    times.push(performance.now());
    return {
      readyMs: times[1] - start,
      operationMs: times[2] - times[1],
      peakMemory: await peakMemory(),
      startMemory,
    };
  }
  for (let i = 0; i < 2; i++) {
    if (operation === 'encrypt') {
      await writeFile(join(folder, 'request'), client.encrypt(secret!, new Float32Array(input!.buffer)));
    } else client.decrypt(secret!, input!);
    times.push(performance.now());
  }
  const operationMs = times[2] - times[1];
  return {
    readyMs: times[1] - start - operationMs,
    operationMs,
    peakMemory: await peakMemory(),
    startMemory,
  };
}

/** The most that this process held. On Linux `resourceUsage` would include what the parent held when it forked. */
async function peakMemory(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS;
  return Number(kilobytes) * 1024;
}

async function run(operation: Operation, folder: string): Promise<Report> {
  const child = fork(import.meta.filename, [operation, folder]);
  const [result] = (await once(child, 'message')) as [Report];
  await once(child, 'exit');
  return result;
}

/** The parent: the files that the children need, the server's part between them, the table. */
async function measure() {
  const { Server } = await import('../src/ckks/server.ts');
  const { prepareSegment } = await import('../src/ecg/preprocess.ts');
  const { synthesise } = await import('../src/ecg/synth.ts');
  const { loadModel } = await import('../src/model/files.ts');
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    const model = await loadModel(values.model);
    using server = await Server.open(model);
    const { manifest } = server;
    const recording = synthesise({ rhythm: 'normal', seconds: 30, rate: 300, seed: SEED });
    const { samples } = prepareSegment(recording.leads[0].mv, recording.rate, manifest.preprocessing);
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
    await writeFile(join(folder, 'segment'), samples);
    const reports: Record<Operation, Report[]> = { keygen: [], encrypt: [], decrypt: [] };
    for (const operation of OPERATIONS) {
      if (operation === 'decrypt') {
        using keys = server.loadKeys(await readFile(join(folder, 'evaluation.keys')));
        const reply = server.evaluate(await readFile(join(folder, 'request')), keys);
        await writeFile(join(folder, 'reply'), reply);
      }
      for (let r = 0; r < Number(values.runs); r++) reports[operation].push(await run(operation, folder));
    }
    const { size } = await stat(join(folder, 'evaluation.keys'));
    print({
      machine: machine(),
      model: model.name,
      seed: SEED,
      runs: Number(values.runs),
      bytes: { evaluationKeys: size },
      operations: OPERATIONS.map((operation) => summary(operation, reports[operation])),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function summary(operation: Operation, reports: Report[]) {
  const of = (key: keyof Report) => {
    const all = reports.map((r) => r[key]);
    return { median: median(all), min: Math.min(...all), max: Math.max(...all) };
  };
  return {
    operation,
    readyMs: of('readyMs'),
    operationMs: of('operationMs'),
    peakMemory: of('peakMemory'),
    startMemory: of('startMemory'),
  };
}

function print(result: {
  machine: object;
  operations: ReturnType<typeof summary>[];
  [key: string]: unknown;
}) {
  if (values.json) {
    console.log(JSON.stringify(result, null, 2));
    return;
  }
  const { machine, operations, ...rest } = result;
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20);
  console.log(machine);
  console.log(JSON.stringify(rest));
  console.table(
    operations.map(({ operation, readyMs, operationMs, peakMemory, startMemory }) => ({
      operation,
      'ready ms (median)': Math.round(readyMs.median),
      '(min)': Math.round(readyMs.min),
      'operation ms (median)': Math.round(operationMs.median),
      '(min) ': Math.round(operationMs.min),
      'peak MiB (most)': mib(peakMemory.max),
      'before the client MiB': mib(startMemory.median),
    })),
  );
}
