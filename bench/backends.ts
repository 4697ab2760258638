/**
 * Our own kernels against node-seal, in one run, one thread each unless --threads says otherwise for ours:
 * every operation, every layer, the whole network, with the same keys and the same input; at the end all
 * residues of both results are compared.
 *
 *   node bench/backends.ts [--model NAME|DIR|random] [--runs 3] [--threads 1] [--operations] [--json]
 *     [--out FILE]
 *
 * --model random takes random weights in the shipped architecture; --operations leaves the network out
 * (node-seal takes a minute for it). The times of node-seal's network are from one run.
 */
import { parseArgs } from 'node:util';
import { FastBackend } from '../src/ckks/evaluator/fast/backend.ts';
import { FastEngine } from '../src/ckks/evaluator/fast/engine.ts';
import { loadKey } from '../src/ckks/evaluator/fast/keys.ts';
import { encodeProgram, run } from '../src/ckks/evaluator/program.ts';
import { SealBackend, SealEngine } from '../src/ckks/evaluator/seal/backend.ts';
import { perPrimeGadget } from '../src/ckks/keyswitch/gadget.ts';
import { compile } from '../src/ckks/planner/compile.ts';
import { readCiphertext, readSwitchingKey } from '../src/ckks/seal/bytes.ts';
import { type Ciphertext, type ClientModule, loadSeal } from '../src/ckks/seal/seal.ts';
import { median } from '../src/measure/machine.ts';
import { loadModel } from '../src/model/files.ts';
import { randomModel } from '../test/helpers/random-model.ts';
import { type Head, head, note, OUTPUT_OPTIONS, publish, SEED, whole } from './shared/run.ts';

const REPEATS = 7;
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'random' },
    runs: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1' },
    operations: { type: 'boolean', default: false },
    ...OUTPUT_OPTIONS,
  },
});
const model =
  values.model === 'random'
    ? randomModel({
        samples: 4096,
        channels: [8, 16, 32, 64, 128, 256],
        dilation: [1, 1, 1, 1, 4, 8],
        helix: [0, 2, 4, 8, 16, 32],
        seed: SEED,
      })
    : await loadModel(values.model);
// Per-prime keys: node-seal has no others.
const { circuit, plan } = compile(model, { keySwitching: 'per-prime' });
const { manifest, stages: planned } = plan;
const { parameters, keys } = manifest;
const { n, primes } = parameters;

const seal = await loadSeal<ClientModule>();
const { module } = seal;
const none = module.ComprModeType.none;
const opening = { seal: 0, fast: 0 };
let start = performance.now();
using sealEngine = new SealEngine(seal, parameters);
opening.seal = performance.now() - start;
start = performance.now();
using fastEngine = await FastEngine.open(parameters, whole('threads', values.threads));
opening.fast = performance.now() - start;

const generator = seal.own(new module.KeyGenerator(sealEngine.context));
const publicKey = seal.own(generator.createPublicKey());
const encryptor = seal.own(new module.Encryptor(sealEngine.context, publicKey));
const evaluator = seal.own(new module.Evaluator(sealEngine.context));
const relinearisation = seal.own(generator.createRelinKeys());
const galois = new Map(
  keys.galois.map(({ step }) => [step, seal.own(generator.createGaloisKeysWithSteps(Int32Array.of(step)))]),
);
const kind = (limbs: number) =>
  ({ switching: 'per-prime', gadget: perPrimeGadget(parameters, limbs) }) as const;
using sealBackend = new SealBackend(sealEngine, { relinearisation, galois });
using fastBackend = new FastBackend(fastEngine, {
  relinearisation: [
    loadKey(
      fastEngine,
      readSwitchingKey(relinearisation.saveToArray(none)),
      kind(keys.relinearisation[0].limbs),
      null,
    ),
  ],
  galois: new Map(
    keys.galois.map(({ step, limbs }) => [
      step,
      [loadKey(fastEngine, readSwitchingKey(galois.get(step)!.saveToArray(none)), kind(limbs), step)],
    ]),
  ),
});

/** An encryption of zero: as random as any ciphertext. */
function encrypt(limbs: number, scale: number): Ciphertext {
  const out = seal.own(new module.Ciphertext());
  encryptor.encryptZero(out);
  for (let l = primes.length; l > limbs; l--) evaluator.cipherModSwitchToNextInplace(out);
  out.setScale(scale);
  return out;
}

const toFast = (v: Ciphertext) => fastEngine.load(readCiphertext(v.saveToArray(none)));

