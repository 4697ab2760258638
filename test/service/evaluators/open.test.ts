import { fork } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { saveModel } from '../../../src/model/files.ts';
import {
  type EvaluatorEvent,
  type EvaluatorsOptions,
  openEvaluators,
} from '../../../src/service/evaluators/open.ts';
import type { Evaluators } from '../../../src/service/evaluators.ts';
import { temporaryFolder } from '../../cli/helpers.ts';
import { randomModel } from '../../helpers/random-model.ts';
import { Clients } from './clients.ts';

const COMPILE = { keyBudget: 2.2e6 };
const model = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 });
const folder = temporaryFolder();
let clients: Clients;
beforeAll(async () => {
  clients = await Clients.make(model, 4, COMPILE);
});
afterAll(() => clients[Symbol.asyncDispose]());

/** Evaluators in processes, the events of these, and the processes that live. */
interface Watched extends AsyncDisposable {
  evaluators: Evaluators;
  events: EvaluatorEvent[];
  pids: Set<number>;
  /** Every further process is stopped as soon as it is open, so that it never answers. */
  stopNew: boolean;
}

async function open(options: Partial<EvaluatorsOptions> = {}): Promise<Watched> {
  const events: EvaluatorEvent[] = [];
  const pids = new Set<number>();
  const watched = {
    events,
    pids,
    stopNew: false,
    [Symbol.asyncDispose]: () => evaluators[Symbol.asyncDispose](),
  };
  const onEvent = (event: EvaluatorEvent) => {
    events.push(event);
    if (event.type === 'opened') pids.add(event.pid);
    if (event.type === 'opened' && watched.stopNew) process.kill(event.pid, 'SIGSTOP');
    if (event.type === 'ended') pids.delete(event.pid);
  };
  const defaults = { models: [clients.folder], workers: 2, threads: 1, compile: COMPILE, onEvent };
  const evaluators = await openEvaluators({ ...defaults, ...options });
  return Object.assign(watched, { evaluators });
}

/** A process that ended counts for none, whether somebody has asked for its exit code or not. */
const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const status = `/proc/${pid}/status`;
  return !existsSync(status) || !/^State:\s+Z/m.test(readFileSync(status, 'utf8'));
};
const types = ({ events }: Watched) => events.map(({ type }) => type).filter((type) => type !== 'opened');
const until = async (holds: () => boolean) => {
  for (const start = performance.now(); !holds(); await sleep(5))
    if (performance.now() - start > 20_000) throw new Error(`never: ${holds}`);
};
const stopAll = ({ pids }: Watched) => {
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
};

