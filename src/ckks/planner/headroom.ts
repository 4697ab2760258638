import { BlindbeatError } from '../../errors.ts';
import type { Circuit, Stage } from '../circuit/circuit.ts';
import { log2Product } from '../ring/primes.ts';
import { mostScoreLimit } from '../wire/reply-layout.ts';

/**
 * How much room a stage's values have: bits of the largest at its scale before rescaling, and bits of the
 * modulus.
 */
export interface Headroom {
  stage: Stage;
  bits: number;
  room: number;
}

/** The headroom of every stage, where it is least: a value of more bits than room wraps around. */
export function headroom({ parameters, stages }: Circuit): Headroom[] {
  const roomAt = (limbs: number) => log2Product(parameters.primes.slice(0, limbs)) - 1;
  return stages.map((stage) => {
    if (stage.kind !== 'activation')
      return { stage, bits: Math.log2(stage.bound * scaleBefore(stage)), room: roomAt(stage.limbs) };
    const all = stage.steps.flatMap(({ limbs, scale, scaleOut, bounds: [before, after] }): Headroom[] => {
      const out = {
        stage,
        bits: Math.log2(after * scaleOut),
        room: roomAt(scale === null ? limbs : limbs - 1),
      };
      return scale === null ? [out] : [{ stage, bits: Math.log2(before * scale), room: roomAt(limbs) }, out];
    });
    return all.reduce((least, one) => (one.room - one.bits < least.room - least.bits ? one : least));
  });
}

/** The scale of a stage's result before it is rescaled. */
function scaleBefore(stage: Exclude<Stage, { kind: 'activation' }>): number {
  if (stage.kind === 'square') return stage.scaleIn ** 2;
  return stage.kind === 'linear' ? stage.scaleIn * stage.weightScale : stage.scaleIn;
}

/**
 * Every value must fit the modulus that it lives under, at its scale, before and after rescaling.
 *
 * @throws BlindbeatError PLAN naming the stage whose values do not fit, or a score limit without margin
 */
export function requireHeadroom(circuit: Circuit, scoreLimit: number): void {
  const { scoreBound } = circuit;
  const most = mostScoreLimit(scoreBound);
  if (scoreLimit > most) {
    throw new BlindbeatError(
      'PLAN',
      `the model's score limit ${scoreLimit} leaves no margin below the plan's bound ${scoreBound.toFixed(0)}: ` +
        `a model of an earlier version with a larger limit must be exported again, with at most ${Math.floor(most)}`,
    );
  }
  for (const { stage, bits, room } of headroom(circuit)) {
    // A sum's bound is all the room there is: scores beyond it are refused by the client.
    if (bits > room + 1e-6) {
      throw new BlindbeatError(
        'PLAN',
        `${stage.name}: values up to ${stage.bound.toPrecision(3)} need ${bits.toFixed(1)} bits at their scale, ` +
          `but ${stage.limbs} primes hold ${room.toFixed(1)}: train with a tighter range`,
      );
    }
  }
}
