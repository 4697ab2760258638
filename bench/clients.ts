/**
 * Clients who come and go: the keys of several are held by one server, and every load drops those of one of them,
 * at random. Memory after each quarter of the loads, and what one client takes.
 *
 *   node bench/clients.ts [--model NAME|DIR] [--loads 1000] [--held 6] [--threads all] [--json] [--out FILE]
 *
 * All clients have the same keys: a server cannot tell, and making a thousand would take half an hour.
 */
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import { type EvaluationKeys, Server } from '../src/ckks/server.ts';
import { Random } from '../src/ecg/random.ts';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { loadModel } from '../src/model/files.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, SEED, whole } from './shared/run.ts';
import { type Summary, summarise } from './shared/statistics.ts';

/** What a server holds, in bytes. */
interface Memory {
  loads: number;
  /** Of the process. */
  resident: number;
  /** Of the backend's own memory, in use. */
  inUse: number;
}

export interface ClientsResult extends Head {
  model: string;
  kernels: string;
  threads: number;
  held: number;
  /** Before the first load, with the first client, with all that are held, and after each quarter of the loads. */
  memory: Memory[];
  /** Of one more client beside the first, mean of those that are held: what the process grew by. */
  oneMore: number;
  loadMs: Summary;
}

const QUARTERS = 4;

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      loads: { type: 'string', default: '1000' },
      held: { type: 'string', default: '6' },
      threads: { type: 'string' },
      ...OUTPUT_OPTIONS,
    },
  });
  const loads = whole('loads', values.loads, QUARTERS);
  const held = whole('held', values.held, 2);
  const threads = values.threads === undefined ? undefined : whole('threads', values.threads);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    using server = await Server.open(compile(await loadModel(values.model)), { threads });
    const file = join(folder, 'evaluation.keys');
    note('making keys');
    await makeKeys(server, file);
    note(`${loads} loads, ${held} clients held`);
    const measured = await comeAndGo(server, file, loads, held);
    const result: ClientsResult = {
      ...head(values.model),
      model: values.model,
      kernels: server.kernels,
      threads: server.threads,
      held,
      ...measured,
    };
    await publish(result, values, () => show(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

async function makeKeys({ manifest }: Server, file: string): Promise<void> {
  using client = await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY });
  using secret = client.createSecretKey();
  await writeFile(file, client.evaluationKeys(secret));
}

async function comeAndGo(
  server: Server,
  file: string,
  loads: number,
  held: number,
): Promise<Pick<ClientsResult, 'memory' | 'oneMore' | 'loadMs'>> {
  const random = new Random(SEED);
  const clients: EvaluationKeys[] = [];
  const times: number[] = [];
  const told = (done: number): Memory => ({
    loads: done,
    resident: process.memoryUsage().rss,
    inUse: server.memoryInUse,
  });
  const memory = [told(0)];
  for (let done = 1; done <= loads; done++) {
    if (clients.length === held) clients.splice(random.below(held), 1)[0][Symbol.dispose]();
    const start = performance.now();
    clients.push(await server.loadKeys(createReadStream(file, { highWaterMark: 2 ** 20 })));
    times.push(performance.now() - start);
    if (done === 1 || done === held || done % Math.ceil(loads / QUARTERS) === 0 || done === loads) {
      memory.push(told(done));
      note(`${done} loads: ${formatBytes(memory.at(-1)!.resident)}`);
    }
  }
  for (const keys of clients) keys[Symbol.dispose]();
  return {
    memory,
    oneMore: (memory[2].resident - memory[1].resident) / (held - 1),
    loadMs: summarise(times),
  };
}

function show({ kernels, threads, memory, oneMore, loadMs }: ClientsResult): void {
  console.log(`kernels ${kernels}, threads: ${threads}`);
  console.table(
    memory.map(({ loads, resident, inUse }) => ({
      loads,
      'of the process': formatBytes(resident),
      "of it in the kernels' use": formatBytes(inUse),
    })),
  );
  console.log(
    `one more client: ${formatBytes(oneMore)}; a load: median ${formatMs(loadMs.median)}, most ${formatMs(loadMs.max)}`,
  );
}
