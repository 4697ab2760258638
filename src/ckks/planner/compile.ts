import { BlindbeatError } from '../../errors.ts';
import type { Model } from '../../model/model.ts';
import { buildSchedule } from '../circuit/bsgs.ts';
import type { Circuit } from '../circuit/circuit.ts';
import { foldModel } from '../circuit/fold-activations.ts';
import { BACKENDS, type BackendName, keySwitchingOf } from '../evaluator/backend.ts';
import type { KeySwitching } from '../keyswitch/gadget.ts';
import type { Outputs } from '../wire/manifest.ts';
import { scoreBoundOf } from '../wire/reply-layout.ts';
import { check } from './check.ts';
import { type Costs, FAST_COST } from './cost.ts';
import { requireHeadroom } from './headroom.ts';
import { packLinearLayers } from './linear-layers.ts';
import { INPUT_SCALE_BITS } from './modulus-chain.ts';
import { type Plan, planCircuit } from './plan.ts';
import { chooseRingDegree } from './ring-degree.ts';
import { selectWithinBudget } from './rotations.ts';
import { buildStages, replyLayout, timeSumSteps } from './stages.ts';

/** What a user may choose about a plan. */
export interface CompileOptions {
  /** Default 'scores'. */
  outputs?: Outputs;
  /** Ring degree; default: the smallest that fits. */
  n?: number;
  /**
   * Bytes of evaluation keys on the wire at most; default: 48 MB up to N = 16384 (64 MB of per-prime
   * ones) and 500 MB at N = 32768, or as few as the network allows where that is more.
   */
  keyBudget?: number;
  /**
   * What operations cost, for the selection of rotation keys; default: `FAST_COST`. Another selection is
   * another plan.
   */
  costs?: Costs;
  /** How keys switch; default: the backend's fastest way. The seal backend needs per-prime keys. */
  keySwitching?: KeySwitching;
  /**
   * What is to compute on ciphertexts: our own kernels, or node-seal; the results are the same. Default
   * 'fast'.
   */
  backend?: BackendName;
  /**
   * What operations cost, for the plan's estimates; default: the backend's built-in costs. The plan is the
   * same.
   */
  estimateCosts?: Costs;
}

/**
 * A model made ready: the computation that a server runs (with the weights), and all that is known about it
 * (without).
 */
export interface CompiledModel {
  circuit: Circuit;
  plan: Plan;
}

/**
 * Compiles a model into the packed, levelled computation that a server runs on ciphertexts, and plans it.
 * Takes about a second; needs no key.
 *
 * @throws BlindbeatError PLAN naming the layer that does not fit and what would help; USAGE for a backend
 * that there is not, or hybrid keys for node-seal
 */
export function compile(model: Model, options: CompileOptions = {}): CompiledModel {
  const { outputs = 'scores', backend = 'fast', costs = FAST_COST, keyBudget } = options;
  const keySwitching = options.keySwitching ?? keySwitchingOf(backend);
  requireBackend(backend, keySwitching);
  const network = foldModel(model);
  const { parameters, scaleBits } = chooseRingDegree(model, network, { keySwitching, n: options.n });
  const layers = packLinearLayers(network, model.samples, model.classes.length, parameters);
  const dense = layers.at(-1)!;
  const sumSteps = timeSumSteps(dense, parameters.n / 2);
  const { choices, gadgets } = selectWithinBudget(layers, sumSteps, {
    parameters,
    costs,
    keyBudget,
    keySwitching,
  });
  const schedules = layers.map(({ map }, k) => buildSchedule(map, choices[k]));
  const circuit: Circuit = {
    parameters,
    keySwitching,
    gadgets,
    outputs,
    inputScale: 2 ** INPUT_SCALE_BITS,
    stages: buildStages({ model, network, parameters, scaleBits, layers, schedules, sumSteps, outputs }),
    reply: replyLayout(dense, model.classes.length, parameters.n / 2, outputs),
    scoreBound: scoreBoundOf(parameters.primes),
  };
  requireHeadroom(circuit, model.scoreLimit);
  const plan = planCircuit(model, circuit, backend, options.estimateCosts);
  check(plan);
  return { circuit, plan };
}

function requireBackend(backend: BackendName, keySwitching: KeySwitching): void {
  if (!BACKENDS.includes(backend))
    throw new BlindbeatError('USAGE', `backend "${backend}" is none of ${BACKENDS.join(', ')}`);
  if (backend === 'seal' && keySwitching === 'hybrid') {
    throw new BlindbeatError(
      'USAGE',
      'node-seal has no hybrid keys: use the fast backend, or per-prime keys (--key-switching per-prime)',
    );
  }
}
