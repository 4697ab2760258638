import { BlindbeatError } from '../../errors.ts';
import { keyProblems, switchingOf } from '../keyswitch/key-set.ts';
import { parameterProblems } from '../ring/parameters.ts';
import { log2Product } from '../ring/primes.ts';
import type { Manifest } from '../wire/manifest.ts';
import { mostScoreLimit } from '../wire/reply-layout.ts';
import type { Plan, StagePlan } from './plan.ts';

/** What is wrong with a plan, as it is found. */
type Problems = string[];

/**
 * What the walk through the stages takes of the keys: limbs by rotation step, and limbs of relinearisations.
 */
interface KeyUses {
  rotated: Map<number, Set<number>>;
  relinearised: Set<number>;
}

/**
 * Checks a plan without trusting what made it: security, the walk through levels and scales, room for every
 * value, every rotation, and that the keys are those that the rotations take and no more. Shares no code with
 * the planner but the definitions of a prime and of the security bound.
 *
 * @throws BlindbeatError PLAN that lists all that is wrong
 */
export function check(plan: Plan): void {
  const { manifest, stages } = plan;
  const { parameters } = manifest;
  const problems: Problems = parameterProblems(parameters);
  const slots = parameters.n / 2;
  if (slots % manifest.samples !== 0)
    problems.push(`${manifest.samples} samples do not fill ${slots} slots evenly`);
  const uses = walkStages(stages, manifest, problems);
  checkReply(manifest, problems);
  checkKeys(manifest, uses, problems);
  if (!sameRotations(uses.rotated, plan.rotated))
    problems.push('the rotations that the stages describe are not those that the dry run made');
  problems.push(...keyProblems(manifest));
  if (problems.length === 0) return;
  throw new BlindbeatError(
    'PLAN',
    `the plan contradicts itself (a fault of ours):\n  - ${problems.join('\n  - ')}`,
  );
}

function close(a: number, b: number): boolean {
  return Math.abs(a / b - 1) < 1e-9;
}

/** Follows limbs, scales and ciphertexts from stage to stage, down to the reply. */
function walkStages(stages: StagePlan[], manifest: Manifest, problems: Problems): KeyUses {
  const { parameters, reply } = manifest;
  const uses: KeyUses = { rotated: new Map(), relinearised: new Set() };
  let limbs = parameters.primes.length;
  let scale = manifest.inputScale;
  let ciphertexts = 1;
  for (const stage of stages) {
    const { name } = stage;
    if (stage.limbs[0] !== limbs)
      problems.push(`${name}: starts at ${stage.limbs[0]} limbs, but ${limbs} arrive`);
    if (!close(stage.scale[0], scale))
      problems.push(`${name}: starts at scale ${stage.scale[0]}, but ${scale} arrives`);
    if (stage.ciphertexts[0] !== ciphertexts)
      problems.push(`${name}: takes ${stage.ciphertexts[0]} ciphertexts, but ${ciphertexts} arrive`);
    if (stage.kind === 'activation') followSteps(stage, manifest, uses, problems);
    else followStage(stage, limbs, scale, manifest, uses, problems);
    followRotations(stage, uses, problems);
    if (stage.limbs[1] < 1) problems.push(`${name}: no prime is left`);
    [, limbs] = stage.limbs;
    [, scale] = stage.scale;
    [, ciphertexts] = stage.ciphertexts;
  }
  if (limbs !== 1) problems.push(`the reply should have one limb and has ${limbs}`);
  if (ciphertexts !== 1) problems.push(`the scores should be one ciphertext and are ${ciphertexts}`);
  if (!close(scale, reply.scale))
    problems.push(`the reply's scale is ${scale}, but the client reads it at ${reply.scale}`);
  return uses;
}

