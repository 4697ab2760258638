import type { Model } from '../model/model.ts';
import { ClearBackend } from './evaluator/clear.ts';
import { encodeProgram, run } from './evaluator/program.ts';
import { compile, type PlanOptions } from './planner/compile.ts';
import { type Decrypted, packSegment, readMap, readScores } from './wire/reply.ts';

/**
 * The packed computation without encryption: the same program, rotations and periodic weights, on floats.
 *
 * @throws BlindbeatError PLAN when the model does not fit
 */
export function simulate(model: Model, segment: Float32Array, options: PlanOptions = {}): Decrypted {
  const circuit = compile(model, options);
  const backend = new ClearBackend();
  const input = { real: packSegment(segment, circuit.parameters.n / 2), imaginary: null };
  const { scores, map } = run(backend, encodeProgram(backend, circuit), input);
  const classes = model.classes.length;
  return {
    scores: readScores(scores.real, circuit.reply, classes),
    ...(map && { map: readMap(map.real, circuit.reply, classes) }),
  };
}
