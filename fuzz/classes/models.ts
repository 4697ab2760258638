/** Cases of models' folders and of files of costs. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile } from '../../src/ckks/planner/compile.ts';
import { FAST_COST } from '../../src/ckks/planner/cost.ts';
import { readCosts } from '../../src/cli/files/input.ts';
import type { Random } from '../../src/ecg/random.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { loadModel } from '../../src/model/files.ts';
import { serialiseModel } from '../../src/model/format.ts';
import { randomModel } from '../../test/helpers/random-model.ts';
import { manifestProblems } from '../manifest-oracle.ts';
import { costProblems, modelProblems, numbersOf } from '../model-oracle.ts';
import { mutate, parsedOrUndefined, respell, SPELLINGS, toText } from '../mutate.ts';
import { sha256 } from '../oracles.ts';
import { directed, pick, randomBytes, type Subject, type Trial } from '../trial.ts';

/** Networks with more weights than that are read, and not planned: planning takes its time. */
const PLANNED_WEIGHTS = 2000;

type Json = ReturnType<typeof serialiseModel>['json'];
interface Files {
  json: Uint8Array;
  weights: Uint8Array;
}

const text = (value: unknown) => new TextEncoder().encode(toText(value));

/** model.json with another content, and the weights' length and sum in it that fit them. */
function withWeights(json: unknown, weights: Uint8Array): Files {
  const fields = { ...(json as Json) };
  fields.weights = { bytes: weights.length, sha256: Buffer.from(sha256(weights)).toString('hex') };
  return { json: text(fields), weights };
}

function floats(json: Json, fill: (i: number) => number): Uint8Array {
  return new Uint8Array(Float32Array.from({ length: json.weights.bytes / 4 }, (_, i) => fill(i)).buffer);
}

/** What is done to a sound model. */
const CHANGES: Record<string, (json: Json, weights: Uint8Array, random: Random) => Files> = {
  'nothing changed': (json, weights) => ({ json: text(json), weights }),
  'weights that are no numbers': (json) =>
    withWeights(
      json,
      floats(json, (i) => (i === 5 ? Number.NaN : 0)),
    ),
  'weights that are infinite': (json) =>
    withWeights(
      json,
      floats(json, () => Number.POSITIVE_INFINITY),
    ),
  'weights beyond all': (json) =>
    withWeights(
      json,
      floats(json, () => 3e38),
    ),
  'weights of zero': (json) =>
    withWeights(
      json,
      floats(json, () => 0),
    ),
  'weights of almost nothing': (json) =>
    withWeights(
      json,
      floats(json, () => 1e-45),
    ),
  'weights at random': (json, weights, random) => withWeights(json, randomBytes(random, weights.length)),
  'weights cut off': (json, weights, random) =>
    withWeights(json, weights.slice(0, random.below(weights.length))),
  'weights longer': (json, weights, random) =>
    withWeights(json, new Uint8Array(Buffer.concat([weights, randomBytes(random, 1 + random.below(9))]))),
  'a bit of the weights flipped': (json, weights, random) => {
    const changed = weights.slice();
    changed[random.below(changed.length)] ^= 1 << random.below(8);
    return random.below(2) ? { json: text(json), weights: changed } : withWeights(json, changed);
  },
  'no weights': (json) => withWeights(json, new Uint8Array()),
  'a size beyond all': (json, weights) => ({
    json: text({ ...json, weights: { ...json.weights, bytes: 2 ** 53 - 1 } }),
    weights,
  }),
  'channels beyond all': (json, weights) => ({
    json: text({ ...json, blocks: json.blocks.map((b) => ({ ...b, outChannels: 8192, kernel: 1023 })) }),
    weights,
  }),
  'names that a terminal obeys': (json, weights) => ({
    json: text({
      ...json,
      name: '\u001b[2J\u202e',
      classes: ['\u001b]0;x\u0007', '\u202eN', 'O', '~'],
      samples: 63,
    }),
    weights,
  }),
  'a score limit beyond all': (json, weights) => ({ json: text({ ...json, scoreLimit: 1e308 }), weights }),
  'a range beyond all': (json, weights) => ({
    json: text({
      ...json,
      blocks: json.blocks.map((b) => ({ ...b, activation: { ...b.activation, range: [-1e308, 1e308] } })),
    }),
    weights,
  }),
};

