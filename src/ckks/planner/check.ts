import { BlindbeatError } from '../../errors.ts';
import { keyProblems } from '../keyswitch/key-set.ts';
import { parameterProblems } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';
import type { Plan, StagePlan } from './plan.ts';

/**
 * Checks a plan without trusting what made it: security, the walk through levels and scales, room for every value, every
 * rotation, and that the keys are those that the rotations take and no more. Shares no code with the planner but the
 * definitions of a prime and of the security bound.
 *
 * @throws BlindbeatError PLAN that lists all that is wrong
 */
export function check(plan: Plan): void {
  const { manifest, stages } = plan;
  const { parameters, keys, reply } = manifest;
  const problems = parameterProblems(parameters);
  const require = (condition: boolean, problem: string) => {
    if (!condition) problems.push(problem);
  };
  const close = (a: number, b: number) => Math.abs(a / b - 1) < 1e-9;
  const slots = parameters.n / 2;

  require(slots % manifest.samples === 0, `${manifest.samples} samples do not fill ${slots} slots evenly`);
  let limbs = parameters.primes.length;
  let scale = manifest.inputScale;
  let ciphertexts = 1;
  const taken = new Map<number, Set<number>>();
  const relinearised = new Set<number>();
  for (const stage of stages) {
    require(stage.limbs[0] ===
      limbs, `${stage.name}: starts at ${stage.limbs[0]} limbs, but ${limbs} arrive`);
    require(close(
      stage.scale[0],
      scale,
    ), `${stage.name}: starts at scale ${stage.scale[0]}, but ${scale} arrives`);
    require(stage.ciphertexts[0] ===
      ciphertexts, `${stage.name}: takes ${stage.ciphertexts[0]} ciphertexts, but ${ciphertexts} arrive`);
    const fits = (bound: number, at: number, of: number) =>
      require(Math.log2(bound) + Math.log2(at) <=
        log2Product(parameters.primes.slice(0, of)) -
          1 +
          1e-6, `${stage.name}: values up to ${bound} at scale ${at} do not fit ${of} primes`);
    const relinearisedAt = (of: number) => {
      relinearised.add(of);
      require(keys.relinearisation.some(
        (key) => key.limbs >= of,
      ), `${stage.name}: no relinearisation key serves its ${of} limbs`);
    };
    if (stage.kind === 'activation') {
      problems.push(...stepProblems(stage, parameters.primes, fits, relinearisedAt));
    } else {
      const product = stage.kind === 'square' ? scale * scale : scale * (stage.weightScale ?? 1);
      fits(stage.bound, product, limbs);
      const rescaled = stage.limbs[1] === limbs - 1;
      require(rescaled ||
        stage.limbs[1] === limbs, `${stage.name}: goes from ${limbs} to ${stage.limbs[1]} limbs`);
      const expected = rescaled ? product / parameters.primes[limbs - 1] : product;
      require(close(
        stage.scale[1],
        expected,
      ), `${stage.name}: ends at scale ${stage.scale[1]}, but arithmetic gives ${expected}`);
      if (stage.operations.relinearise > 0) relinearisedAt(limbs);
    }
    problems.push(...rotationProblems(stage, taken));
    require(stage.limbs[1] >= 1, `${stage.name}: no prime is left`);
    limbs = stage.limbs[1];
    scale = stage.scale[1];
    ciphertexts = stage.ciphertexts[1];
  }
  require(limbs === 1, `the reply should have one limb and has ${limbs}`);
  require(ciphertexts === 1, `the scores should be one ciphertext and are ${ciphertexts}`);
  require(close(
    scale,
    reply.scale,
  ), `the reply's scale is ${scale}, but the client reads it at ${reply.scale}`);
  require(close(
    manifest.scoreBound,
    parameters.primes[0] / 2 / reply.scale,
  ), 'the score bound is not what the first prime holds');
  require(manifest.scoreLimit <=
    manifest.scoreBound /
      4, `the score limit ${manifest.scoreLimit} leaves no margin below ${manifest.scoreBound}`);
  require(reply.group >=
    manifest.classes.length, 'a group of reply slots is smaller than the number of classes');
  for (const [step, levels] of taken)
    for (const level of levels) {
      // Grouped rotations share a decomposition, so all keys of a level have its own gadget; conjugations are alone.
      const exact = keys.switching === 'grouped' && step !== 0;
      require(keys.galois.some(
        (key) => key.step === step && (exact ? key.limbs === level : key.limbs >= level),
      ), `no rotation key serves the ${level} limbs that are rotated by ${step}`);
    }
  for (const { step, limbs: of } of keys.galois)
    require(taken.get(step)?.has(of) ??
      false, `the key of step ${step} has ${of} limbs, but no such rotation is made`);
  const served = new Set(
    [...relinearised].map((at) =>
      Math.min(...keys.relinearisation.map((key) => key.limbs).filter((of) => of >= at)),
    ),
  );
  for (const { limbs: of } of keys.relinearisation)
    require(served.has(of), `the relinearisation key has ${of} limbs, but none are relinearised by it`);
  require(keys.switching === 'grouped' ||
    keys.relinearisation.every((key) =>
      relinearised.has(key.limbs),
    ), 'the relinearisation key has more limbs than are relinearised');
  const listed = (levels: ReadonlySet<number> | undefined) =>
    [...(levels ?? [])].sort((a, b) => a - b).join();
  require(taken.size === plan.rotated.size &&
    [...taken].every(
      ([step, levels]) => listed(levels) === listed(plan.rotated.get(step)),
    ), 'the rotations that the stages describe are not those that the dry run made');
  problems.push(...keyProblems(manifest));
  if (problems.length > 0) {
    throw new BlindbeatError(
      'PLAN',
      `the plan contradicts itself (a fault of ours):\n  - ${problems.join('\n  - ')}`,
    );
  }
}

