/**
 * One role of a classification, in a process of its own, by the code of any release: it uses what `ROOT` lets
 * programs use (src/index.ts, src/node.ts) and nothing else of it. What is measured here has to be there in
 * the release before too; where the two differ, this file is the place to tell them apart.
 *
 *   node bench/probe/child.ts server|client FOLDER
 *
 * Both answer after each part of their work, and wait until they are told to go on; the server evaluates as
 * often as it is told to.
 */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as Browser from '../../src/index.ts';
import { median } from '../../src/measure/machine.ts';
import type * as Node from '../../src/node.ts';
import { between, mark, peakMemory } from '../shared/child.ts';
import type {
  ClientEnded,
  ClientKeys,
  Instructions,
  Order,
  ServerEnded,
  ServerLoaded,
  ServerOpened,
  ServerRun,
} from './probe.ts';

const REPEATS = 7;

const [role, folder] = process.argv.slice(2);
const path = (name: string) => join(folder, name);
const read = async (name: string) => new Uint8Array(await readFile(path(name)));
const { root, model, threads, kernels, compileOptions, recording }: Instructions = JSON.parse(
  await readFile(path('instructions.json'), 'utf8'),
);
const library: typeof Browser & typeof Node = {
  ...(await import(pathToFileURL(join(root, 'src/index.ts')).href)),
  ...(await import(pathToFileURL(join(root, 'src/node.ts')).href)),
};

if (role === 'server') await server();
else await client();
process.disconnect();

async function server(): Promise<void> {
  const { compile, loadModel, Server } = library;
  const start = mark();
  using opened = await Server.open(compile(await loadModel(model), compileOptions), { threads, kernels });
  const openMs = between(start, mark()).ms;
  await writeFile(path('manifest.json'), JSON.stringify(opened.manifest));
  await ask({
    openMs,
    threads: opened.threads,
    kernels: 'kernels' in opened ? opened.kernels : 'wasm', // a release that does not tell has no others
    keySwitching: opened.manifest.keys.switching,
  } satisfies ServerOpened);

  const request = await read('request.bin');
  const before = opened.memoryInUse;
  const cold = mark();
  using keys = await load(opened);
  const loading = between(cold, mark());
  const loadedKeys = opened.memoryInUse - before;
  const first = run();
  await writeFile(path('reply.bin'), first.reply);
  let next = await ask({
    loadKeysMs: loading.ms,
    loadKeysCpuMs: loading.cpuMs,
    loadedKeys,
    firstMs: first.figures.ms,
  } satisfies ServerLoaded);
  while (next === 'run') next = await ask(run().figures satisfies ServerRun);
  await answer({ peakMemory: await peakMemory() } satisfies ServerEnded);

  function run() {
    const stages: ServerRun['stages'] = [];
    const begin = mark();
    let last = begin.time;
    const reply = opened.evaluate(request, keys, ({ name }) => {
      const now = performance.now();
      stages.push({ name, ms: now - last });
      last = now;
    });
    return { reply, figures: { ...between(begin, mark()), stages } };
  }
}

/** Loads keys from the file; a release that takes them in pieces gets them so. */
async function load(opened: Browser.Server): Promise<Browser.EvaluationKeys> {
  const file = path('evaluation.keys');
  return 'receiveKeys' in opened
    ? opened.loadKeys(createReadStream(file, { highWaterMark: 2 ** 20 }))
    : (opened as Browser.Server).loadKeys(await readFile(file));
}

async function client(): Promise<void> {
  const { Client, classify, loadModel, parseManifest, prepareSegment, requestDigest } = library;
  const manifest = parseManifest(JSON.parse(await readFile(path('manifest.json'), 'utf8')));
  const { samples } = prepareSegment(Float64Array.from(recording.mv), recording.rate, manifest.preprocessing);
  const start = mark();
  using opened = await Client.open(manifest, { maxKeyBytes: Number.POSITIVE_INFINITY });
  using secret = opened.createSecretKey();
  const ready = mark();
  await writeFile(path('evaluation.keys'), opened.evaluationKeys(secret));
  const made = mark();
  const request = opened.encrypt(secret, samples); // makes what the next ones find
  const encryptMs = repeated(() => opened.encrypt(secret, samples));
  await writeFile(path('request.bin'), request);
  await ask({
    readyMs: between(start, ready).ms,
    keygenMs: between(ready, made).ms,
    encryptMs,
    bytes: { evaluationKeys: (await stat(path('evaluation.keys'))).size, request: request.length },
    peakMemory: await peakMemory(),
  } satisfies ClientKeys);

  const reply = await read('reply.bin');
  const digest = requestDigest(request);
  const { scores } = opened.decrypt(secret, reply, digest);
  const decryptMs = repeated(() => opened.decrypt(secret, reply, digest));
  const { name } = classify(scores, await loadModel(model));
  await answer({ decryptMs, class: name, scores: Array.from(scores) } satisfies ClientEnded);
}

/** Median milliseconds of what takes few. */
function repeated(operation: () => unknown): number {
  return median(
    Array.from({ length: REPEATS }, () => {
      const start = mark();
      operation();
      return between(start, mark()).ms;
    }),
  );
}

/** Answers, and waits for what is to be done next. */
async function ask(figures: object): Promise<Order> {
  const order = once(process, 'message');
  await answer(figures);
  return (await order)[0];
}

function answer(figures: object): Promise<unknown> {
  return new Promise((resolve) => process.send!(figures, resolve));
}
