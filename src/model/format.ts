import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { parsePreprocessing } from '../ecg/preprocess.ts';
import { BlindbeatError } from '../errors.ts';
import type { Block, ChebyshevPolynomial, Model, Polynomial, Relu } from './model.ts';

const FORMAT = 'blindbeat-model';
const VERSION = 1;

/** What model.json holds: everything but the numbers of weights.bin. */
interface ModelFile extends Omit<Model, 'blocks' | 'dense'> {
  format: typeof FORMAT;
  version: typeof VERSION;
  blocks: BlockFile[];
  /** Length and checksum of weights.bin. */
  weights: { bytes: number; sha256: string };
}

interface BlockFile extends Omit<Block, 'weights' | 'bias' | 'activation'> {
  activation: Omit<Polynomial, 'coefficients'> | ChebyshevPolynomial | Relu;
}

/** Larger numbers than any network that could be planned, so that a broken file cannot ask for all memory. */
const LIMITS = {
  blocks: 64,
  channels: 8192,
  kernel: 1023,
  dilation: 65536,
  degree: 64,
  seriesDegree: 63,
  classes: 1024,
};

/**
 * A model as two files: `json` to be written as model.json, `weights` as weights.bin: float32 little-endian, for
 * each block weights [kernel][in][out], bias [out], coefficients [degree + 1][out] of a polynomial; then the dense
 * layer's weights [channels][classes] and bias [classes]. Coefficients of a Chebyshev series are float64 and in `json`.
 */
export function serialiseModel(model: Model): { json: ModelFile; weights: Uint8Array } {
  const arrays = arraysOf(model);
  const length = arrays.reduce((sum, a) => sum + a.length, 0);
  const weights = new Uint8Array(4 * length);
  const view = new DataView(weights.buffer);
  let at = 0;
  for (const array of arrays) {
    for (const value of array) {
      view.setFloat32(at, value, true);
      at += 4;
    }
  }
  const file: ModelFile = {
    format: FORMAT,
    version: VERSION,
    name: model.name,
    classes: model.classes,
    preprocessing: model.preprocessing,
    samples: model.samples,
    blocks: model.blocks.map(({ weights: _weights, bias: _bias, activation, ...rest }) => {
      if (activation.kind !== 'polynomial') return { ...rest, activation };
      const { coefficients: _coefficients, ...polynomial } = activation;
      return { ...rest, activation: polynomial };
    }),
    scoreLimit: model.scoreLimit,
    provenance: model.provenance,
    weights: { bytes: weights.length, sha256: bytesToHex(sha256(weights)) },
  };
  return { json: file, weights };
}

function arraysOf(model: Model): Float32Array[] {
  const blocks = model.blocks.flatMap(({ weights, bias, activation }) => [
    weights,
    bias,
    ...(activation.kind === 'polynomial' ? [activation.coefficients] : []),
  ]);
  return [...blocks, model.dense.weights, model.dense.bias];
}

/**
 * Reads a model from the parsed model.json and the bytes of weights.bin.
 *
 * @throws BlindbeatError MODEL with a list of all that is wrong
 */