/** A stage that multiplies or squares once, or only adds, and then rescales or not. */
function followStage(
  stage: StagePlan,
  limbs: number,
  scale: number,
  manifest: Manifest,
  uses: KeyUses,
  problems: Problems,
): void {
  const { name } = stage;
  const { primes } = manifest.parameters;
  const product = stage.kind === 'square' ? scale * scale : scale * (stage.weightScale ?? 1);
  requireFit(name, stage.bound, product, primes.slice(0, limbs), problems);
  const rescaled = stage.limbs[1] === limbs - 1;
  if (!rescaled && stage.limbs[1] !== limbs)
    problems.push(`${name}: goes from ${limbs} to ${stage.limbs[1]} limbs`);
  const expected = rescaled ? product / primes[limbs - 1] : product;
  if (!close(stage.scale[1], expected))
    problems.push(`${name}: ends at scale ${stage.scale[1]}, but arithmetic gives ${expected}`);
  if (stage.operations.relinearise > 0) relinearise(name, limbs, manifest, uses, problems);
}

/**
 * Follows a polynomial's steps: every node is there, at limbs that can be cut, and what is added has one
 * scale.
 */
function followSteps(stage: StagePlan, manifest: Manifest, uses: KeyUses, problems: Problems): void {
  const { name, limbs: stageLimbs, scale: stageScale, steps = [] } = stage;
  const { primes } = manifest.parameters;
  const nodes = [{ limbs: stageLimbs[0], scale: stageScale[0] }];
  steps.forEach(({ limbs, products, terms, scale, scaleOut, added, bounds: [before, after] }, k) => {
    const here = `${name}, step ${k + 1}`;
    const limbsOut = scale === null ? limbs : limbs - 1;
    const expect = (what: string, actual: number, planned: number) => {
      if (!close(actual, planned))
        problems.push(`${here}: ${what} at scale ${actual}, but ${planned} is planned`);
    };
    const take = (node: number, level: number) => {
      const found = nodes[node];
      if (!found || found.limbs < level)
        problems.push(`${here}: node ${node} is not there at ${level} limbs`);
      return found?.scale ?? Number.NaN;
    };
    for (const { left, right, times } of products)
      expect('a product is', (take(left, limbs) * take(right, limbs)) / times, scale ?? Number.NaN);
    for (const term of terms) expect('a term is', take(term.node, limbs) * term.scale, scale ?? Number.NaN);
    for (const { node, times } of added) expect('a node is added', take(node, limbsOut) / times, scaleOut);
    if (scale !== null) {
      expect('it ends', scale / primes[limbs - 1], scaleOut);
      requireFit(name, before, scale, primes.slice(0, limbs), problems);
    }
    requireFit(name, after, scaleOut, primes.slice(0, limbsOut), problems);
    if (products.length > 0) relinearise(name, limbs, manifest, uses, problems);
    nodes.push({ limbs: limbsOut, scale: scaleOut });
  });
  const last = nodes.at(-1)!;
  if (last.limbs !== stageLimbs[1] || last.scale !== stageScale[1])
    problems.push(`${name}: its steps end at ${last.limbs} limbs and scale ${last.scale}`);
}

function requireFit(name: string, bound: number, scale: number, primes: number[], problems: Problems): void {
  if (!(Math.log2(bound) + Math.log2(scale) <= log2Product(primes) - 1 + 1e-6))
    problems.push(`${name}: values up to ${bound} at scale ${scale} do not fit ${primes.length} primes`);
}

function relinearise(
  name: string,
  limbs: number,
  { keys }: Manifest,
  { relinearised }: KeyUses,
  problems: Problems,
): void {
  relinearised.add(limbs);
  if (!keys.relinearisation.some((key) => key.limbs >= limbs))
    problems.push(`${name}: no relinearisation key serves its ${limbs} limbs`);
}

/**
 * Follows a stage's rotations: every one starts from what is there and ends where it says. Notes the limbs
 * that each key step is taken at.
 */