/** Median and least milliseconds of an operation that makes values, which are freed. */
function time<V>(backend: { free(v: V): void }, operation: () => V | (V | null)[], repeats = REPEATS) {
  const times: number[] = [];
  for (let r = 0; r < repeats; r++) {
    const begin = performance.now();
    const made = operation();
    times.push(performance.now() - begin);
    for (const v of Array.isArray(made) ? made : [made]) if (v) backend.free(v);
  }
  return { median: median(times), min: Math.min(...times) };
}

export interface BackendsResult extends Head {
  model: string;
  kernels: string;
  threads: number;
  n: number;
  opening: { seal: number; fast: number };
  transforms: ReturnType<typeof kernelCosts>;
  multiplyAdds: { limbs: number; nsPerMultiplyAdd: number }[];
  rows: Row[];
  /** Missing with --operations. */
  network: ReturnType<typeof network> | null;
  memory: number;
}

interface Row {
  what: string;
  limbs: number;
  sealMs: number;
  fastMs: number;
  ratio: number;
}

/** Both backends' medians of each operation. */
function operations(limbs: number): Row[] {
  const v = encrypt(limbs, 2 ** 20);
  const fv = toFast(v);
  const step = keys.galois.find((key) => key.limbs >= limbs)!.step;
  const plain = sealBackend.encode(
    Float64Array.from({ length: 16 }, (_, j) => Math.cos(j)),
    2 ** 20,
    limbs,
  );
  const squared = sealBackend.square(v);
  const fastSquared = fastBackend.square(fv);
  // A row group of a convolution: 32 columns, four outputs.
  const columns = 32;
  const rows = Array.from({ length: 4 }, () => new Array<typeof plain>(columns).fill(plain));
  const sealColumns = new Array<Ciphertext>(columns).fill(v);
  const fastColumns = Array.from({ length: columns }, () => toFast(v));
  fastBackend.multiplyPlainSum(fastColumns, rows); // packs the weights
  const row = (
    what: string,
    ofSeal: () => Ciphertext | (Ciphertext | null)[],
    ofFast: () => ReturnType<typeof toFast> | ReturnType<typeof fastBackend.multiplyPlainSum>,
    share = 1,
  ): Row => {
    const sealMs = time(sealBackend, ofSeal, what === 'multiply-add' ? 1 : REPEATS).median / share;
    const fastMs = time(fastBackend, ofFast, 3 * REPEATS).median / share;
    return { what, limbs, sealMs, fastMs, ratio: sealMs / fastMs };
  };
  const result = [
    row(
      'rotate',
      () => sealBackend.rotate(v, step),
      () => fastBackend.rotate(fv, step),
    ),
    ...(limbs <= keys.relinearisation[0].limbs
      ? [
          row(
            'relinearise',
            () => sealBackend.relinearise(squared),
            () => fastBackend.relinearise(fastSquared),
          ),
        ]
      : []),
    row(
      'square',
      () => sealBackend.square(v),
      () => fastBackend.square(fv),
    ),
    row(
      'rescale',
      () => sealBackend.rescale(v, 1),
      () => fastBackend.rescale(fv, 1),
    ),
    row(
      'multiply-add',
      () => sealBackend.multiplyPlainSum(sealColumns, rows),
      () => fastBackend.multiplyPlainSum(fastColumns, rows),
      4 * columns,
    ),
    row(
      'add',
      () => sealBackend.add(v, v),
      () => fastBackend.add(fv, fv),
    ),
    row(
      'add plain',
      () => sealBackend.addPlain(v, plain),
      () => fastBackend.addPlain(fv, plain),
    ),
  ];
  sealBackend.free(squared);
  fastBackend.free(fastSquared);
  seal.free(v);
  for (const c of [fv, ...fastColumns]) fastEngine.memory.free(c.address);
  return result;
}

/**
 * Nanoseconds per butterfly of both transforms and per multiply-add of both products, for the longest and
 * shortest prime.
 */
function kernelCosts() {
  const at = fastEngine.allocate(1, 2);
  const [a, b] = [fastEngine.limb(at, 0, 0), fastEngine.limb(at, 0, 1)];
  const butterflies = (n / 2) * Math.log2(n);
  const best = (operation: () => void) => {
    const times = Array.from({ length: 50 }, () => {
      const begin = performance.now();
      fastEngine.threads.task();
      for (let r = 0; r < 10; r++) operation();
      fastEngine.threads.run();
      return (performance.now() - begin) / 10;
    });
    return { median: median(times), min: Math.min(...times) };
  };
  const indices = [0, primes.length - 1];
  return indices.flatMap((i) => {
    const ring = fastEngine.rings[i];
    const lazy = ring.lazy(2 ** 30);
    const forward = best(() => ring.forward(a, b, lazy));
    const inverse = best(() => ring.inverse(a, b));
    const describe = (what: string, { median, min }: typeof forward) => ({
      what,
      prime: ring.q,
      microseconds: 1000 * median,
      least: 1000 * min,
      nsPerButterfly: (1e6 * median) / butterflies,
    });
    return [describe('forward transform', forward), describe('inverse transform', inverse)];
  });
}

