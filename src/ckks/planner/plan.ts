import { hexDigest } from '../../digest.ts';
import { checkValues } from '../../model/check-values.ts';
import { serialiseModel } from '../../model/format.ts';
import type { Model } from '../../model/model.ts';
import type { Circuit, Stage, SumStage } from '../circuit/circuit.ts';
import type { ActivationStep } from '../circuit/polynomial.ts';
import type { BackendName } from '../evaluator/backend.ts';
import type { RotationLevels } from '../evaluator/executor.ts';
import { type OperationCounts, type Operations, totals } from '../evaluator/operations.ts';
import { encodeProgram, run } from '../evaluator/program.ts';
import { TraceBackend } from '../evaluator/trace.ts';
import { type Gadget, moduli, serving } from '../keyswitch/gadget.ts';
import { type EvaluationKeySet, plannedKeys, SWITCHING_WORDS } from '../keyswitch/key-set.ts';
import { CONJUGATION } from '../ring/galois.ts';
import { type WireSizes, wireSizes } from '../wire/file-sizes.ts';
import { type ParsedManifest, sealManifest } from '../wire/manifest.ts';
import { type Costs, costsOf, estimateMs } from './cost.ts';

/** Everything that is known about an encrypted classification before any key is made. Holds no weights. */
export interface Plan {
  manifest: ParsedManifest;
  /** What is to compute on ciphertexts: the estimates are its. */
  backend: BackendName;
  stages: StagePlan[];
  /** Operations of the whole network. */
  operations: Operations;
  /** The limbs at which ciphertexts are rotated, by key step (0 is the complex conjugation). */
  rotated: RotationLevels;
  /** Bytes on the wire. */
  bytes: WireSizes;
  estimate: {
    /** Milliseconds of the server's work on one core. */
    serverMs: number;
    /** Bytes of live ciphertexts at most, evaluation keys as the backend holds them, and encoded weights. */
    memory: { ciphertexts: number; keys: number; weights: number };
  };
}

/** One stage: where it stands in the chain of primes, and what it costs. */
export interface StagePlan {
  name: string;
  kind: Stage['kind'];
  /** Limbs and scale of its input and output. */
  limbs: [number, number];
  scale: [number, number];
  /** What a polynomial's steps do, without its coefficients; absent for other stages. */
  steps?: StepPlan[];
  /** Scale of the weights; absent for squares and sums. */
  weightScale?: number;
  /** Ciphertexts in and out. */
  ciphertexts: [number, number];
  /** Rotation amounts that carry weights; absent for squares and sums. */
  amounts?: number;
  /** Key steps and the rotations made of them; absent for squares. */
  rotations?: Rotations;
  /** Largest |value| of the output that the validated ranges allow. */
  bound: number;
  operations: Operations;
  estimateMs: number;
}

/** See `ActivationStep`. */
type StepPlan = Omit<ActivationStep, 'terms' | 'constant'> & { terms: { node: number; scale: number }[] };

/** What a stage rotates, without weights. Step 0 is the complex conjugation. */
interface Rotations {
  /** Of the inputs, before all others: each one's rotation by the key `step` is added to it, step by step. */
  pooling: number[];
  /** Of the inputs: from the amount `from`, one decomposition each, on to `amount` by the key `step`. */
  babySteps: { from: number; steps: { amount: number; step: number }[] }[];
  /**
   * Of the sums: the one at `amount` is rotated onto the next base by the key `step`; or it is a base, `step`
   * is 0, and the accumulators so far are rotated down to it by the keys `accumulatorSteps`.
   */
  giantSteps: { amount: number; accumulatorSteps: number[]; step: number }[];
  /** Two outputs share an accumulator: their conjugates separate them. */
  paired: boolean;
}

/**
 * Plans a circuit: levels, exact scales, keys, sizes, operation counts and a time estimate, by a dry run of
 * the very program that the server runs. Needs no key.
 *
 * @param model what the circuit was compiled from
 * @param backend what is to compute; it and `costs` are only for the estimates
 */
export function planCircuit(
  model: Model,
  circuit: Circuit,
  backend: BackendName = 'fast',
  costs: Costs = costsOf(backend),
): Plan {
  const { parameters } = circuit;
  const trace = new TraceBackend(parameters, circuit.keySwitching);
  const program = encodeProgram(trace, circuit);
  const perStage: OperationCounts[] = [];
  const outcome = run(trace, program, trace.input(circuit.inputScale), () =>
    perStage.push(trace.takeCounts()),
  );
  for (const v of [outcome.scores, outcome.map]) if (v) trace.free(v);

  const keys = keysFor(circuit, trace);
  const checks = checkValues(model);
  const manifest = sealManifest({
    format: 'blindbeat manifest',
    version: 1,
    model: { name: model.name, fingerprint: fingerprint(model) },
    classes: model.classes,
    preprocessing: model.preprocessing,
    samples: model.samples,
    parameters,
    outputs: circuit.outputs,
    inputScale: circuit.inputScale,
    keys,
    reply: circuit.reply,
    scoreBound: circuit.scoreBound,
    scoreLimit: model.scoreLimit,
    ...(checks.length > 0 && { checks }),
  });
  const stages = circuit.stages.map((stage, k) => describeStage(stage, perStage[k], circuit, costs));
  return {
    manifest,
    backend,
    stages,
    operations: sumTotals(stages.map((s) => s.operations)),
    rotated: trace.rotated,
    bytes: wireSizes(manifest),
    estimate: {
      serverMs: stages.reduce((sum, s) => sum + s.estimateMs, 0),
      memory: {
        ...workingMemory(circuit, keys, trace.peakBytes, backend),
        weights: 4 * trace.plainResidues,
      },
    },
  };
}

