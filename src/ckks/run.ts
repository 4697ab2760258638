import type { Backend } from './backend.ts';
import type { Circuit, LinearStage, SquareStage, Stage, SumStage } from './circuit.ts';

/** A circuit whose weights are encoded for one backend; made once, used for every classification. */
export interface Program<P> {
  stages: EncodedStage<P>[];
}

type EncodedStage<P> =
  | { stage: LinearStage; rows: (P | null)[][][]; bias: P[] }
  | { stage: SquareStage }
  | SumProgram<P>;

interface SumProgram<P> {
  stage: SumStage;
  bias: P;
  windowBias: P | null;
}

/** Encodes all weights of a circuit. */
export function encodeProgram<V, P>(backend: Backend<V, P>, circuit: Circuit): Program<P> {
  const stages = circuit.stages.map((stage): EncodedStage<P> => {
    if (stage.kind === 'square') return { stage };
    if (stage.kind === 'sum') {
      const encode = (bias: Float64Array) => backend.encode(bias, stage.scaleOut, stage.limbs - 1);
      const windowBias = circuit.outputs === 'scores+map' ? encode(stage.windowBias) : null;
      return { stage, bias: encode(stage.bias), windowBias };
    }
    return {
      stage,
      rows: stage.schedule.giants.map((giant) =>
        giant.rows.map((row) =>
          row.map((vector) => vector && backend.encode(vector, stage.weightScale, stage.limbs)),
        ),
      ),
      bias: stage.bias.map((vector) => backend.encode(vector, stage.scaleOut, stage.limbs - 1)),
    };
  });
  return { stages };
}

/** What one evaluation gives: the scores and, when planned, the map, each one ciphertext. */
export interface Outcome<V> {
  scores: V;
  map?: V;
}

/** Called after each stage with its name. */
export type OnStage = (stage: Stage, index: number, count: number) => void;

/**
 * Runs the whole network on one packed input. The same code computes in the clear, counts operations and works on
 * ciphertexts. The input stays the caller's; everything else is freed.
 */
export function run<V, P>(
  backend: Backend<V, P>,
  program: Program<P>,
  input: V,
  onStage?: OnStage,
): Outcome<V> {
  let values = [input];
  let outcome: Outcome<V> | null = null;
  program.stages.forEach((encoded, index) => {
    const before = values;
    if (encoded.stage.kind === 'linear') values = runLinear(backend, encoded as LinearProgram<P>, before);
    else if (encoded.stage.kind === 'square') values = runSquare(backend, encoded.stage, before);
    else outcome = runSum(backend, encoded as SumProgram<P>, before[0]);
    for (const v of before) if (v !== input) backend.free(v);
    onStage?.(encoded.stage, index, program.stages.length);
  });
  return outcome as unknown as Outcome<V>;
}

type LinearProgram<P> = Extract<EncodedStage<P>, { rows: unknown }>;

function runLinear<V, P>(backend: Backend<V, P>, { stage, rows, bias }: LinearProgram<P>, inputs: V[]): V[] {
  const { babies, used, giants } = stage.schedule;
  const rotated = new Map<number, V[]>([[0, inputs]]);
  for (const { from, steps } of babies) {
    const turned = backend.rotateAll(
      rotated.get(from)!,
      steps.map(({ step }) => step),
    );
    for (const [k, { amount }] of steps.entries()) rotated.set(amount, turned[k]);
  }
  const columns = used.flatMap((amount) => rotated.get(amount)!);
  const products = backend.multiplySums?.(columns, rows);
  let sums: (V | null)[] = new Array<V | null>(stage.outputs).fill(null);
  giants.forEach((giant, g) => {
    const turned = sums.map((sum) => rotateBy(backend, sum, giant.rotate));
    const added = products?.[g] ?? backend.multiplySum(columns, rows[g]);
    sums = turned.map((sum, o) => addInto(backend, sum, added[o]));
  });
  for (const [amount, vs] of rotated) if (amount !== 0) for (const v of vs) backend.free(v);
  if (bias.length === 0) return sums as V[];
  return sums.map((sum, o) => {
    const product = sum ?? emptyOutput(stage, o);
    const rescaled = backend.rescale(product, stage.scaleOut);
    const out = backend.addPlain(rescaled, bias[o]);
    backend.free(product);
    backend.free(rescaled);
    return out;
  });
}

function emptyOutput(stage: LinearStage, output: number): never {
  throw new RangeError(`${stage.name}: ciphertext ${output} has only zero weights`);
}

/** The value rotated by several key steps, consumed. */
function rotateBy<V, P>(backend: Backend<V, P>, value: V | null, steps: number[]): V | null {
  if (value === null) return null;
  return steps.reduce<V>((current, step) => {
    const next = backend.rotate(current, step);
    backend.free(current);
    return next;
  }, value);
}

/** The sum of two values, both consumed; null stands for zero. */
function addInto<V, P>(backend: Backend<V, P>, a: V | null, b: V | null): V | null {
  if (a === null || b === null) return a ?? b;
  const sum = backend.add(a, b);
  backend.free(a);
  backend.free(b);
  return sum;
}

function runSquare<V, P>(backend: Backend<V, P>, stage: SquareStage, inputs: V[]): V[] {
  return inputs.map((v) => {
    const squared = backend.square(v);
    const relinearised = backend.relinearise(squared);
    backend.free(squared);
    const out = backend.rescale(relinearised, stage.scaleOut);
    backend.free(relinearised);
    return out;
  });
}

function runSum<V, P>(
  backend: Backend<V, P>,
  { stage, bias, windowBias }: SumProgram<P>,
  input: V,
): Outcome<V> {
  const foldTime = (value: V, steps: number[]): V =>
    steps.reduce((sum, step) => {
      const rotated = backend.rotate(sum, step);
      const next = backend.add(sum, rotated);
      backend.free(rotated);
      if (sum !== value) backend.free(sum);
      return next;
    }, value);
  const windows = foldTime(input, stage.windowSteps);
  const total = foldTime(windows, stage.totalSteps);
  const finish = (sum: V, constant: P): V => {
    const rescaled = backend.rescale(sum, stage.scaleOut);
    const out = backend.addPlain(rescaled, constant);
    backend.free(rescaled);
    return out;
  };
  const outcome: Outcome<V> = { scores: finish(total, bias) };
  if (windowBias !== null) outcome.map = finish(windows, windowBias);
  if (total !== windows) backend.free(total);
  if (windows !== input) backend.free(windows);
  return outcome;
}
