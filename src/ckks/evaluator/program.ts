import type {
  ActivationStage,
  Circuit,
  LinearStage,
  OnStage,
  SquareStage,
  SumStage,
} from '../circuit/circuit.ts';
import type { ActivationStep } from '../circuit/polynomial.ts';
import { CONJUGATION } from '../ring/galois.ts';
import type { Backend, RotationTerm } from './backend.ts';

/** A circuit whose weights are encoded for one backend; made once, used for every classification. */
export interface Program<P> {
  stages: EncodedStage<P>[];
}

type EncodedStage<P> =
  | { stage: LinearStage; rows: (P | null)[][][]; separation: P[][] | null; bias: P[] }
  | { stage: SquareStage }
  | { stage: ActivationStage; steps: EncodedStep<P>[] }
  | SumProgram<P>;

interface SumProgram<P> {
  stage: SumStage;
  bias: P;
  windowBias: P | null;
}

interface EncodedStep<P> {
  step: ActivationStep;
  /** One row of the numbers that nodes are multiplied by, or none. */
  rows: P[][];
  constant: P | null;
  /** Nodes that no later step uses. */
  last: number[];
}

/** Encodes all weights of a circuit. */
export function encodeProgram<V, P>(backend: Backend<V, P>, circuit: Circuit): Program<P> {
  const stages = circuit.stages.map((stage): EncodedStage<P> => {
    if (stage.kind === 'square') return { stage };
    if (stage.kind === 'activation') return { stage, steps: encodeSteps(backend, stage) };
    if (stage.kind === 'sum') {
      const encode = (bias: Float64Array) => backend.encode(bias, stage.scaleOut, stage.limbs - 1);
      const windowBias = circuit.outputs === 'scores+map' ? encode(stage.windowBias) : null;
      return { stage, bias: encode(stage.bias), windowBias };
    }
    return {
      stage,
      rows: stage.schedule.giantSteps.map((giant) =>
        giant.rows.map((row) =>
          row.map((v) => v && backend.encode(v.real, stage.weightScale, stage.limbs, v.imaginary)),
        ),
      ),
      separation: stage.schedule.paired ? separation(backend, stage.limbs) : null,
      bias: stage.bias.map((vector) => backend.encode(vector, stage.scaleOut, stage.limbs - 1)),
    };
  });
  return { stages };
}

function encodeSteps<V, P>(backend: Backend<V, P>, { steps }: ActivationStage): EncodedStep<P>[] {
  const lastUse = new Map<number, number>();
  steps.forEach((step, k) => {
    for (const node of nodesOf(step)) lastUse.set(node, k);
  });
  return steps.map((step, k) => {
    const { limbs, terms, constant, scaleOut } = step;
    const encode = (value: number, scale: number, level: number) =>
      backend.encode(Float64Array.of(value), scale, level);
    return {
      step,
      rows: terms.length === 0 ? [] : [terms.map(({ scalar, scale }) => encode(scalar, scale, limbs))],
      constant: constant === 0 ? null : encode(constant, scaleOut, limbsAfter(step)),
      last: [...lastUse].filter(([node, use]) => node > 0 && use === k).map(([node]) => node),
    };
  });
}

function nodesOf({ products, terms, added }: ActivationStep): number[] {
  return [
    ...products.flatMap(({ left, right }) => [left, right]),
    ...[...terms, ...added].map(({ node }) => node),
  ];
}

function limbsAfter({ limbs, scale }: ActivationStep): number {
  return scale === null ? limbs : limbs - 1;
}

/**
 * Takes an accumulator y / 2 + X^(N/2) y' / 2 and its conjugate y / 2 - X^(N/2) y' / 2 to y and y': the
 * factors are 1 and +-X^(N/2), exact at scale 1.
 */
function separation<V, P>(backend: Backend<V, P>, limbs: number): P[][] {
  const one = backend.encode(Float64Array.of(1), 1, limbs);
  const times = (sign: number) => backend.encode(Float64Array.of(0), 1, limbs, Float64Array.of(sign));
  return [
    [one, one],
    [times(-1), times(1)],
  ];
}

/** What one evaluation gives: the scores and, when planned, the map, each one ciphertext. */
export interface ProgramResult<V> {
  scores: V;
  map?: V;
}

/**
 * Runs the whole network on one packed input. The same code computes in the clear, counts operations and
 * works on ciphertexts. The input stays the caller's; everything else is freed.
 */