function followRotations(stage: StagePlan, { rotated }: KeyUses, problems: Problems): void {
  const { name, kind, rotations, operations } = stage;
  const [inputs, outputs] = stage.ciphertexts;
  const { pooling, babySteps, giantSteps, paired } = rotations ?? {
    pooling: [],
    babySteps: [],
    giantSteps: [],
    paired: false,
  };
  const accumulators = paired ? Math.ceil(outputs / 2) : outputs;
  let described = 0;
  const take = (step: number, ciphertexts: number) => {
    rotated.set(step, (rotated.get(step) ?? new Set()).add(stage.limbs[0]));
    described += ciphertexts;
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
  giantSteps.forEach(({ amount, accumulatorSteps, step }, k) => {
    if (step === 0) return;
    const base = giantSteps.slice(k).find((giant) => giant.step === 0);
    if (accumulatorSteps.length > 0 || amount - step !== base?.amount)
      problems.push(`${name}: the sum at ${amount} rotated by ${step} is at no base`);
    take(step, accumulators);
  });
  const bases = giantSteps.filter(({ step }) => step === 0);
  bases.forEach(({ amount, accumulatorSteps }, k) => {
    const distance = kind === 'sum' ? amount : k === 0 ? 0 : bases[k - 1].amount - amount;
    if (accumulatorSteps.some((step) => step < 1) || sum(accumulatorSteps) !== distance)
      problems.push(`${name}: steps ${accumulatorSteps.join(' + ')} do not rotate by ${distance}`);
    for (const step of accumulatorSteps) take(step, accumulators);
  });
  if (paired) take(0, Math.floor(outputs / 2));
  // Sums of nothing but zero weights are not rotated.
  const counted = operations.rotate + operations.hoistedRotate + operations.summedRotate;
  if (counted > described)
    problems.push(`${name}: ${counted} rotations are counted, but ${described} are described`);
}

function checkReply(
  { parameters, reply, scoreBound, scoreLimit, classes }: Manifest,
  problems: Problems,
): void {
  if (!close(scoreBound, parameters.primes[0] / 2 / reply.scale))
    problems.push('the score bound is not what the first prime holds');
  if (!(scoreLimit <= mostScoreLimit(scoreBound)))
    problems.push(`the score limit ${scoreLimit} leaves no margin below ${scoreBound}`);
  if (reply.group < classes.length)
    problems.push('a group of reply slots is smaller than the number of classes');
}

/** Every use has a key that serves it, and every key a use. */
function checkKeys({ keys }: Manifest, { rotated, relinearised }: KeyUses, problems: Problems): void {
  const hybrid = switchingOf(keys) === 'hybrid';
  for (const [step, levels] of rotated)
    for (const level of levels) {
      // Hybrid rotations share a decomposition, so all keys of a level have its own gadget; conjugations are
      // alone.
      const exact = hybrid && step !== 0;
      const serves = (limbs: number) => (exact ? limbs === level : limbs >= level);
      if (!keys.galois.some((key) => key.step === step && serves(key.limbs)))
        problems.push(`no rotation key serves the ${level} limbs that are rotated by ${step}`);
    }
  for (const { step, limbs } of keys.galois)
    if (!rotated.get(step)?.has(limbs))
      problems.push(`the key of step ${step} has ${limbs} limbs, but no such rotation is made`);
  const sizes = keys.relinearisation.map(({ limbs }) => limbs);
  const used = new Set(
    [...relinearised].map((level) => Math.min(...sizes.filter((limbs) => limbs >= level))),
  );
  for (const limbs of sizes) {
    if (!used.has(limbs))
      problems.push(`the relinearisation key has ${limbs} limbs, but none are relinearised by it`);
    if (!hybrid && !relinearised.has(limbs))
      problems.push('the relinearisation key has more limbs than are relinearised');
  }
}

function sameRotations(a: Plan['rotated'], b: Plan['rotated']): boolean {
  const same = (x: ReadonlySet<number>, y: ReadonlySet<number> | undefined) =>
    x.size === y?.size && [...x].every((limbs) => y.has(limbs));
  return a.size === b.size && [...a].every(([step, levels]) => same(levels, b.get(step)));
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
