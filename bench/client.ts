/**
 * The client's part, each operation in a process of its own that loads nothing of the server's: time until it
 * is ready, time of the operation, peak memory.
 *
 *   node bench/client.ts [--model NAME|DIR] [--runs 5] [--json]
 *
 * Ready: `Client.open` and the contexts that the operation needs. Taken of encrypt and decrypt as the first
 * operation less the second, which finds everything made; of keygen with the secret key.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import { readSecretKey, writeSecretKey } from '../src/ckks/secret/secret-key.ts';
import { parseManifest } from '../src/ckks/wire/manifest.ts';
import { requestDigest } from '../src/ckks/wire/reply.ts';
import { machine, median } from '../src/measure/machine.ts';

const OPERATIONS = ['keygen', 'encrypt', 'decrypt'] as const;
type Operation = (typeof OPERATIONS)[number];

/** On a busy machine the processor time says more. */
interface Duration {
  ms: number;
  cpuMs: number;
}

interface Report {
  ready: Duration;
  operation: Duration;
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
  const digest = operation === 'decrypt' ? requestDigest(await read('request')) : '';
  const startMemory = await peakMemory();
  const marks = [mark()];
  using client = await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY });
  if (operation === 'keygen') {
    using made = client.createSecretKey();
    marks.push(mark());
    await writeFile(join(folder, 'secret.key'), writeSecretKey(made, manifest));
    await writeFile(join(folder, 'evaluation.keys'), client.evaluationKeys(made));
    marks.push(mark());
  } else {
    for (let i = 0; i < 2; i++) {
      if (operation === 'encrypt')
        await writeFile(join(folder, 'request'), client.encrypt(secret!, new Float32Array(input!.buffer)));
      else client.decrypt(secret!, input!, digest);
      marks.push(mark());
    }
  }
  const [first, second] = [between(marks[0], marks[1]), between(marks[1], marks[2])];
  const ready =
    operation === 'keygen' ? first : { ms: first.ms - second.ms, cpuMs: first.cpuMs - second.cpuMs };
  return { ready, operation: second, peakMemory: await peakMemory(), startMemory };
}

function mark() {
  return { time: performance.now(), cpu: process.cpuUsage() };
}

function between(start: ReturnType<typeof mark>, end: ReturnType<typeof mark>): Duration {
  const cpu = end.cpu.user + end.cpu.system - start.cpu.user - start.cpu.system;
  return { ms: end.time - start.time, cpuMs: cpu / 1000 };
}

/**
 * The most that this process held. On Linux `resourceUsage` would include what the parent held when it
 * forked.
 */
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
  const { compile } = await import('../src/ckks/planner/compile.ts');
  const { Server } = await import('../src/ckks/server.ts');
  const { prepareSegment } = await import('../src/ecg/preprocess.ts');
  const { synthesise } = await import('../src/ecg/synth.ts');
  const { loadModel } = await import('../src/model/files.ts');
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    const model = await loadModel(values.model);
    using server = await Server.open(compile(model));
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
  const of = (value: (report: Report) => number) => {
    const all = reports.map(value);
    return { median: median(all), min: Math.min(...all), max: Math.max(...all) };
  };
  return {
    operation,
    readyMs: of((r) => r.ready.ms),
    readyCpuMs: of((r) => r.ready.cpuMs),
    operationMs: of((r) => r.operation.ms),
    operationCpuMs: of((r) => r.operation.cpuMs),
    peakMemory: of((r) => r.peakMemory),
    startMemory: of((r) => r.startMemory),
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
  const ms = ({ median, min }: { median: number; min: number }) =>
    `${Math.round(median)} (${Math.round(min)})`;
  const megabytes = (bytes: number) => Math.round(bytes / 1e6);
  console.log(machine);
  console.log(JSON.stringify(rest));
  console.log('median (least)');
  console.table(
    operations.map((o) => ({
      operation: o.operation,
      'ready, ms': ms(o.readyMs),
      'of processor': ms(o.readyCpuMs),
      'operation, ms': ms(o.operationMs),
      'of processor ': ms(o.operationCpuMs),
      'peak memory, MB (most)': megabytes(o.peakMemory.max),
      'of it before the client': megabytes(o.startMemory.median),
    })),
  );
}