export function run<V, P>(
  backend: Backend<V, P>,
  program: Program<P>,
  input: V,
  onStage?: OnStage,
): ProgramResult<V> {
  let values = [input];
  let result: ProgramResult<V> | null = null;
  program.stages.forEach((encoded, index) => {
    const before = values;
    if (encoded.stage.kind === 'linear') values = runLinear(backend, encoded as LinearProgram<P>, before);
    else if (encoded.stage.kind === 'square') values = runSquare(backend, encoded.stage, before);
    else if (encoded.stage.kind === 'activation')
      values = runActivation(backend, encoded as ActivationProgram<P>, before);
    else result = runSum(backend, encoded as SumProgram<P>, before[0]);
    for (const v of before) if (v !== input) backend.free(v);
    onStage?.(encoded.stage, index, program.stages.length);
  });
  return result as unknown as ProgramResult<V>;
}

type LinearProgram<P> = Extract<EncodedStage<P>, { rows: unknown }>;

function runLinear<V, P>(
  backend: Backend<V, P>,
  { stage, rows, separation, bias }: LinearProgram<P>,
  inputs: V[],
): V[] {
  const { babySteps, babyAmounts, giantSteps, accumulators } = stage.schedule;
  const pooled = addRotations(backend, inputs, stage.pooling);
  const rotated = new Map<number, V[]>([[0, pooled]]);
  for (const { from, steps } of babySteps) {
    const turned = backend.rotateAll(
      rotated.get(from)!,
      steps.map(({ step }) => step),
    );
    for (const [k, { amount }] of steps.entries()) rotated.set(amount, turned[k]);
  }
  const columns = babyAmounts.flatMap((amount) => rotated.get(amount)!);
  const products = backend.multiplyPlainSums?.(columns, rows);
  let sums: (V | null)[] = new Array<V | null>(accumulators).fill(null);
  let terms: RotationTerm<V>[] = [];
  giantSteps.forEach((giant, g) => {
    const added = products?.[g] ?? backend.multiplyPlainSum(columns, rows[g]);
    if (giant.step > 0) {
      terms.push({ values: added, step: giant.step });
      return;
    }
    const turned = rotateBy(backend, sums, giant.accumulatorSteps.slice(0, -1));
    if (giant.accumulatorSteps.length > 0)
      terms.push({ values: turned, step: giant.accumulatorSteps.at(-1)! });
    sums = rotateAndSum(backend, terms, added);
    terms = [];
  });
  for (const vs of rotated.values()) if (vs !== inputs) for (const v of vs) backend.free(v);
  const complete = sums.map((sum, a) => sum ?? emptySum(stage, a));
  const outputs = separation ? separate(backend, stage, complete, separation) : complete;
  if (bias.length === 0) return outputs;
  return parallel(
    backend,
    outputs.map((product, o) => () => {
      const rescaled = backend.rescale(product, stage.scaleOut);
      const out = backend.addPlain(rescaled, bias[o]);
      backend.free(product);
      backend.free(rescaled);
      return out;
    }),
  );
}

/** Adds to each value its rotation by the first step, to that sum its rotation by the second, and so on. */
function addRotations<V, P>(backend: Backend<V, P>, values: V[], steps: number[]): V[] {
  return steps.reduce((current, step) => {
    const [turned] = backend.rotateAll(current, [step]);
    return parallel(
      backend,
      current.map((v, k) => () => {
        const sum = backend.add(v, turned[k]);
        backend.free(turned[k]);
        if (current !== values) backend.free(v);
        return sum;
      }),
    );
  }, values);
}

/** Independent computations, side by side where the backend can do that. */
function parallel<V, P, R>(backend: Backend<V, P>, computations: (() => R)[]): R[] {
  return backend.parallel?.(computations) ?? computations.map((compute) => compute());
}

/** The outputs of accumulators that hold two each, consumed; the last of an odd number is alone. */
function separate<V, P>(backend: Backend<V, P>, { outputs }: LinearStage, sums: V[], separation: P[][]): V[] {
  const pairs = sums.slice(0, Math.floor(outputs / 2));
  const [conjugates] = backend.rotateAll(pairs, [CONJUGATION]);
  const separated = parallel(
    backend,
    pairs.map((sum, a) => () => {
      const both = backend.multiplyPlainSum([sum, conjugates[a]], separation) as V[];
      backend.free(sum);
      backend.free(conjugates[a]);
      return both;
    }),
  );
  return [...separated.flat(), ...sums.slice(pairs.length)];
}

function emptySum(stage: LinearStage, accumulator: number): never {
  throw new RangeError(`${stage.name}: accumulator ${accumulator} has only zero weights`);
}

