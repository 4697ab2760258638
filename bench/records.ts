/**
 * Encrypted against clear on real records: same class, error of the scores.
 *
 *   node bench/records.ts --data PATH [--model NAME|DIR] [--count 20] [--seed 1] [--backend fast|seal] [--out FILE.json]
 *
 * Records are drawn with the seed from all that the data set has. A result file is written after every record, and
 * records that it holds already are not evaluated again.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Client } from '../src/ckks/client.ts';
import { concat } from '../src/ckks/container.ts';
import type { BackendName } from '../src/ckks/host.ts';
import { Server } from '../src/ckks/server.ts';
import { openDataset } from '../src/ecg/dataset.ts';
import { prepareSegment } from '../src/ecg/preprocess.ts';
import { Random } from '../src/ecg/random.ts';
import { loadModel } from '../src/model/files.ts';
import { forward } from '../src/model/forward.ts';
import { machine, median } from './machine.ts';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    model: { type: 'string', default: 'deepcardio-deg2' },
    count: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    backend: { type: 'string', default: 'seal' },
    out: { type: 'string' },
  },
});
if (!values.data) throw new Error('--data PATH is missing: the CinC 2017 zip or folder');

interface Result {
  id: string;
  label: string;
  clear: number[];
  encrypted: number[];
  ms: number;
}

const model = await loadModel(values.model);
const backend = values.backend as BackendName;
const server = await Server.open(model, { backend });
const { planHash } = server.manifest;
const earlier = values.out && existsSync(values.out) ? JSON.parse(readFileSync(values.out, 'utf8')) : null;
const results: Result[] =
  earlier?.planHash === planHash && earlier.backend === backend ? earlier.results : [];
const { records } = openDataset(values.data);
const chosen = new Random(Number(values.seed)).shuffle([...records]).slice(0, Number(values.count));

const client = await Client.open(server.manifest);
const secret = client.createSecretKey();
const keys = server.loadKeys(concat(client.evaluationKeys(secret)));
for (const record of chosen) {
  if (results.some((r) => r.id === record.id)) continue;
  const recording = record.recording();
  const { samples } = prepareSegment(recording.leads[0].mv, recording.rate, model.preprocessing);
  const request = client.encrypt(secret, samples);
  const start = performance.now();
  const reply = server.evaluate(request, keys);
  const ms = performance.now() - start;
  const clear = [...forward(model, samples).scores];
  results.push({
    id: record.id,
    label: record.label,
    clear,
    encrypted: client.decrypt(secret, reply).scores,
    ms,
  });
  report();
}
report();

/** The class of the largest score. */
function classOf(scores: number[]): string {
  return model.classes[scores.indexOf(Math.max(...scores))];
}

/** Largest minus second largest score. */
function margin(scores: number[]): number {
  const [first, second] = scores.toSorted((a, b) => b - a);
  return first - second;
}

function report() {
  const errors = results.map((r) => Math.max(...r.clear.map((s, c) => Math.abs(s - r.encrypted[c]))));
  const maxError = Math.max(...errors);
  const different = results.filter((r) => classOf(r.clear) !== classOf(r.encrypted));
  const summary = {
    command: `node bench/records.ts --data PATH --model ${values.model} --count ${values.count} --seed ${values.seed} --backend ${backend}`,
    machine: machine(),
    backend,
    planHash,
    records: results.length,
    sameClass: results.length - different.length,
    differentWithinTwiceTheError: different.filter((r) => margin(r.clear) < 2 * maxError).length,
    maxError,
    rmsError: Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length),
    smallestMargin: Math.min(...results.map((r) => margin(r.clear))),
    largestScore: Math.max(...results.flatMap((r) => r.clear.map(Math.abs))),
    medianMs: median(results.map((r) => r.ms)),
    results,
  };
  const last = results.at(-1)!;
  const n = `${results.length}/${chosen.length}`;
  console.log(
    `${n} ${last.id} label ${last.label} clear ${classOf(last.clear)} encrypted ${classOf(last.encrypted)}; ` +
      `same class ${summary.sameClass}, largest error ${maxError.toExponential(2)}, median ${(summary.medianMs / 1000).toFixed(1)} s`,
  );
  if (!values.out) return;
  writeFileSync(`${values.out}.tmp`, `${JSON.stringify(summary, null, 1)}\n`);
  renameSync(`${values.out}.tmp`, values.out);
}
