import * as v from 'valibot';
import { hexDigest } from '../digest.ts';
import { PreprocessingSchema, preprocessingProblems } from '../ecg/preprocess.ts';
import {
  choice,
  distinctNames,
  type Fault,
  hex,
  list,
  name,
  number,
  numberWithin,
  parse,
  plain,
  positive,
  record,
  refuse,
  requireFormat,
  text,
  wholeNumber,
} from '../schema.ts';
import type { Model } from './model.ts';

const FORMAT = 'blindbeat-model';
const VERSION = 1;
const FAULT: Fault = { code: 'MODEL', title: 'The model cannot be used', root: 'model.json' };

/** Larger numbers than any network that could be planned, so that a broken file cannot ask for all memory. */
const LIMITS = {
  samples: 2 ** 15,
  blocks: 64,
  channels: 8192,
  kernel: 1023,
  dilation: 65536,
  degree: 64,
  seriesDegree: 63,
  /** Those of a manifest: more could not be planned. */
  classes: 16,
  classCharacters: 32,
  nameCharacters: 64,
  metrics: 64,
  /** Numbers that a block gives to the next, and multiplications of a forward pass: 30 times the shipped models'. */
  activations: 2 ** 22,
  multiplications: 2e9,
  /** Of an activation's range and series: what is larger has no plan, and its powers are no numbers. */
  magnitude: 1e9,
};
/** Bytes of weights.bin; the shipped models have 1 to 2 MB. */
export const MOST_WEIGHT_BYTES = 100e6;

const magnitude = () => numberWithin(-LIMITS.magnitude, LIMITS.magnitude);

const RangeSchema = v.pipe(
  list(magnitude(), 2, 2),
  v.transform(([low, high]): [number, number] => [low, high]),
  v.check(([low, high]) => low < high, '[low, high] with low < high'),
);

/**
 * Before long work: whether a model may have this name.
 *
 * @throws BlindbeatError MODEL
 */
export function requireModelName(text: string): void {
  parse(name(LIMITS.nameCharacters), text, {
    ...FAULT,
    title: 'The model cannot be called so',
    root: 'name',
  });
}

/** What of an activation is in model.json: a polynomial's coefficients are in weights.bin. */
const ActivationSchema = v.variant(
  'kind',
  [
    // Files of before there was a choice say nothing of the kind.
    record({
      kind: v.nullish(v.literal('polynomial'), 'polynomial'),
      degree: wholeNumber(1, LIMITS.degree),
      range: RangeSchema,
    }),
    record({
      kind: v.literal('chebyshev'),
      coefficients: list(magnitude(), LIMITS.seriesDegree + 1, 2),
      range: RangeSchema,
    }),
    record({ kind: v.literal('relu'), range: RangeSchema }),
  ],
  ({ path }) => (path ? '"polynomial" or "chebyshev" or "relu"' : 'an object'),
);

const BlockSchema = record({
  inChannels: wholeNumber(1, LIMITS.channels),
  outChannels: wholeNumber(1, LIMITS.channels),
  kernel: v.pipe(
    wholeNumber(1, LIMITS.kernel),
    v.check((taps) => taps % 2 === 1, 'an odd number'),
  ),
  dilation: wholeNumber(1, LIMITS.dilation),
  helix: v.nullish(wholeNumber(0, LIMITS.channels), 0),
  pool: wholeNumber(1, LIMITS.samples),
  pooling: v.nullish(choice(['average', 'max']), 'average'),
  activation: ActivationSchema,
});
type BlockFile = v.InferOutput<typeof BlockSchema>;

/** What model.json holds: everything but the numbers of weights.bin. */
const ModelSchema = record({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  name: name(LIMITS.nameCharacters),
  classes: distinctNames(LIMITS.classCharacters, LIMITS.classes),
  preprocessing: PreprocessingSchema,
  samples: wholeNumber(1, LIMITS.samples),
  blocks: list(BlockSchema, LIMITS.blocks, 1),
  scoreLimit: positive(),
  provenance: record({
    data: text(),
    seed: number(),
    command: text(),
    createdAt: text(),
    metrics: v.pipe(
      v.custom<object>((metrics) => !Array.isArray(metrics), 'an object'),
      v.check((metrics) => Object.keys(metrics ?? {}).length <= LIMITS.metrics, 'a few figures'),
      v.record(v.string(), number(), 'an object'),
    ),
  }),
  /** Length and checksum of weights.bin. */
  weights: record({ bytes: wholeNumber(0, MOST_WEIGHT_BYTES), sha256: hex(64) }),
});
type ModelFile = v.InferOutput<typeof ModelSchema>;

/**
 * A model as two files: `json` to be written as model.json, `weights` as weights.bin: float32 little-endian,
 * for each block weights [kernel][in][out], bias [out], coefficients [degree + 1][out] of a polynomial; then
 * the dense layer's weights [channels][classes] and bias [classes]. Coefficients of a Chebyshev series are
 * float64 and in `json`.
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
    weights: { bytes: weights.length, sha256: hexDigest(weights) },
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
 * Reads a model from the parsed model.json and the bytes of weights.bin. Unknown fields are left out.
 *
 * @throws BlindbeatError MODEL with a list of all that is wrong
 */
