/**
 * The client's part, each operation in a process of its own that loads nothing of the server's: time until it
 * is ready, time of the operation, peak memory.
 *
 *   node bench/client.ts [--model NAME|DIR] [--runs 5] [--json] [--out FILE]
 *
 * Ready: `Client.open` and the contexts that the operation needs. Taken of encrypt and decrypt as the first
 * operation less the second, which finds everything made; of keygen with the secret key.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import { readSecretKey, writeSecretKey } from '../src/ckks/secret/secret-key.ts';
import { parseManifest } from '../src/ckks/wire/manifest.ts';
import { requestDigest } from '../src/ckks/wire/reply.ts';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { between, Child, type Duration, mark, peakMemory } from './shared/child.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, whole } from './shared/run.ts';
import { type Summary, summarise } from './shared/statistics.ts';

const OPERATIONS = ['keygen', 'encrypt', 'decrypt'] as const;
type Operation = (typeof OPERATIONS)[number];

interface Report {
  ready: Duration;
  operation: Duration;
  /** Bytes, of the whole process; `startMemory` before the client is opened. */
  peakMemory: number;
  startMemory: number;
}

export interface ClientResult extends Head {
  model: string;
  runs: number;
  bytes: { evaluationKeys: number };
  operations: ReturnType<typeof summary>[];
}

const { values, positionals } = parseArgs({
  options: {
    model: { type: 'string', default: 'deepcardio-deg2' },
    runs: { type: 'string', default: '5' },
    ...OUTPUT_OPTIONS,
  },
  allowPositionals: true,
});

if (process.send) process.send(await report(positionals[0] as Operation, positionals[1]));
else await runBenchmark(measure);

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

async function run(operation: Operation, folder: string): Promise<Report> {
  using child = new Child(import.meta.filename, [operation, folder], operation);
  return await child.answer<Report>();
}

/** The parent: the files that the children need, the server's part between them, the table. */
async function measure(): Promise<void> {
  const runs = whole('runs', values.runs);
  const { compile } = await import('../src/ckks/planner/compile.ts');
  const { Server } = await import('../src/ckks/server.ts');
  const { prepareSegment } = await import('../src/ecg/preprocess.ts');
  const { loadModel } = await import('../src/model/files.ts');
  const { benchRecording, describeData } = await import('./probe/probe.ts');
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    const model = await loadModel(values.model);
    using server = await Server.open(compile(model));
    const { manifest } = server;
    const recording = benchRecording();
    const { samples } = prepareSegment(recording.leads[0].mv, recording.rate, manifest.preprocessing);
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
    await writeFile(join(folder, 'segment'), samples);
    const reports: Record<Operation, Report[]> = { keygen: [], encrypt: [], decrypt: [] };
    for (const operation of OPERATIONS) {
      note(operation);
      if (operation === 'decrypt') {
        using keys = server.loadKeys(await readFile(join(folder, 'evaluation.keys')));
        const reply = server.evaluate(await readFile(join(folder, 'request')), keys);
        await writeFile(join(folder, 'reply'), reply);
      }
      for (let r = 0; r < runs; r++) reports[operation].push(await run(operation, folder));
    }
    const { size } = await stat(join(folder, 'evaluation.keys'));
    const result: ClientResult = {
      ...head(describeData(model.name)),
      model: model.name,
      runs,
      bytes: { evaluationKeys: size },
      operations: OPERATIONS.map((operation) => summary(operation, reports[operation])),
    };
    await publish(result, values, () => show(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function summary(operation: Operation, reports: Report[]) {
  const of = (value: (report: Report) => number) => summarise(reports.map(value));
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

function show({ runs, bytes, operations }: ClientResult): void {
  const ms = ({ median, min }: Summary) => `${formatMs(median)} (${formatMs(min)})`;
  console.log(`evaluation keys ${formatBytes(bytes.evaluationKeys)}; median (least) of ${runs} runs`);
  console.table(
    Object.fromEntries(
      operations.map((o) => [
        o.operation,
        {
          ready: ms(o.readyMs),
          'of processor': ms(o.readyCpuMs),
          operation: ms(o.operationMs),
          'of processor ': ms(o.operationCpuMs),
          'peak memory (most)': formatBytes(o.peakMemory.max),
          'of it before the client': formatBytes(o.startMemory.median),
        },
      ]),
    ),
  );
}