describe('evaluators in processes', () => {
  test('when they are open, then they tell of their models, and nothing is left when they are closed', async () => {
    const watched = await open({ workers: 1 });
    const { evaluators } = watched;
    const [pid] = watched.pids;
    const [[name, { manifest, keyBytes }]] = [...evaluators.models];
    expect([name, manifest.model.name]).toEqual(['random-5', 'random-5']);
    expect(keyBytes).toBeGreaterThan(1e6);
    expect(evaluators.ready).toBe(true);
    const load = { workers: 1, waiting: 0, running: 0, restarts: 0, loadedKeys: 0, waitMs: 0 };
    expect(evaluators.load).toEqual(load);
    const job = clients.job(0);
    const outcome = await evaluators.evaluate(job);
    job.check(outcome);
    expect(outcome.loadKeysMs).toBeGreaterThan(0);
    expect(outcome.evaluateMs).toBeGreaterThan(0);
    expect(outcome.queueMs).toBeLessThan(100);
    expect(outcome.layers.length).toBeGreaterThan(1);
    expect(isRunning(pid)).toBe(true);
    await evaluators[Symbol.asyncDispose]();
    expect(isRunning(pid)).toBe(false);
    expect(evaluators.ready).toBe(false);
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
  });

  test('when requests, keys or models do not fit, then each is refused and the process stays', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators } = watched;
    const job = clients.job(0);
    const refused = (change: object) => evaluators.evaluate({ ...job, ...change });
    await expect(refused({ request: job.request.subarray(1) })).rejects.toMatchObject({ code: 'FORMAT' });
    await expect(refused({ request: clients.job(1).request })).rejects.toMatchObject({ code: 'MISMATCH' });
    await expect(refused({ model: '../x' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('random-5'),
    });
    const nowhere = { keys: '0'.repeat(64), keyFile: join(clients.folder, 'nobody.keys') };
    const lost = { code: 'KEYS_NOT_FOUND', message: expect.not.stringContaining(clients.folder) };
    await expect(refused(nowhere)).rejects.toMatchObject(lost);
    const noKeys = { keys: '1'.repeat(64), keyFile: join(clients.folder, 'weights.bin') };
    await expect(refused(noKeys)).rejects.toMatchObject({ code: 'FORMAT' });
    job.check(await evaluators.evaluate(job));
    expect(types(watched)).toEqual([]);
    expect(evaluators.load).toMatchObject({ loadedKeys: 1, restarts: 0 });
  });

  test('when a file claims to be of a key pair whose keys are loaded, then its own keys are used', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators } = watched;
    const victim = clients.job(0);
    victim.check(await evaluators.evaluate(victim));
    const thief = { ...victim, keys: clients.hashes[1], keyFile: clients.keyFile(1) };
    await expect(evaluators.evaluate(thief)).rejects.toMatchObject({ code: 'MISMATCH' });
    const again = clients.job(0);
    const outcome = await evaluators.evaluate(again);
    again.check(outcome);
    expect(outcome.loadKeysMs).toBe(0);
  });

  test('when processes are killed in the middle of 20 jobs, then all are answered right', async () => {
    await using watched = await open();
    const { evaluators, pids } = watched;
    let answered = 0;
    const kill = async () => {
      stopAll(watched);
      await sleep(50); // what was said before is heard
      await until(() => evaluators.load.running === 2);
      const [victim, other] = pids;
      process.kill(victim, 'SIGKILL');
      await until(() => !pids.has(victim) && pids.size === 2);
      process.kill(other, 'SIGCONT');
    };
    const kills: Promise<void>[] = [];
    const jobs = Array.from({ length: 20 }, async (_, k) => {
      const job = clients.job(k % 3);
      job.check(await evaluators.evaluate(job));
      answered++;
      if ([4, 10, 16].includes(answered)) kills.push(kill());
    });
    await Promise.all(jobs);
    await Promise.all(kills);
    expect(answered).toBe(20);
    expect(evaluators.load.restarts).toBe(3);
    expect(types(watched).filter((type) => type === 'lost')).toHaveLength(3);
    expect(types(watched)).not.toContain('poison');
    await until(() => evaluators.load.workers === 2);
  });

  test('when a request ends its process, then it ends two, and is refused by name; others are answered', async () => {
    await using watched = await open({ poisonMs: 600_000 });
    const { evaluators, pids } = watched;
    stopAll(watched);
    const poison = clients.job(0);
    const sent = [poison, poison, poison].map((job) => evaluators.evaluate(job));
    const outcomes = Promise.allSettled(sent);
    expect(evaluators.load).toMatchObject({ running: 1, waiting: 2 }); // not twice at a time
    const opened = watched.events.filter((event) => event.type === 'opened');
    for (const { pid } of opened.sort((a, b) => a.worker - b.worker)) {
      for (const signal of ['SIGABRT', 'SIGCONT']) process.kill(pid, signal); // the first gets it first
      await until(() => !pids.has(pid));
    }
    const refusal = { code: 'POISON', message: expect.stringContaining(poison.digest.slice(0, 12)) };
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: refusal });
    await expect(evaluators.evaluate(poison)).rejects.toMatchObject(refusal);
    const good = clients.job(0);
    good.check(await evaluators.evaluate(good));
    expect(types(watched).sort()).toEqual(['ended', 'ended', 'lost', 'poison']);
    expect(evaluators.load.restarts).toBe(2);
  });

  test('when a request was refused for long enough, then it is tried again', async () => {
    await using watched = await open({ workers: 1, poisonMs: 1 });
    const { evaluators, pids } = watched;
    stopAll(watched);
    watched.stopNew = true;
    const job = clients.job(0);
    const evaluation = evaluators.evaluate(job);
    for (let k = 0; k < 2; k++) {
      await until(() => pids.size === 1 && evaluators.load.running === 1);
      if (k === 1) watched.stopNew = false;
      const [victim] = pids;
      for (const signal of ['SIGABRT', 'SIGCONT']) process.kill(victim, signal);
      await until(() => !pids.has(victim));
    }
    job.check(await evaluation);
    expect(types(watched).sort()).toEqual(['ended', 'ended', 'lost', 'lost']);
  });

  test('when a process hangs, then it is killed and another one gets its job', async () => {
    await using watched = await open({ workers: 1, deadlineMs: 2000 });
    const { evaluators } = watched;
    stopAll(watched);
    const job = clients.job(0);
    const outcome = await evaluators.evaluate(job);
    job.check(outcome);
    expect(outcome.queueMs).toBeGreaterThan(2000);
    const [ended] = watched.events.filter((event) => event.type === 'ended');
    expect(ended.reason.message).toMatch(/no sign of life for 2 s/);
  });

  test('when as many wait as may, then the next is told so, and room comes again', async () => {
    await using watched = await open({ workers: 1, mostWaiting: 2 });
    const { evaluators } = watched;
    const jobs = [0, 1, 2].map((c) => clients.job(c));
    const outcomes = jobs.map((job) => evaluators.evaluate(job));
    expect(evaluators.load).toMatchObject({ running: 1, waiting: 2 });
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
    for (const [k, job] of jobs.entries()) job.check(await outcomes[k]);
    expect(evaluators.load).toMatchObject({ running: 0, waiting: 0, waitMs: 0 });
    const late = clients.job(0);
    const evaluation = evaluators.evaluate(late);
    expect(evaluators.load.waitMs).toBeGreaterThan(0);
    late.check(await evaluation);
  });

  test('when one client sends many, then another need not wait for all of them', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators } = watched;
    const done: string[] = [];
    const send = async (c: number) => {
      await evaluators.evaluate(clients.job(c));
      done.push(clients.hashes[c]);
    };
    for (const c of [0, 1]) await evaluators.evaluate(clients.job(c)); // both have their keys there
    await Promise.all([0, 0, 0, 0, 0, 1].map(send));
    expect(done.indexOf(clients.hashes[1])).toBeLessThan(3);
  });

  test('when it is drained, then what was accepted is answered and nothing more is accepted', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators } = watched;
    const jobs = [0, 1, 0].map((c) => clients.job(c));
    let answered = 0;
    const outcomes = jobs.map(async (job) => {
      const outcome = await evaluators.evaluate(job);
      answered++;
      return outcome;
    });
    const drained = evaluators.drain();
    expect(evaluators.ready).toBe(false);
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
    await drained;
    expect(answered).toBe(3);
    for (const [k, job] of jobs.entries()) job.check(await outcomes[k]);
    await evaluators.drain();
  });

  test('when it is closed, then what runs and waits is refused as busy', async () => {
    const watched = await open({ workers: 1 });
    const { evaluators } = watched;
    stopAll(watched);
    const outcomes = Promise.allSettled([0, 1].map((c) => evaluators.evaluate(clients.job(c))));
    const drained = evaluators.drain();
    await evaluators[Symbol.asyncDispose]();
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'BUSY' } });
    await drained;
    expect(types(watched)).toEqual([]);
  });

  test('when clients take turns, then each comes where its keys are, and nothing is loaded twice', async () => {
    await using watched = await open();
    const { evaluators } = watched;
    const loads: boolean[] = [];
    for (let k = 0; k < 12; k++) {
      const job = clients.job(k % 4);
      const outcome = await evaluators.evaluate(job);
      job.check(outcome);
      loads.push(outcome.loadKeysMs > 0);
    }
    expect(loads).toEqual([true, true, true, true, ...Array(8).fill(false)]);
    expect(evaluators.load.loadedKeys).toBe(4);
  });

  test('when there is room for the keys of two, then the third takes the place of the first', async () => {
    const probe = await open({ workers: 1 });
    const { keyBytes } = probe.evaluators.models.get('random-5')!;
    await probe[Symbol.asyncDispose]();
    await using watched = await open({ workers: 1, keyMemory: 2 * keyBytes });
    const { evaluators } = watched;
    const loads: boolean[] = [];
    for (const c of [0, 1, 2, 1, 2, 0]) {
      const job = clients.job(c);
      const outcome = await evaluators.evaluate(job);
      job.check(outcome);
      loads.push(outcome.loadKeysMs > 0);
      expect(evaluators.load.loadedKeys).toBeLessThanOrEqual(2);
    }
    expect(loads).toEqual([true, true, true, false, false, true]);
  });

  test('when keys are forgotten, then no process has them', async () => {
    await using watched = await open();
    const { evaluators } = watched;
    const jobs = [0, 0, 1].map((c) => clients.job(c));
    await Promise.all(jobs.slice(0, 2).map((job) => evaluators.evaluate(job)));
    await evaluators.evaluate(jobs[2]);
    expect(evaluators.load.loadedKeys).toBe(3);
    await evaluators.forget(clients.hashes[0]);
    expect(evaluators.load.loadedKeys).toBe(1);
    const job = clients.job(0);
    expect((await evaluators.evaluate(job)).loadKeysMs).toBeGreaterThan(0);
  });

  test('when a process dies before it forgot, then that is forgotten too', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators, pids } = watched;
    await evaluators.evaluate(clients.job(0));
    stopAll(watched);
    const forgotten = evaluators.forget(clients.hashes[0]);
    process.kill([...pids][0], 'SIGKILL');
    await forgotten;
    await until(() => evaluators.ready);
    expect(evaluators.load.loadedKeys).toBe(0);
  });

  test('when a client goes, then its job is dropped, or finished for nobody', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators, pids } = watched;
    stopAll(watched);
    const [gone, patient] = [new AbortController(), new AbortController()];
    const running = evaluators.evaluate({ ...clients.job(0), signal: gone.signal });
    const waiting = evaluators.evaluate({ ...clients.job(1), signal: gone.signal });
    const job = { ...clients.job(2), signal: patient.signal };
    const last = evaluators.evaluate(job);
    const reason = new Error('the line is dead');
    gone.abort(reason);
    await expect(running).rejects.toBe(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(evaluators.evaluate({ ...job, signal: gone.signal })).rejects.toBe(reason);
    expect(evaluators.load).toMatchObject({ running: 1, waiting: 1 });
    process.kill([...pids][0], 'SIGCONT');
    job.check(await last);
    expect(evaluators.load.loadedKeys).toBe(2); // those of the one that ran, and of the last
  });

  test('when a client is gone whose process dies, then nobody gets its job', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators, pids } = watched;
    stopAll(watched);
    const gone = new AbortController();
    const running = evaluators.evaluate({ ...clients.job(0), signal: gone.signal });
    gone.abort(new Error('the line is dead'));
    await expect(running).rejects.toThrow('the line is dead');
    process.kill([...pids][0], 'SIGKILL');
    await until(() => evaluators.load.restarts === 1 && evaluators.ready);
    expect(evaluators.load).toMatchObject({ running: 0, waiting: 0 });
    expect(types(watched)).toEqual(['ended']);
  });

  test('when an interrupt reaches the processes too, then they go on', async () => {
    await using watched = await open({ workers: 1 });
    const { evaluators, pids } = watched;
    const [pid] = pids;
    for (const signal of ['SIGINT', 'SIGTERM']) process.kill(pid, signal);
    const job = clients.job(0);
    job.check(await evaluators.evaluate(job));
    expect(types(watched)).toEqual([]);
  });
});

