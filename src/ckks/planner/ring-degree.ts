import { BlindbeatError } from '../../errors.ts';
import type { Model } from '../../model/model.ts';
import type { FoldedModel } from '../circuit/fold-activations.ts';
import type { PolynomialProgram } from '../circuit/polynomial.ts';
import type { KeySwitching } from '../keyswitch/gadget.ts';
import { MAX_LOG_QP, type Parameters } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';
import { groupSize } from '../wire/reply-layout.ts';
import { type Chain, chooseChain, type Depth } from './modulus-chain.ts';

/** CKKS parameters, and log2 of the scales that their primes were chosen for, by block. */
interface ChosenParameters {
  parameters: Parameters;
  scaleBits: Chain['scaleBits'];
}

interface RingOptions {
  keySwitching: KeySwitching;
  n?: number;
}

/**
 * The smallest ring degree whose slots hold the network and whose modulus chain has enough levels at 128-bit
 * security.
 *
 * @param options `n`: the ring degree to take instead
 * @throws BlindbeatError PLAN naming what does not fit and what would help
 */
export function chooseRingDegree(
  model: Model,
  network: FoldedModel,
  { keySwitching, n }: RingOptions,
): ChosenParameters {
  const degrees = Object.keys(MAX_LOG_QP).map(Number);
  if (n !== undefined && !degrees.includes(n)) {
    throw new BlindbeatError('PLAN', `ring degree ${n} is none of ${degrees.join(', ')}`);
  }
  let problem = '';
  for (const degree of n === undefined ? degrees : [n]) {
    const chain = chainAt(degree, model, network, keySwitching);
    if (typeof chain !== 'string') return parametersOf(degree, chain);
    problem = chain;
  }
  throw new BlindbeatError('PLAN', problem);
}

/** What an activation asks of the modulus chain; null stands for a bare square. */
export function depthOf(polynomial: PolynomialProgram | null): Depth {
  if (!polynomial) return { levels: 1, square: true, offset: 0 };
  const { levels, slope, factor } = polynomial;
  return { levels, square: false, offset: slope === 0 ? 0 : Math.log2(Math.abs(factor)) / slope };
}

/** The modulus chain at a ring degree, or why the network does not fit. */
function chainAt(
  degree: number,
  model: Model,
  { convolutions }: FoldedModel,
  keySwitching: KeySwitching,
): Chain | string {
  const slots = degree / 2;
  if (slots < model.samples) {
    return (
      `ring degree ${degree} has ${slots} slots, but the segment has ${model.samples} samples: ` +
      `use n = ${2 * model.samples} or more, or resample to fewer`
    );
  }
  const depths = convolutions.map(({ polynomial }) => depthOf(polynomial));
  const chain = chooseChain(degree, depths, keySwitching);
  if ('bits' in chain) {
    const levels = depths.reduce((sum, depth) => sum + 1 + depth.levels, 1);
    return (
      `block ${deepestBlock(degree, depths, keySwitching)} is too deep: ${depths.length} blocks and a dense layer take ${levels} levels ` +
      `and ${Math.ceil(chain.bits)} bits of primes, but ring degree ${degree} has only ${MAX_LOG_QP[degree]} at 128-bit ` +
      'security: use a larger n, a lower degree or fewer blocks'
    );
  }
  // The dense layer needs a slot per class at each time position of the last block.
  const classes = groupSize(model.classes.length);
  const positions = model.blocks.slice(0, -1).reduce((length, block) => length / block.pool, model.samples);
  if (slots < positions * classes) {
    return (
      `the dense layer needs ${classes} slots at each of ${positions} time positions, but ring degree ${degree} has ` +
      `${slots}: pool more or use a larger n`
    );
  }
  return chain;
}

function parametersOf(n: number, { primes, spare, special, scaleBits }: Chain): ChosenParameters {
  return {
    parameters: {
      n,
      primes,
      ...(spare.length > 0 && { spare }),
      special,
      logQP: log2Product([...primes, ...spare, special]),
      security: 128,
    },
    scaleBits,
  };
}

/** The number of the first block that has no room left at a ring degree. */
function deepestBlock(n: number, depths: Depth[], keySwitching: KeySwitching): number {
  let blocks = 1;
  const fits = (count: number) => !('bits' in chooseChain(n, depths.slice(0, count), keySwitching));
  while (blocks < depths.length && fits(blocks)) blocks++;
  return blocks;
}