/** Follows a polynomial's steps: every node is there, at limbs that can be cut, and what is added has one scale. */
function stepProblems(
  { name, limbs: [limbsIn, limbsOut], scale: [scaleIn, scaleOut], steps = [] }: StagePlan,
  primes: number[],
  fits: (bound: number, scale: number, limbs: number) => void,
  relinearisedAt: (limbs: number) => void,
): string[] {
  const problems: string[] = [];
  const nodes = [{ limbs: limbsIn, scale: scaleIn }];
  steps.forEach(({ limbs, products, terms, scale, scaleOut, added, bounds: [before, after] }, k) => {
    const here = `${name}, step ${k + 1}`;
    const rest = scale === null ? limbs : limbs - 1;
    const expect = (what: string, actual: number, planned: number) => {
      if (!(Math.abs(actual / planned - 1) < 1e-9))
        problems.push(`${here}: ${what} at scale ${actual}, but ${planned} is planned`);
    };
    const take = (node: number, at: number) => {
      const found = nodes[node];
      if (!found || found.limbs < at) problems.push(`${here}: node ${node} is not there at ${at} limbs`);
      return found?.scale ?? Number.NaN;
    };
    for (const { left, right, times } of products)
      expect('a product is', (take(left, limbs) * take(right, limbs)) / times, scale ?? Number.NaN);
    for (const term of terms) expect('a term is', take(term.node, limbs) * term.scale, scale ?? Number.NaN);
    for (const { node, times } of added) expect('a node is added', take(node, rest) / times, scaleOut);
    if (scale !== null) {
      expect('it ends', scale / primes[limbs - 1], scaleOut);
      fits(before, scale, limbs);
    }
    fits(after, scaleOut, rest);
    if (products.length > 0) relinearisedAt(limbs);
    nodes.push({ limbs: rest, scale: scaleOut });
  });
  const last = nodes.at(-1)!;
  if (last.limbs !== limbsOut || last.scale !== scaleOut)
    problems.push(`${name}: its steps end at ${last.limbs} limbs and scale ${last.scale}`);
  return problems;
}

/**
 * Follows a stage's rotations: every one starts from what is there and ends where it says. Notes the limbs that each key step
 * is taken at.
 */
function rotationProblems(stage: StagePlan, taken: Map<number, Set<number>>): string[] {
  const { name, kind, rotations, operations } = stage;
  const problems: string[] = [];
  const [inputs, outputs] = stage.ciphertexts;
  const { pooling, babySteps, giantSteps, paired } = rotations ?? {
    pooling: [],
    babySteps: [],
    giantSteps: [],
    paired: false,
  };
  const accumulators = paired ? Math.ceil(outputs / 2) : outputs;
  let count = 0;
  const take = (step: number, ciphertexts: number) => {
    taken.set(step, (taken.get(step) ?? new Set()).add(stage.limbs[0]));
    count += ciphertexts;
  };
  for (const step of pooling) take(step, inputs);
  const reached = new Set([0]);
  for (const { from, steps } of babySteps) {
    if (!reached.has(from)) problems.push(`${name}: rotations start from ${from}, which is not there`);
    for (const { amount, step } of steps) {
      if (step < 1 || from + step !== amount)
        problems.push(`${name}: ${from} rotated by ${step} is not ${amount}`);
      reached.add(amount);
      take(step, inputs);
    }
  }
  const bases = giantSteps.filter(({ step }) => step === 0);
  giantSteps.forEach(({ amount, accumulatorSteps, step }, k) => {
    if (step === 0) return;
    const base = giantSteps.slice(k).find((giant) => giant.step === 0);
    if (accumulatorSteps.length > 0 || amount - step !== base?.amount)
      problems.push(`${name}: the sum at ${amount} rotated by ${step} is at no base`);
    take(step, accumulators);
  });
  bases.forEach(({ amount, accumulatorSteps: steps }, k) => {
    const distance = kind === 'sum' ? amount : k === 0 ? 0 : bases[k - 1].amount - amount;
    if (steps.some((step) => step < 1) || steps.reduce((sum, step) => sum + step, 0) !== distance)
      problems.push(`${name}: steps ${steps.join(' + ')} do not rotate by ${distance}`);
    for (const step of steps) take(step, accumulators);
  });
  if (paired) take(0, Math.floor(outputs / 2));
  // Sums of nothing but zero weights are not rotated.
  const done = operations.rotate + operations.hoistedRotate + operations.summedRotate;
  if (done > count) problems.push(`${name}: ${done} rotations are counted, but ${count} are described`);
  return problems;
}