test('when whoever opened them is killed, then the processes end by themselves', async () => {
  const program = join(folder, 'opener.mjs');
  const module = join(import.meta.dirname, '../../../src/service/evaluators/open.ts');
  await writeFile(
    program,
    `import { openEvaluators } from ${JSON.stringify(module)};
    const onEvent = ({ pid }) => process.send(pid);
    await openEvaluators({ models: [${JSON.stringify(clients.folder)}], workers: 2, threads: 1, onEvent });`,
  );
  const opener = fork(program, { stdio: 'ignore', execArgv: [] });
  const pids: number[] = [];
  opener.on('message', (pid: number) => pids.push(pid));
  await until(() => pids.length === 2);
  expect(pids.every(isRunning)).toBe(true);
  opener.kill('SIGKILL');
  await until(() => !pids.some(isRunning));
});

describe('opening', () => {
  const opening = (options: Partial<EvaluatorsOptions>) =>
    openEvaluators({ models: [clients.folder], ...options });

  test.each([
    ['no model', { models: [] }, 'USAGE', /models: expected at least one/],
    ['half a worker', { workers: 0.5 }, 'USAGE', /workers: expected a whole number/],
    ['no worker', { workers: 0 }, 'USAGE', /workers: expected a whole number/],
    ['no thread', { threads: 0 }, 'USAGE', /thread/],
    ['nobody may wait', { mostWaiting: 0 }, 'USAGE', /mostWaiting: expected a whole number/],
    ['no memory', { keyMemory: 0 }, 'USAGE', /keyMemory: expected a positive number/],
    ['a model that there is not', { models: ['nobody'] }, 'FILE', /no model "nobody"/],
  ])('when there is %s, then it is refused', async (_, options, code, words) => {
    await expect(opening(options)).rejects.toMatchObject({ code, message: expect.stringMatching(words) });
  });

  test('when one model is given twice, then it is refused', async () => {
    const twice = opening({ models: [clients.folder, clients.folder], workers: 1, threads: 1 });
    await expect(twice).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/"random-5"/),
    });
  });

  test('when memory has no room for the keys of one client everywhere, then it is refused with what to do', async () => {
    const small = opening({ workers: 2, threads: 1, keyMemory: 1e6 });
    const message = expect.stringMatching(/keyMemory is 500000: allow more, or take fewer models or workers/);
    await expect(small).rejects.toMatchObject({ code: 'USAGE', message });
  });

  test('when opening is given up, then the processes end', async () => {
    const stop = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => stop.abort(reason), 100);
    await expect(opening({ workers: 2, signal: stop.signal })).rejects.toBe(reason);
    await expect(opening({ signal: stop.signal })).rejects.toBe(reason);
  });

  test('when there are two models, then each evaluates its own requests', async () => {
    await using others = await Clients.make(
      randomModel({ samples: 64, channels: [2], kernel: 3, seed: 6 }),
      1,
    );
    const models = [clients.folder, others.folder];
    await using watched = await open({ models, workers: 1, compile: {} });
    const { evaluators } = watched;
    await using same = await Clients.make(model, 1);
    expect([...evaluators.models.keys()]).toEqual(['random-5', 'random-6']);
    for (const owner of [others, same, others]) {
      const job = owner.job(0);
      job.check(await evaluators.evaluate(job));
    }
    expect(evaluators.load.loadedKeys).toBe(2);
    const mixed = { ...others.job(0), model: 'random-5' };
    await expect(evaluators.evaluate(mixed)).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  test('when the model is gone or another one, then no process opens again, and jobs are refused', async () => {
    const own = join(folder, 'own');
    await saveModel(model, own);
    await using watched = await open({ models: [own], workers: 1 });
    const { evaluators, pids } = watched;
    stopAll(watched);
    const outcome = evaluators.evaluate(clients.job(0));
    const other = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 6 });
    await saveModel({ ...other, name: model.name }, own);
    process.kill([...pids][0], 'SIGKILL');
    const refusal = { code: 'ENVIRONMENT', message: expect.stringContaining('no evaluator can be started') };
    await expect(outcome).rejects.toMatchObject(refusal);
    const failed = watched.events.filter((event) => event.type === 'failed');
    expect(failed).toHaveLength(3);
    expect(failed[0].reason).toMatchObject({ code: 'MISMATCH', message: expect.stringContaining('changed') });
    expect(failed.map(({ retryMs }) => retryMs)).toEqual([500, 1000, 2000]);
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject(refusal);
    expect(evaluators.ready).toBe(false);
    await rm(own, { recursive: true });
    await saveModel(model, own);
    await until(() => evaluators.ready);
    const job = clients.job(0);
    job.check(await evaluators.evaluate(job));
  });
});