export function parseModel(json: unknown, weights: Uint8Array): Model {
  const check = new Checker();
  const root = check.record(json, 'model.json');
  if (root.format !== FORMAT) check.fail(`format: expected "${FORMAT}"`);
  else if (root.version !== VERSION) {
    check.fail(
      `version: expected ${VERSION}, got ${JSON.stringify(root.version)}; use the blindbeat that wrote it`,
    );
  }
  if (check.problems.length > 0) throw check.error(); // of another format, everything else would be noise
  const name = check.text(root.name, 'name');
  const classes = check.list(root.classes, 'classes', LIMITS.classes).map((c, i) => {
    return check.text(c, `classes[${i}]`);
  });
  if (classes.length < 2) check.fail('classes: expected at least two');
  if (new Set(classes).size < classes.length) check.fail('classes: expected different names');
  const samples = check.count(root.samples, 'samples', 2 ** 24);
  const preprocessing = check.attempt(() => parsePreprocessing(root.preprocessing), 'preprocessing');
  if (preprocessing && preprocessing.samples !== samples) {
    check.fail(`samples: ${samples}, but the preprocessing makes ${preprocessing.samples}`);
  }
  const blocks = parseBlocks(check, root.blocks, samples);
  const scoreLimit = check.number(root.scoreLimit, 'scoreLimit');
  if (scoreLimit <= 0) check.fail('scoreLimit: expected a positive number');
  const provenance = parseProvenance(check, root.provenance);
  checkBytes(check, root.weights, weights);
  if (check.problems.length > 0 || !preprocessing) throw check.error();

  const reader = new FloatReader(weights);
  const model: Model = {
    name,
    classes,
    preprocessing,
    samples,
    blocks: blocks.map((b) => ({
      ...b,
      weights: reader.take(b.kernel * b.inChannels * b.outChannels),
      bias: reader.take(b.outChannels),
      activation:
        b.activation.kind === 'polynomial'
          ? { ...b.activation, coefficients: reader.take((b.activation.degree + 1) * b.outChannels) }
          : b.activation,
    })),
    dense: {
      weights: reader.take((blocks.at(-1)?.outChannels ?? 1) * classes.length),
      bias: reader.take(classes.length),
    },
    scoreLimit,
    provenance,
  };
  if (reader.taken !== weights.length) {
    check.fail(`weights: the layers take ${reader.taken} bytes, weights.bin has ${weights.length}`);
  } else if (arraysOf(model).some((a) => !a.every(Number.isFinite))) {
    check.fail('weights: expected finite numbers only');
  }
  if (check.problems.length > 0) throw check.error();
  return model;
}

function parseBlocks(check: Checker, value: unknown, samples: number): BlockFile[] {
  const list = check.list(value, 'blocks', LIMITS.blocks);
  if (list.length === 0) check.fail('blocks: expected at least one');
  let channels = 1;
  let time = samples;
  let poolingBefore = 'average';
  return list.map((item, i) => {
    const at = `blocks[${i}]`;
    const block = check.record(item, at);
    const inChannels = check.count(block.inChannels, `${at}.inChannels`, LIMITS.channels);
    const outChannels = check.count(block.outChannels, `${at}.outChannels`, LIMITS.channels);
    const kernel = check.count(block.kernel, `${at}.kernel`, LIMITS.kernel);
    const dilation = check.count(block.dilation, `${at}.dilation`, LIMITS.dilation);
    const helix = check.count(block.helix ?? 0, `${at}.helix`, LIMITS.channels, 0);
    const pool = check.count(block.pool, `${at}.pool`, samples);
    const pooling = check.choice(block.pooling ?? 'average', `${at}.pooling`, ['average', 'max']);
    const activation = parseActivation(check, block.activation, `${at}.activation`);
    if (inChannels !== channels) check.fail(`${at}.inChannels: ${inChannels}, but it is given ${channels}`);
    if (helix > 0 && (i === 0 || poolingBefore === 'max')) {
      check.fail(`${at}.helix: a helical convolution follows a block with average pooling`);
    }
    if (kernel % 2 === 0) check.fail(`${at}.kernel: expected an odd number, got ${kernel}`);
    if (time % pool !== 0) check.fail(`${at}.pool: ${pool} does not divide its input length ${time}`);
    channels = outChannels;
    poolingBefore = pooling;
    time = time % pool === 0 ? time / pool : time;
    return { inChannels, outChannels, kernel, dilation, helix, pool, pooling, activation };
  });
}