/** Models' folders and files of costs. */
export async function openModels(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), 'blindbeat-fuzz-'));
  const small = { samples: 64, channels: [2], kernel: 3 };
  const seeds = [
    randomModel(small),
    randomModel({ ...small, channels: [2, 2], helix: 2, series: 3 }),
    randomModel({ ...small, relu: true }),
  ].map(serialiseModel);
  const costs = { format: 'blindbeat costs', version: 1, n: 16384, costs: FAST_COST, measured: measured() };
  const planned = randomModel(small);
  const costFile = join(folder, 'costs.json');
  const special = specialFolders(folder, seeds[0]);
  const changes = [...Object.keys(CHANGES), ...SPELLINGS];
  const first = [...changes, ...Object.keys(special)];

  const model = (index: number, random: Random): Trial => {
    const chosen = index < first.length ? first[index] : directed(random, index, changes, 0.1);
    const { json, weights } = index < first.length ? seeds[0] : pick(random, seeds);
    if (chosen !== null && chosen in special) {
      const codes = ['FILE', 'MODEL'];
      const expected = () => ({ must: 'refuse', why: 'not two ordinary files' }) as const;
      return { format: 'model', attack: chosen, codes, act: () => loadModel(special[chosen]), expected };
    }
    const { attack, files } = changed(chosen, json, weights, random);
    const problems = modelProblems(parsedOrUndefined(files.json), files.weights);
    const untouched = attack === 'nothing changed';
    return {
      format: 'model',
      attack,
      codes: ['MODEL', 'PLAN'],
      act: async () => {
        writeFileSync(join(folder, 'model.json'), files.json);
        writeFileSync(join(folder, 'weights.bin'), files.weights);
        const read = await loadModel(folder);
        if (numbersOf(read as never) > PLANNED_WEIGHTS) return null;
        return planOf(() => compile(read).plan.manifest);
      },
      expected: () =>
        problems.length > 0
          ? { must: 'refuse', why: problems[0] }
          : { must: untouched ? 'accept' : 'either', why: 'sound; planned, or no plan exists' },
      inspect: (manifest) => {
        const wrong = manifest === null ? [] : manifestProblems(JSON.parse(JSON.stringify(manifest)));
        return wrong.length > 0 ? `its plan's manifest: ${wrong[0]}` : null;
      },
    };
  };

  const cost = (index: number, random: Random): Trial => {
    const spelling = directed(random, index, SPELLINGS, 0.2);
    const { value, what } = mutate(random, costs);
    const bytes = spelling === null ? text(value) : respell(random, JSON.stringify(costs), spelling);
    const problems = costProblems(parsedOrUndefined(bytes), Object.keys(FAST_COST));
    return {
      format: 'cost file',
      attack: spelling ?? what,
      codes: ['FORMAT'],
      act: async () => {
        writeFileSync(costFile, bytes);
        const read = await readCosts(costFile);
        return planOf(() => compile(planned, { costs: read, estimateCosts: read }).plan.manifest);
      },
      expected: () =>
        problems.length > 0
          ? { must: 'refuse', why: problems[0] }
          : { must: 'either', why: 'costs of every operation, finite and not negative' },
    };
  };

  return {
    trial: (index, random) =>
      index % 4 === 3 ? cost((index - 3) / 4, random) : model(index - ((index + 1) >> 2), random),
    control: async () => {
      writeFileSync(join(folder, 'model.json'), text(seeds[0].json));
      writeFileSync(join(folder, 'weights.bin'), seeds[0].weights);
      const { json } = serialiseModel(await loadModel(folder));
      return json.weights.sha256 === seeds[0].json.weights.sha256 ? null : 'a good model is read otherwise';
    },
    resources: () => ({ handles: 0, kernelBytes: 0 }),
    renew: async () => {},
    close: () => rmSync(folder, { recursive: true }),
  };
}

function changed(chosen: string | null, json: Json, weights: Uint8Array, random: Random) {
  if (chosen !== null && chosen in CHANGES)
    return { attack: chosen, files: CHANGES[chosen](json, weights, random) };
  if (chosen !== null)
    return { attack: chosen, files: { json: respell(random, JSON.stringify(json), chosen), weights } };
  const { value, what } = mutate(random, json);
  const fitting = random.next() < 0.7 ? fit(value, weights) : null;
  return { attack: what, files: fitting ?? { json: text(value), weights } };
}

/** The weights grown or cut to what a changed model.json says that they are, where that is of any size. */
function fit(value: unknown, weights: Uint8Array): Files | null {
  try {
    const count = numbersOf(value as Json as never);
    if (!(count >= 0 && count <= 1e6)) return null;
    const grown = new Uint8Array(4 * count);
    for (let at = 0; at < grown.length; at += weights.length)
      grown.set(weights.subarray(0, Math.min(weights.length, grown.length - at)), at);
    return withWeights(value, grown);
  } catch {
    return null;
  }
}

/** A plan, or null where none exists; anything else is a fault. */
function planOf<T>(plan: () => T): T | null {
  try {
    return plan();
  } catch (error) {
    if (error instanceof BlindbeatError && error.code === 'PLAN') return null;
    throw error;
  }
}

function measured() {
  return Object.keys(FAST_COST).map((operation, i) => ({ operation, limbs: 2 + i, ms: 0.5 * i }));
}

/** Folders whose files are no ordinary ones. */
function specialFolders(
  root: string,
  { json, weights }: { json: Json; weights: Uint8Array },
): Record<string, string> {
  const make = (name: string, jsonAt: (at: string) => void, weightsAt: (at: string) => void) => {
    const at = join(root, name);
    mkdirSync(at);
    jsonAt(join(at, 'model.json'));
    weightsAt(join(at, 'weights.bin'));
    return at;
  };
  const good = (at: string) => writeFileSync(at, at.endsWith('.json') ? text(json) : weights);
  const pipe = (at: string) => void execFileSync('mkfifo', [at]);
  const zero = (at: string) => symlinkSync('/dev/zero', at);
  const loop = (at: string) => symlinkSync(at, at);
  const none = () => {};
  const always = {
    'weights that are a folder': make('a', good, (at) => mkdirSync(at)),
    'weights that are a link to themselves': make('b', good, loop),
    'weights that are missing': make('c', good, none),
    'model.json that is a folder': make('d', (at) => mkdirSync(at), good),
  };
  if (process.platform === 'win32') return always;
  return {
    ...always,
    'weights that are a pipe': make('e', good, pipe),
    'weights that never end': make('f', good, zero),
    'model.json that is a pipe': make('g', pipe, good),
    'model.json that never ends': make('h', zero, good),
  };
}
