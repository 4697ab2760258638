import { describe, expect, test } from 'vitest';
import { check } from '../../../src/ckks/planner/check.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import type { Plan } from '../../../src/ckks/planner/plan.ts';
import { randomModel, SHIPPED } from '../../helpers/random-model.ts';

const shipped = () => randomModel(SHIPPED);

describe('the independent check', () => {
  const sound = compile(shipped()).plan;
  const broken = (change: (p: Plan) => void): Plan => {
    const copy = structuredClone(sound);
    change(copy);
    return copy;
  };

  test('when a plan is sound, then it passes', () => {
    expect(() => check(sound)).not.toThrow();
  });

  test.each<[string, (p: Plan) => void, RegExp]>([
    [
      'the dry run rotated what no stage describes',
      (p) => {
        p.rotated = new Map([...p.rotated, [77, new Set([2])]]);
      },
      /rotations that the stages describe are not those that the dry run made/,
    ],
    [
      'a scale drifts',
      (p) => {
        p.stages[4].scale[1] *= 1.01;
      },
      /arithmetic gives/,
    ],
    [
      'a level is skipped',
      (p) => {
        p.stages[3].limbs[1] -= 1;
      },
      /goes from/,
    ],
    [
      'a prime is composite',
      (p) => {
        p.manifest.parameters.primes[3] += 32768 * 2;
      },
      /is no prime/,
    ],
    [
      'a prime is used twice',
      (p) => {
        p.manifest.parameters.primes[3] = p.manifest.parameters.primes[5];
      },
      /not distinct/,
    ],
    [
      'security is short',
      (p) => {
        p.manifest.parameters.n = 8192;
      },
      /limit for 128-bit/,
    ],
    [
      'a value does not fit',
      (p) => {
        p.stages[12].bound *= 4;
      },
      /do not fit/,
    ],
    [
      'a relinearisation key is short',
      (p) => {
        p.manifest.keys.relinearisation[0].limbs = 12;
      },
      /no relinearisation key serves its 13 limbs/,
    ],
    [
      'rotation keys are missing',
      (p) => {
        p.manifest.keys.galois = [];
      },
      /no rotation key/,
    ],
    [
      'pooling takes another key',
      (p) => {
        p.stages[4].rotations!.pooling = [5];
      },
      /no rotation key serves the 10 limbs that are rotated by 5/,
    ],
    [
      'pooling is not described',
      (p) => {
        p.stages[4].rotations!.pooling = [];
      },
      /block 3: \d+ rotations are counted, but \d+ are described/,
    ],
    [
      'a rotation starts from nowhere',
      (p) => {
        p.stages[4].rotations!.babySteps[0].from = 50;
      },
      /block 3: rotations start from 50, which is not there/,
    ],
    [
      'a rotation ends elsewhere',
      (p) => {
        p.stages[4].rotations!.babySteps[0].steps[0].amount += 1;
      },
      /block 3: 0 rotated by 1 is not 2/,
    ],
    [
      'giant steps are skipped',
      (p) => {
        const lists = p.stages.flatMap(({ rotations }) => (rotations ? [rotations.giantSteps] : []));
        const giantSteps = lists.find((list) => list.filter(({ step }) => step === 0).length > 2)!;
        giantSteps.splice(
          giantSteps.findIndex(({ accumulatorSteps }) => accumulatorSteps.length > 0),
          1,
        );
      },
      /block \d: steps .* do not rotate by/,
    ],
    [
      'a key that rotates is missing',
      (p) => {
        p.manifest.keys.galois = p.manifest.keys.galois.filter(({ step }) => step !== 0);
      },
      /no rotation key serves the 12 limbs that are rotated by 0/,
    ],
    [
      'a key is not needed',
      (p) => {
        p.manifest.keys.galois.push({ step: 4000, limbs: 1 });
      },
      /the key of step 4000 has 1 limbs, but no such rotation is made/,
    ],
    [
      'a key has more limbs than it needs',
      (p) => {
        p.manifest.keys.galois[0].limbs = 13;
      },
      /the key of step 0 has 13 limbs, but no such rotation is made/,
    ],
    [
      'more rotations are counted than described',
      (p) => {
        p.stages[4].operations.rotate += 1;
      },
      /block 3: \d+ rotations are counted, but \d+ are described/,
    ],
    [
      'the score limit is too wide',
      (p) => {
        p.manifest.scoreLimit = 500;
      },
      /leaves no margin/,
    ],
    [
      'the reply scale is another',
      (p) => {
        p.manifest.reply.scale *= 2;
      },
      /client reads it at/,
    ],
  ])('when %s, then it says so', (_, change, message) => {
    expect(() => check(broken(change))).toThrow(message);
  });
});

describe('the independent check of activations', () => {
  const sound = compile(randomModel({ samples: 64, channels: [4], series: 7 })).plan;
  const stage = (p: Plan) => p.stages[1].steps!;
  test.each<[string, (p: Plan) => void, RegExp]>([
    [
      'a product is of other scale',
      (p) => {
        stage(p)[0].products[0].times += 1;
      },
      /polynomial 1, step 1: a product is at scale/,
    ],
    [
      'a number is encoded at another scale',
      (p) => {
        stage(p).at(-1)!.terms[0].scale *= 2;
      },
      /a term is at scale/,
    ],
    [
      'a node does not exist yet',
      (p) => {
        stage(p)[0].products[0].right = 3;
      },
      /step 1: node 3 is not there/,
    ],
    [
      'a node is needed above its level',
      (p) => {
        stage(p).at(-1)!.limbs += 1;
      },
      /is not there at/,
    ],
    [
      'values do not fit',
      (p) => {
        stage(p).at(-1)!.bounds[0] *= 1e30;
      },
      /do not fit/,
    ],
    [
      'the relinearisation key is short',
      (p) => {
        p.manifest.keys.relinearisation[0].limbs -= 1;
      },
      /no relinearisation key serves/,
    ],
    [
      'the last step is missing',
      (p) => {
        stage(p).pop();
      },
      /its steps end at/,
    ],
  ])('when %s, then it says so', (_, change, message) => {
    const copy = structuredClone(sound);
    change(copy);
    expect(() => check(copy)).toThrow(message);
  });
});