const levels = [primes.length, Math.ceil(primes.length * 0.7), Math.ceil(primes.length * 0.4), 4, 2].filter(
  (l, k, all) => l > 1 && all.indexOf(l) === k,
);
note('operations');
const rows = levels.flatMap(operations);
const transforms = kernelCosts();
const multiplyAdds = rows
  .filter((row) => row.what === 'multiply-add')
  .map(({ limbs, fastMs }) => ({ limbs, nsPerMultiplyAdd: (1e6 * fastMs) / (2 * n * limbs) }));

/** The network: milliseconds by stage, and whether all residues agree. */
function network() {
  note('the network');
  const request = encrypt(primes.length, circuit.inputScale);
  const input = toFast(request);
  const clock = () => {
    const times: number[] = [];
    let last = performance.now();
    return {
      times,
      onStage: () => {
        times.push(performance.now() - last);
        last = performance.now();
      },
    };
  };
  const program = encodeProgram(fastBackend, circuit);
  const runs: number[][] = [];
  let outcome = run(fastBackend, program, input); // packs the weights
  for (let r = 0; r < Number(values.runs); r++) {
    fastBackend.free(outcome.scores);
    const { times, onStage } = clock();
    outcome = run(fastBackend, program, input, onStage);
    runs.push(times);
  }
  const { times, onStage } = clock();
  const expected = run(sealBackend, encodeProgram(sealBackend, circuit), request, onStage);
  const raw = readCiphertext(expected.scores.saveToArray(none));
  let differing = 0;
  for (let k = 0; k < 2; k++) {
    const residues = fastEngine.read(outcome.scores, k, 0);
    for (let i = 0; i < n; i++) if (residues[i] !== raw.words[2 * (k * n + i)]) differing++;
  }
  const sum = (all: number[]) => all.reduce((a, b) => a + b, 0);
  const stages = [
    ...planned.map(({ name, limbs }, k) => ({
      what: name,
      limbs: limbs[0],
      sealMs: times[k],
      fastMs: median(runs.map((of) => of[k])),
    })),
    { what: 'whole network', limbs: primes.length, sealMs: sum(times), fastMs: median(runs.map(sum)) },
  ].map((row): Row => ({ ...row, ratio: row.sealMs / row.fastMs }));
  return { stages, differing, least: Math.min(...runs.map(sum)) };
}

const result: BackendsResult = {
  ...head(`${model.name}; an encryption of zero`),
  model: model.name,
  kernels: fastEngine.threads.set.kind,
  threads: fastEngine.threads.count,
  n,
  opening,
  transforms,
  multiplyAdds,
  rows,
  network: values.operations ? null : network(),
  memory: fastEngine.memory.memory.buffer.byteLength,
};
await publish(result, values, () => show(result));
seal.free(encryptor, publicKey, generator, evaluator, relinearisation, ...galois.values());

function show({ kernels, threads, network, opening, memory }: BackendsResult): void {
  const rounded = (all: object[]) =>
    all.map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([k, v]) => [k, typeof v === 'number' ? Number(v.toPrecision(3)) : v]),
      ),
    );
  console.log(
    `kernels ${kernels}; n = ${n}, ${primes.length} limbs; threads: seal 1, fast ${threads}; medians of ${REPEATS} (seal) and ${3 * REPEATS} (fast)`,
  );
  console.table(rounded(transforms.map((row) => ({ ...row, prime: `${row.prime}` }))));
  console.table(rounded(multiplyAdds));
  console.table(rounded(rows));
  if (network) {
    console.log(
      `${model.name}: seal one run, fast the median of ${values.runs} (least ${Math.round(network.least)} ms)`,
    );
    console.table(rounded(network.stages));
    console.log(`residues that differ: ${network.differing} of ${2 * n}`);
  }
  console.log(
    `engine: seal ${Math.round(opening.seal)} ms, fast ${Math.round(opening.fast)} ms; the kernels' memory ${Math.round(memory / 2 ** 20)} MiB with full keys' planned limbs`,
  );
}
