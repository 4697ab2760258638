/**
 * The server's part of a classification, in a process of its own: seconds per stage and peak memory.
 *
 *   node bench/server.ts [--model NAME|DIR] [--backend fast|seal] [--key-switching hybrid|per-prime]
 *     [--threads all] [--runs 3] [--json]
 *
 * The client's part (keys, encryption) is done by the parent process, so that the peak memory is the server's
 * alone.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import type { BackendName } from '../src/ckks/evaluator/backend.ts';
import type { KernelKind } from '../src/ckks/evaluator/executor.ts';
import type { KeySwitching } from '../src/ckks/keyswitch/gadget.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import { Server } from '../src/ckks/server.ts';
import { concat } from '../src/ckks/wire/container.ts';
import type { Manifest } from '../src/ckks/wire/manifest.ts';
import { prepareSegment } from '../src/ecg/preprocess.ts';
import { synthesise } from '../src/ecg/synth.ts';
import { machine, median } from '../src/measure/machine.ts';
import { loadModel } from '../src/model/files.ts';

interface Run {
  ms: number;
  /** Of the processor, all threads together: what a busy machine leaves alone. */
  cpuMs: number;
  stages: { name: string; ms: number }[];
}

interface Report {
  threads: number;
  openMs: number;
  loadKeysMs: number;
  runs: Run[];
  peakMemory: number;
}

const SEED = 1;
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'deepcardio-deg2' },
    backend: { type: 'string', default: 'fast' },
    'key-switching': { type: 'string' },
    threads: { type: 'string' },
    kernels: { type: 'string' },
    runs: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const model = await loadModel(values.model);

if (process.send) await serve();
else await measure();

/** The child: opens, evaluates, reports. */
async function serve() {
  let start = performance.now();
  const { backend, threads } = values;
  const compiled = compile(model, {
    backend: backend as BackendName,
    keySwitching: values['key-switching'] as KeySwitching | undefined,
  });
  const server = await Server.open(compiled, {
    kernels: values.kernels as KernelKind | undefined,
    threads: threads === undefined ? undefined : Number(threads),
  });
  const openMs = performance.now() - start;
  const report: Report = { threads: server.threads, openMs, loadKeysMs: 0, runs: [], peakMemory: 0 };
  process.send!(server.manifest);
  const [{ keys: keyBytes, request }] = (await once(process, 'message')) as [
    { keys: Uint8Array; request: Uint8Array },
  ];
  start = performance.now();
  const keys = server.loadKeys(keyBytes);
  report.loadKeysMs = performance.now() - start;
  for (let r = 0; r < Number(values.runs); r++) {
    const stages: Run['stages'] = [];
    const before = process.cpuUsage();
    const begin = performance.now();
    let last = begin;
    server.evaluate(request, keys, ({ name }) => {
      stages.push({ name, ms: performance.now() - last });
      last = performance.now();
    });
    const ms = performance.now() - begin;
    const { user, system } = process.cpuUsage(before);
    report.runs.push({ ms, cpuMs: (user + system) / 1000, stages });
  }
  report.peakMemory = process.resourceUsage().maxRSS * 1024;
  process.send!(report);
  process.disconnect();
}

/** The parent: the client's part, and the table. */
async function measure() {
  const child = fork(import.meta.filename, process.argv.slice(2), { serialization: 'advanced' });
  const [manifest] = (await once(child, 'message')) as [Manifest];
  const client = await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY });
  const secret = client.createSecretKey();
  const start = performance.now();
  const keys = concat(client.evaluationKeys(secret));
  const keygenMs = performance.now() - start;
  const recording = synthesise({ rhythm: 'normal', seconds: 30, rate: 300, seed: SEED });
  const { samples } = prepareSegment(recording.leads[0].mv, recording.rate, manifest.preprocessing);
  child.send({ keys, request: client.encrypt(secret, samples) });
  const [report] = (await once(child, 'message')) as [Report];
  const names = report.runs[0].stages.map((stage) => stage.name);
  const stages = names.map((name, k) => ({
    name,
    medianMs: median(report.runs.map((run) => run.stages[k].ms)),
    minMs: Math.min(...report.runs.map((run) => run.stages[k].ms)),
  }));
  const totals = report.runs.map((run) => run.ms);
  const result = {
    machine: machine(),
    model: model.name,
    backend: values.backend,
    keySwitching: manifest.keys.switching,
    threads: report.threads,
    seed: SEED,
    runs: totals.length,
    medianMs: median(totals),
    minMs: Math.min(...totals),
    medianCpuMs: median(report.runs.map((run) => run.cpuMs)),
    minCpuMs: Math.min(...report.runs.map((run) => run.cpuMs)),
    openMs: report.openMs,
    loadKeysMs: report.loadKeysMs,
    keygenMs,
    bytes: { evaluationKeys: keys.length },
    peakMemory: report.peakMemory,
    stages,
  };
  if (values.json) {
    console.log(JSON.stringify(result, null, 2));
    return;
  }
  console.log(result.machine);
  console.log(
    `${model.name}, backend ${values.backend}, ${manifest.keys.switching} keys, threads: ${report.threads}, ${totals.length} runs, synthetic ECG with seed ${SEED}`,
  );
  console.table([
    ...stages.map(({ name, medianMs, minMs }) => ({
      stage: name,
      'median ms': Math.round(medianMs),
      'min ms': Math.round(minMs),
    })),
    {
      stage: 'whole evaluation',
      'median ms': Math.round(result.medianMs),
      'min ms': Math.round(result.minMs),
    },
  ]);
  console.log(
    `processor time of an evaluation: median ${Math.round(result.medianCpuMs)} ms, least ${Math.round(result.minCpuMs)} ms`,
  );
  console.log(
    `server: open ${(report.openMs / 1000).toFixed(1)} s, load keys ${(report.loadKeysMs / 1000).toFixed(1)} s, ` +
      `peak memory ${(report.peakMemory / 2 ** 20).toFixed(0)} MiB; client: evaluation keys ${(keygenMs / 1000).toFixed(1)} s`,
  );
}
