import { ClearBackend } from './evaluator/clear.ts';
import { encodeProgram, run } from './evaluator/program.ts';
import type { CompiledModel } from './planner/compile.ts';
import { type Decrypted, packSegment, readMap, readScores } from './wire/reply.ts';

/**
 * The packed computation without encryption: the same program, rotations and periodic weights, on floats.
 *
 * @param segment `plan.manifest.samples` numbers as `prepareSegment` makes them
 */
export function simulate({ circuit, plan }: CompiledModel, segment: Float32Array): Decrypted {
  const backend = new ClearBackend();
  const input = { real: packSegment(segment, circuit.parameters.n / 2), imaginary: null };
  const { scores, map } = run(backend, encodeProgram(backend, circuit), input);
  const classes = plan.manifest.classes.length;
  return {
    scores: readScores(scores.real, circuit.reply, classes),
    ...(map && { map: readMap(map.real, circuit.reply, classes) }),
  };
}
