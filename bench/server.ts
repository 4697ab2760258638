/**
 * The server's part of a classification, in a process of its own: time of each stage, from a cold start to
 * the evaluations after the first, and peak memory.
 *
 *   node bench/server.ts [--model NAME|DIR] [--backend fast|seal] [--key-switching hybrid|per-prime]
 *     [--threads all] [--kernels avx512|avx2|wasm] [--runs 3] [--json] [--out FILE]
 *
 * The first evaluation, whose code is not warm yet, is no run.
 */
import { parseArgs } from 'node:util';
import { BACKENDS } from '../src/ckks/evaluator/backend.ts';
import { KERNEL_KINDS } from '../src/ckks/evaluator/executor.ts';
import { KEY_SWITCHINGS } from '../src/ckks/keyswitch/gadget.ts';
import { formatBytes, formatMs } from '../src/measure/format.ts';
import { describeData, type Probe, probe } from './probe/probe.ts';
import { ROOT } from './shared/environment.ts';
import { type Head, head, note, OUTPUT_OPTIONS, oneOf, publish, runBenchmark, whole } from './shared/run.ts';
import { type Summary, summarise } from './shared/statistics.ts';

export type ServerResult = Head & ReturnType<typeof summary>;

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: 'deepcardio-deg2' },
      backend: { type: 'string', default: 'fast' },
      'key-switching': { type: 'string' },
      threads: { type: 'string' },
      kernels: { type: 'string' },
      runs: { type: 'string', default: '3' },
      ...OUTPUT_OPTIONS,
    },
  });
  const { model } = values;
  const backend = oneOf('backend', values.backend, BACKENDS);
  const switching = values['key-switching'];
  const keySwitching = switching && oneOf('key-switching', switching, KEY_SWITCHINGS);
  const runs = whole('runs', values.runs);
  const options = {
    root: ROOT,
    model,
    threads: values.threads === undefined ? undefined : whole('threads', values.threads),
    kernels: values.kernels === undefined ? undefined : oneOf('kernels', values.kernels, KERNEL_KINDS),
    compileOptions: { backend, ...(keySwitching && { keySwitching }) },
  };
  const [measured] = await probe([options], runs, note);
  const result: ServerResult = { ...head(describeData(model)), ...summary(model, backend, measured) };
  await publish(result, values, () => show(result));
});

function summary(model: string, backend: string, { server, client }: Probe) {
  const { runs, loadedKeys, ...figures } = server;
  return {
    model,
    backend,
    ...figures,
    runs: runs.length,
    ms: summarise(runs.map(({ ms }) => ms)),
    cpuMs: summarise(runs.map(({ cpuMs }) => cpuMs)),
    keygenMs: client.keygenMs,
    bytes: { ...client.bytes, loadedKeys },
    stages: runs[0].stages.map(({ name }, k) => ({
      name,
      ms: summarise(runs.map(({ stages }) => stages[k].ms)),
    })),
  };
}

function show(result: ServerResult): void {
  const { backend, kernels, keySwitching, threads, runs, stages, ms, cpuMs, bytes } = result;
  const held = bytes.loadedKeys === 0 ? 'untold' : formatBytes(bytes.loadedKeys);
  const times = ({ median, min }: Summary) => ({ median: formatMs(median), least: formatMs(min) });
  console.log(
    `backend ${backend}, kernels ${kernels}, ${keySwitching} keys, threads: ${threads}, runs: ${runs}`,
  );
  console.table({
    ...Object.fromEntries(stages.map((stage) => [stage.name, times(stage.ms)])),
    'whole evaluation': times(ms),
    'of processor': times(cpuMs),
  });
  console.log(
    `open ${formatMs(result.openMs)}; load keys from a file ${formatMs(result.loadKeysMs)}, then the first reply ` +
      `${formatMs(result.firstMs)}; loaded keys ${held}, peak memory ` +
      `${formatBytes(result.peakMemory)}; client: evaluation keys ${formatMs(result.keygenMs)}, ` +
      formatBytes(bytes.evaluationKeys),
  );
}