/** Files of before there was a choice say nothing of kind and pooling: a polynomial and the average. */
function parseActivation(check: Checker, value: unknown, at: string): BlockFile['activation'] {
  const activation = check.record(value, at);
  const kind = check.choice(activation.kind ?? 'polynomial', `${at}.kind`, [
    'polynomial',
    'chebyshev',
    'relu',
  ]);
  const list = check.list(activation.range, `${at}.range`, 2);
  const [low, high] = [0, 1].map((k) => check.number(list[k], `${at}.range[${k}]`));
  if (low >= high) check.fail(`${at}.range: expected [low, high] with low < high`);
  const range: [number, number] = [low, high];
  if (kind === 'relu') return { kind, range };
  if (kind === 'chebyshev') {
    const coefficients = check
      .list(activation.coefficients, `${at}.coefficients`, LIMITS.seriesDegree + 1)
      .map((c, k) => check.number(c, `${at}.coefficients[${k}]`));
    if (coefficients.length < 2) check.fail(`${at}.coefficients: expected at least two`);
    return { kind, coefficients, range };
  }
  return { kind, degree: check.count(activation.degree, `${at}.degree`, LIMITS.degree), range };
}

function parseProvenance(check: Checker, value: unknown): Model['provenance'] {
  const p = check.record(value, 'provenance');
  const metrics = check.record(p.metrics, 'provenance.metrics');
  return {
    data: check.text(p.data, 'provenance.data'),
    seed: check.number(p.seed, 'provenance.seed'),
    command: check.text(p.command, 'provenance.command'),
    createdAt: check.text(p.createdAt, 'provenance.createdAt'),
    metrics: Object.fromEntries(
      Object.entries(metrics).map(([key, v]) => [key, check.number(v, `provenance.metrics.${key}`)]),
    ),
  };
}

function checkBytes(check: Checker, value: unknown, weights: Uint8Array): void {
  const { bytes, sha256: expected } = check.record(value, 'weights');
  const actual = bytesToHex(sha256(weights));
  if (bytes !== weights.length) check.fail(`weights.bytes: ${bytes}, but weights.bin has ${weights.length}`);
  else if (expected !== actual) {
    check.fail('weights.sha256: weights.bin is not the file that this model.json was written with');
  }
}

/** Reads values of the right kind, noting what is wrong and going on with a harmless stand-in. */
class Checker {
  readonly problems: string[] = [];

  fail(problem: string): void {
    this.problems.push(problem);
  }

  error(): BlindbeatError {
    return new BlindbeatError(
      'MODEL',
      `The model cannot be used:\n${this.problems.map((p) => `  - ${p}`).join('\n')}`,
    );
  }

  attempt<T>(f: () => T, at: string): T | undefined {
    try {
      return f();
    } catch (error) {
      if (!(error instanceof BlindbeatError)) throw error;
      this.fail(`${at}: ${error.message}`);
      return undefined;
    }
  }

  record(value: unknown, at: string): Record<string, unknown> {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
    this.fail(`${at}: expected an object`);
    return {};
  }

  list(value: unknown, at: string, most: number): unknown[] {
    if (Array.isArray(value) && value.length <= most) return value;
    this.fail(`${at}: expected a list of at most ${most}`);
    return [];
  }

  text(value: unknown, at: string): string {
    if (typeof value === 'string' && value !== '') return value;
    this.fail(`${at}: expected a text`);
    return '';
  }

  choice<T extends string>(value: unknown, at: string, choices: T[]): T {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) this.fail(`${at}: expected ${choices.map((c) => `"${c}"`).join(' or ')}`);
    return found ?? choices[0];
  }

  number(value: unknown, at: string): number {
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    this.fail(`${at}: expected a number`);
    return 1;
  }

  count(value: unknown, at: string, most: number, least = 1): number {
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    this.fail(`${at}: expected a whole number from ${least} to ${most}`);
    return 1;
  }
}

/** Takes float32 little-endian numbers off a byte array; past its end they are 0. */
class FloatReader {
  taken = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  take(length: number): Float32Array {
    const end = this.taken + 4 * length;
    const values = new Float32Array(end <= this.bytes.length ? length : 0);
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(this.taken + 4 * i, true);
    this.taken = end;
    return values;
  }
}