export function parseModel(json: unknown, weights: Uint8Array): Model {
  requireFormat(json, FORMAT, VERSION, FAULT);
  const file = parse(ModelSchema, plain(json, FAULT), FAULT);
  const { name: modelName, classes, preprocessing, samples, blocks, scoreLimit, provenance } = file;
  refuse(FAULT, [
    ...preprocessingProblems(preprocessing, 'preprocessing.'),
    ...(preprocessing.samples === samples
      ? []
      : [`samples: ${samples}, but the preprocessing makes ${preprocessing.samples}`]),
    ...chainProblems(blocks, samples),
  ]);
  refuse(FAULT, [...workProblems(file), ...bytesProblems(file, weights)]);
  const reader = new FloatReader(weights);
  const model: Model = {
    name: modelName,
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
      weights: reader.take(blocks.at(-1)!.outChannels * classes.length),
      bias: reader.take(classes.length),
    },
    scoreLimit,
    provenance,
  };
  if (arraysOf(model).some((a) => !a.every(Number.isFinite)))
    refuse(FAULT, ['weights: expected finite numbers only']);
  return model;
}

/** Whether every block takes what the one before it gives. */
function chainProblems(blocks: BlockFile[], samples: number): string[] {
  const problems: string[] = [];
  let channels = 1;
  let time = samples;
  let poolingBefore: BlockFile['pooling'] | null = null;
  blocks.forEach(({ inChannels, outChannels, helix, pool, pooling }, i) => {
    const at = `blocks[${i}]`;
    if (inChannels !== channels)
      problems.push(`${at}.inChannels: ${inChannels}, but it is given ${channels}`);
    if (helix > 0 && poolingBefore !== 'average')
      problems.push(`${at}.helix: a helical convolution follows a block with average pooling`);
    if (time % pool !== 0) problems.push(`${at}.pool: ${pool} does not divide its input length ${time}`);
    else time /= pool;
    channels = outChannels;
    poolingBefore = pooling;
  });
  return problems;
}

/** Whether a forward pass of blocks that fit each other stays within the limits. */
function workProblems({ blocks, samples, classes }: ModelFile): string[] {
  let time = samples;
  let largest = 0;
  let multiplications = 0;
  blocks.forEach(({ inChannels, outChannels, kernel, helix, pool, activation }, i) => {
    // Of a helical convolution all lines of neighbouring channels are read, at every time before pooling.
    const inputs = helix > 0 ? Math.ceil(inChannels / helix) * helix : inChannels;
    const before = helix > 0 ? time * blocks[i - 1].pool : time;
    const degree = activation.kind === 'polynomial' ? activation.degree : LIMITS.seriesDegree;
    const pooled = blocks[i + 1]?.helix > 0 ? pool : 1;
    largest = Math.max(largest, before * inputs, time * outChannels);
    multiplications += time * outChannels * (kernel * inputs + degree + pooled);
    time /= pool;
  });
  multiplications += time * blocks.at(-1)!.outChannels * classes.length;
  const problems: string[] = [];
  if (largest > LIMITS.activations)
    problems.push(`blocks: a block has ${largest} numbers, at most ${LIMITS.activations} are allowed`);
  if (multiplications > LIMITS.multiplications) {
    problems.push(
      `blocks: a segment takes ${multiplications} multiplications, at most ${LIMITS.multiplications} are allowed`,
    );
  }
  return problems;
}

/** Bytes that the layers take of weights.bin. */
function weightBytes({ blocks, classes }: ModelFile): number {
  const numbers = blocks.map(({ kernel, inChannels, outChannels, activation }) => {
    const coefficients = activation.kind === 'polynomial' ? activation.degree + 1 : 0;
    return outChannels * (kernel * inChannels + 1 + coefficients);
  });
  const dense = (blocks.at(-1)!.outChannels + 1) * classes.length;
  return 4 * numbers.reduce((sum, count) => sum + count, dense);
}

function bytesProblems(file: ModelFile, weights: Uint8Array): string[] {
  const { bytes, sha256: expected } = file.weights;
  if (bytes !== weights.length) return [`weights.bytes: ${bytes}, but weights.bin has ${weights.length}`];
  const taken = weightBytes(file);
  if (taken !== bytes) return [`weights: the layers take ${taken} bytes, weights.bin has ${bytes}`];
  if (expected === hexDigest(weights)) return [];
  return ['weights.sha256: weights.bin is not the file that this model.json was written with'];
}

/** Takes float32 little-endian numbers off a byte array. */
class FloatReader {
  private taken = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  take(length: number): Float32Array {
    const values = new Float32Array(length);
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(this.taken + 4 * i, true);
    this.taken += 4 * length;
    return values;
  }
}