/** The values rotated by several key steps one after the other, consumed; null stays null. */
function rotateBy<V, P>(backend: Backend<V, P>, values: (V | null)[], steps: number[]): (V | null)[] {
  return steps.reduce((current, step) => {
    const present = current.filter((v) => v !== null);
    if (present.length === 0) return current;
    const turned = backend.rotateAll(present, [step])[0].values();
    for (const v of present) backend.free(v);
    return current.map((v) => (v === null ? null : turned.next().value!));
  }, values);
}

/** `Backend.rotateAndSum` on any backend, all values consumed. */
function rotateAndSum<V, P>(
  backend: Backend<V, P>,
  terms: RotationTerm<V>[],
  plus: (V | null)[],
): (V | null)[] {
  if (!backend.rotateAndSum) {
    return terms.reduce((sums, { values, step }) => {
      const turned = rotateBy(backend, values, [step]);
      return parallel(
        backend,
        sums.map((sum, a) => () => addInto(backend, turned[a], sum)),
      );
    }, plus);
  }
  const sums = backend.rotateAndSum(terms, plus);
  for (const { values } of terms) for (const v of values) if (v !== null) backend.free(v);
  for (const [a, v] of plus.entries()) if (v !== null && v !== sums[a]) backend.free(v);
  return sums;
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
  return parallel(
    backend,
    inputs.map((v) => () => {
      const squared = backend.square(v);
      const relinearised = backend.relinearise(squared);
      backend.free(squared);
      const out = backend.rescale(relinearised, stage.scaleOut);
      backend.free(relinearised);
      return out;
    }),
  );
}

type ActivationProgram<P> = Extract<EncodedStage<P>, { steps: unknown }>;

function runActivation<V, P>(
  backend: Backend<V, P>,
  { stage, steps }: ActivationProgram<P>,
  inputs: V[],
): V[] {
  /** By node and ciphertext. */
  const nodes = [inputs];
  const limbsOf = [stage.limbs];
  for (const encoded of steps) {
    nodes.push(
      parallel(
        backend,
        inputs.map((_, c) => () => {
          const values = nodes.map((ciphertexts) => ciphertexts[c]);
          return runStep(backend, encoded, values, limbsOf);
        }),
      ),
    );
    limbsOf.push(limbsAfter(encoded.step));
    for (const node of encoded.last) for (const v of nodes[node]) backend.free(v);
  }
  return nodes.at(-1)!;
}

/** One step on one ciphertext, whose nodes so far have these values and limbs. */
function runStep<V, P>(
  backend: Backend<V, P>,
  { step, rows, constant }: EncodedStep<P>,
  values: V[],
  limbsOf: number[],
): V {
  const cuts = new Map<number, V>();
  const made: V[] = [];
  const keep = (v: V) => {
    made.push(v);
    return v;
  };
  /** A node cut to the limbs of the products. */
  const cut = (node: number) => {
    if (limbsOf[node] === step.limbs) return values[node];
    const v = cuts.get(node) ?? keep(backend.dropLevel(values[node], step.limbs, 1));
    cuts.set(node, v);
    return v;
  };
  const products = step.products.map(({ left, right, times }) =>
    keep(backend.multiply(cut(left), cut(right), times)),
  );
  const parts: V[] = [];
  if (products.length > 0)
    parts.push(keep(backend.relinearise(products.reduce((sum, v) => keep(backend.add(sum, v))))));
  if (rows.length > 0) {
    const [sum] = backend.multiplyPlainSum(
      step.terms.map(({ node }) => cut(node)),
      rows,
    );
    parts.push(keep(sum!));
  }
  const after = step.added.map(({ node, times }) =>
    keep(backend.dropLevel(values[node], limbsAfter(step), times)),
  );
  if (parts.length > 0) {
    const sum = parts.reduce((a, b) => keep(backend.add(a, b)));
    after.unshift(keep(backend.rescale(sum, step.scaleOut)));
  }
  let out = after.reduce((a, b) => keep(backend.add(a, b)));
  if (constant !== null) out = keep(backend.addPlain(out, constant));
  for (const v of made) if (v !== out) backend.free(v);
  return out;
}

function runSum<V, P>(
  backend: Backend<V, P>,
  { stage, bias, windowBias }: SumProgram<P>,
  input: V,
): ProgramResult<V> {
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
  const result: ProgramResult<V> = { scores: finish(total, bias) };
  if (windowBias !== null) result.map = finish(windows, windowBias);
  if (total !== windows) backend.free(total);
  if (windows !== input) backend.free(windows);
  return result;
}