/** The keys that the dry run took. */
function keysFor(
  { keySwitching, gadgets }: Circuit,
  { relinearised, rotated }: TraceBackend,
): EvaluationKeySet {
  const highest = (levels: Set<number>) => [Math.max(...levels)];
  const served = (levels: Set<number>): number[] => {
    if (keySwitching === 'per-prime') return highest(levels);
    const keys = [...levels].map(
      (limbs) => serving(gadgets.relinearisation, limbs, (gadget) => gadget.limbs)!.limbs,
    );
    return [...new Set(keys)].sort((a, b) => b - a);
  };
  const relinearisation = relinearised.size === 0 ? [] : served(relinearised).map((limbs) => ({ limbs }));
  const galois = [...rotated]
    .sort(([a], [b]) => a - b)
    .flatMap(([step, levels]) => {
      const shared = keySwitching === 'per-prime' || step === CONJUGATION;
      const limbs = shared ? highest(levels) : [...levels].sort((a, b) => b - a);
      return limbs.map((keyLimbs) => ({ step, limbs: keyLimbs }));
    });
  const used = new Set([...relinearisation, ...galois].map(({ limbs }) => limbs));
  const listed = [...gadgets.rotation, ...gadgets.relinearisation].filter(({ limbs }) => used.has(limbs));
  return {
    switching: SWITCHING_WORDS[keySwitching],
    gadgets: listed.sort((a, b) => b.limbs - a.limbs),
    relinearisation,
    galois,
  };
}

/** SEAL's residues have 64 bits and its keys all limbs; our own have 32 bits and the keys' planned limbs. */
function workingMemory(
  { parameters, stages }: Circuit,
  keys: EvaluationKeySet,
  peakBytes: number,
  backend: BackendName,
): { ciphertexts: number; keys: number } {
  const { n, primes } = parameters;
  const keyLimbs = (limbsOf: (gadget: Gadget) => number) =>
    plannedKeys(parameters, keys).reduce(
      (sum, { gadget }) => sum + 2 * gadget.digits.length * limbsOf(gadget),
      0,
    );
  if (backend === 'seal') return { ciphertexts: peakBytes, keys: 8 * n * keyLimbs(() => primes.length + 1) };
  // All giant steps' sums are made at once (evaluator/program.ts).
  const sums = stages.map((stage) =>
    stage.kind === 'linear'
      ? stage.schedule.giantSteps.length * stage.schedule.accumulators * 2 * stage.limbs
      : 0,
  );
  return {
    ciphertexts: peakBytes / 2 + 4 * n * Math.max(...sums),
    keys: 4 * n * keyLimbs((gadget) => moduli(gadget).length),
  };
}

function describeStage(
  stage: Stage,
  counts: OperationCounts,
  { parameters, gadgets }: Circuit,
  costs: Costs,
): StagePlan {
  const common = {
    name: stage.name,
    kind: stage.kind,
    scale: [stage.scaleIn, stage.scaleOut] as [number, number],
    bound: stage.bound,
    operations: totals(counts),
    estimateMs: estimateMs(counts, parameters.n, costs, gadgets),
  };
  if (stage.kind === 'linear') {
    const { giantSteps, babySteps, paired } = stage.schedule;
    const amounts = giantSteps.reduce((sum, { rows }) => sum + amountsOf(rows, stage.inputs), 0);
    const limbsOut = stage.bias.length > 0 ? stage.limbs - 1 : stage.limbs;
    return {
      ...common,
      limbs: [stage.limbs, limbsOut],
      weightScale: stage.weightScale,
      ciphertexts: [stage.inputs, stage.outputs],
      amounts,
      rotations: {
        pooling: stage.pooling,
        babySteps,
        giantSteps: giantSteps.map(({ rows: _, ...giant }) => giant),
        paired,
      },
    };
  }
  if (stage.kind === 'activation') {
    const { limbs, limbsOut, ciphertexts, steps } = stage;
    return {
      ...common,
      limbs: [limbs, limbsOut],
      ciphertexts: [ciphertexts, ciphertexts],
      steps: steps.map(({ terms, constant: _, ...step }) => ({
        ...step,
        terms: terms.map(({ node, scale }) => ({ node, scale })),
      })),
    };
  }
  const ciphertexts = stage.kind === 'square' ? stage.ciphertexts : 1;
  return {
    ...common,
    ...(stage.kind === 'sum' && { rotations: sumRotations(stage) }),
    limbs: [stage.limbs, stage.limbs - 1],
    ciphertexts: [ciphertexts, ciphertexts],
  };
}

/** The sums over time rotate what they have summed up. */
function sumRotations({ windowSteps, totalSteps }: SumStage): Rotations {
  const giantSteps = [...windowSteps, ...totalSteps].map((step) => ({
    amount: step,
    accumulatorSteps: [step],
    step: 0,
  }));
  return { pooling: [], babySteps: [], giantSteps, paired: false };
}

/** Baby amounts with a non-zero weight in any output or input of one giant step. */
function amountsOf(rows: unknown[][], inputs: number): number {
  const used = new Set<number>();
  for (const row of rows) {
    row.forEach((vector, column) => {
      if (vector) used.add(Math.floor(column / inputs));
    });
  }
  return used.size;
}

function sumTotals(all: Operations[]): Operations {
  const sum = { ...all[0] };
  for (const totals of all.slice(1))
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += totals[name];
  return sum;
}

/** SHA-256 of what a model computes: architecture, weights, polynomials, preprocessing, classes. */
export function fingerprint(model: Model): string {
  const { samples, classes, preprocessing, scoreLimit, blocks, weights } = serialiseModel(model).json;
  const computed = [samples, classes, preprocessing, scoreLimit, blocks, weights];
  return hexDigest(JSON.stringify(computed));
}
