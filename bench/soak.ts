/**
 * A service under load for long: clients with keys of their own, more than fit into its memory, so that keys are
 * loaded and dropped all the time; every answer is compared with the clear model's. With `--kill` an evaluator is
 * killed (SIGKILL) every so many seconds.
 *
 *   node bench/soak.ts [--model NAME|DIR] [--requests 500] [--clients 8] [--keys 20] [--key-memory 700] [--kill S]
 *     [--workers 1] [--json] [--out FILE]
 *
 * Clients wait for their reply and send the next request, each by keys that are drawn at random.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { concurrently } from '../src/client/concurrently.ts';
import { KeyFolder } from '../src/client/key-storage/key-folder.ts';
import { RemoteClient } from '../src/client/remote-client.ts';
import { prepareSegment } from '../src/ecg/preprocess.ts';
import { Random } from '../src/ecg/random.ts';
import { RHYTHMS } from '../src/ecg/rhythm.ts';
import { synthesise } from '../src/ecg/synth.ts';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { median } from '../src/measure/machine.ts';
import { loadModel } from '../src/model/files.ts';
import { forward } from '../src/model/forward.ts';
import { Killer } from './service/killer.ts';
import { ServiceProcess } from './service/process.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, runBenchmark, SEED, whole } from './shared/run.ts';
import { percentile } from './shared/statistics.ts';

export interface SoakResult extends Head {
  model: string;
  requests: number;
  clients: number;
  keys: number;
  workers: number;
  keyMemoryMB: number;
  /** Seconds between kills, and how many there were. */
  kill: { every: number; times: number } | null;
  /** Answers within `MOST_ERROR` of the clear scores, others, and requests that failed, with what was said. */
  right: number;
  wrong: number;
  failed: string[];
  largestError: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  requestsPerSecond: number;
  /** Of the service and its evaluators, after each eighth of the requests, in bytes. */
  memory: number[];
}

const MOST_ERROR = 1e-2;
const SECONDS = 30;
const RATE = 300;
const MARKS = 8;

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      requests: { type: 'string', default: '500' },
      clients: { type: 'string', default: '8' },
      keys: { type: 'string', default: '20' },
      workers: { type: 'string', default: '1' },
      'key-memory': { type: 'string', default: '700' },
      kill: { type: 'string' },
      ...OUTPUT_OPTIONS,
    },
  });
  const { model } = values;
  const requests = whole('requests', values.requests, MARKS);
  const clients = whole('clients', values.clients);
  const keys = whole('keys', values.keys);
  const workers = whole('workers', values.workers);
  const keyMemoryMB = whole('key-memory', values['key-memory']);
  const every = values.kill === undefined ? null : whole('kill', values.kill);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  try {
    const config = join(folder, 'config.json');
    await writeFile(
      config,
      JSON.stringify({ models: [model], workers, keyMemoryMB, dataDir: join(folder, 'data') }),
    );
    await using service = await ServiceProcess.start(['--config', config]);
    using owned = new DisposableStack();
    const remotes: RemoteClient[] = [];
    for (let k = 0; k < keys; k++) {
      note(`keys ${k + 1} of ${keys}`);
      const storage = new KeyFolder(join(folder, `keys-${k}`));
      remotes.push(owned.use(await RemoteClient.connect(service.url, { keys: storage })));
    }
    const killer = every === null ? null : new Killer(service, every);
    const found = await soak(service, remotes, model, requests, clients);
    killer?.stop();
    const result: SoakResult = {
      ...head(`${model}; synthetic ECGs, ${SECONDS} s at ${RATE} Hz`),
      ...{ model, requests, clients, keys, workers, keyMemoryMB },
      kill: killer && { every: killer.every, times: killer.times },
      ...found,
    };
    await publish(result, values, () => show(result));
    if (result.right < requests) process.exitCode = 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

async function soak(
  service: ServiceProcess,
  remotes: RemoteClient[],
  name: string,
  requests: number,
  clients: number,
) {
  const model = await loadModel(name);
  const random = new Random(SEED);
  const jobs = Array.from({ length: requests }, (_, seed) => ({
    remote: remotes[random.below(remotes.length)],
    rhythm: RHYTHMS[random.below(RHYTHMS.length)],
    seed,
  }));
  const latencies: number[] = [];
  const failed: string[] = [];
  const memory: number[] = [];
  let [right, wrong, largestError] = [0, 0, 0];
  const start = performance.now();
  await concurrently(jobs, { atOnce: clients, signal: new AbortController().signal }, async (job) => {
    const { remote, rhythm, seed } = job;
    const { leads, rate } = synthesise({ rhythm, seconds: SECONDS, rate: RATE, seed });
    const { samples } = prepareSegment(leads[0].mv, rate, remote.manifest.preprocessing);
    const expected = forward(model, samples).scores;
    const begin = performance.now();
    try {
      const { decrypted } = await remote.classify(samples);
      latencies.push(performance.now() - begin);
      const error = Math.max(...expected.map((score, c) => Math.abs(score - decrypted.scores[c])));
      largestError = Math.max(largestError, error);
      if (error <= MOST_ERROR) right++;
      else wrong++;
    } catch (error) {
      failed.push((error as Error).message);
    }
    const done = right + wrong + failed.length;
    if (done % Math.floor(requests / MARKS) !== 0) return;
    memory.push(await service.memory());
    note(`${done} of ${requests}: ${right} right, ${formatBytes(memory.at(-1)!)}`);
  });
  const seconds = (performance.now() - start) / 1000;
  return {
    ...{ right, wrong, failed, largestError, memory },
    p50Ms: median(latencies),
    p95Ms: percentile(latencies, 0.95),
    p99Ms: percentile(latencies, 0.99),
    requestsPerSecond: latencies.length / seconds,
  };
}

function show(result: SoakResult): void {
  const { requests, clients, keys, right, wrong, failed, kill, largestError, memory } = result;
  console.log(
    `${requests} requests, ${clients} clients at once, ${keys} key pairs, key memory ${result.keyMemoryMB} MB` +
      (kill ? `; ${kill.times} evaluators killed, one every ${kill.every} s` : ''),
  );
  console.table({
    right,
    wrong,
    failed: failed.length,
    'largest error of a score': largestError.toExponential(1),
    p50: formatMs(result.p50Ms),
    p95: formatMs(result.p95Ms),
    p99: formatMs(result.p99Ms),
    'requests/s': Number(result.requestsPerSecond.toFixed(2)),
    'memory, after each eighth': memory.map(formatBytes).join(', '),
  });
  for (const words of new Set(failed)) console.log(`failed: ${words}`);
}
