import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Objm } from '@nats-io/obj';
import { connect, headers, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { saveModel } from '../../../src/model/files.ts';
import type { EngineEvent } from '../../../src/service/nats/engine.ts';
import { NatsEvaluators, type NatsOptions } from '../../../src/service/nats/evaluators.ts';
import {
  BUCKET,
  doorSubject,
  HEADER,
  jobsSubject,
  ownerOf,
  partitionOf,
  STREAM,
  workerSubject,
} from '../../../src/service/nats/protocol.ts';
import { temporaryFolder } from '../../cli/helpers.ts';
import { randomModel } from '../../helpers/random-model.ts';
import { Clients } from '../evaluators/clients.ts';
import { HAS_NATS, kill, NatsServer, startWorker, type WorkerProcess } from './machines.ts';

const model = randomModel({ samples: 64, channels: [2], kernel: 3, seed: 5 });
const folder = temporaryFolder();
const LONG = 60_000;
let clients: Clients;
let nats: NatsServer;
const workers: WorkerProcess[] = [];

/** A worker that is killed with the others after the tests. */
async function start(more: string[] = [], of = clients.folder): Promise<WorkerProcess> {
  const worker = await startWorker(nats.url, of, more);
  workers.push(worker);
  return worker;
}

/** A front door, and what it noted. */
async function open(options: Partial<NatsOptions> = {}) {
  const events: EngineEvent[] = [];
  const evaluators = await NatsEvaluators.open({
    servers: nats.url,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { evaluators, events, [Symbol.asyncDispose]: () => evaluators[Symbol.asyncDispose]() };
}

/** Somebody else at nats-server. */
async function stranger(): Promise<NatsConnection & AsyncDisposable> {
  const connection = await connect({ servers: nats.url, reconnectTimeWait: 100 });
  return Object.assign(connection, { [Symbol.asyncDispose]: () => connection.close() });
}

/** The processes that a worker started, by their number. */
function evaluatorsOf({ lines }: Pick<WorkerProcess, 'lines'>): number[] {
  const opened = lines.filter(({ evaluator }) => evaluator === 'opened');
  return opened.sort((a, b) => Number(a.worker) - Number(b.worker)).map(({ pid }) => pid!);
}

/** Jobs that are to be given to workers, or that some have. */
async function waiting(): Promise<number> {
  await using connection = await stranger();
  const manager = await jetstreamManager(connection);
  const consumers = await manager.consumers.list(STREAM).next();
  return consumers.reduce((sum, { num_pending, num_ack_pending }) => sum + num_pending + num_ack_pending, 0);
}

const until = (holds: () => void | Promise<void>) => vi.waitFor(holds, { timeout: 30_000, interval: 20 });

describe.skipIf(!HAS_NATS)(`machines behind NATS${HAS_NATS ? '' : ' (nats-server is not installed)'}`, () => {
  beforeAll(async () => {
    clients = await Clients.make(model, 2);
    nats = await NatsServer.start(folder);
  });
  afterAll(async () => {
    for (const { child } of workers) await kill(child);
    await nats?.kill();
    await clients?.[Symbol.asyncDispose]();
  });

  test('when a job is given, then a worker answers it, keeps the keys, and forgets them when told', async () => {
    const dataDir = join(folder, 'worker');
    const { child } = await start(['--data-dir', dataDir]);
    await using door = await open();
    const { evaluators } = door;
    expect([...evaluators.models.keys()]).toEqual(['random-5']);
    expect(evaluators.ready).toBe(true);
    const copy = join(dataDir, 'copies', `${clients.hashes[0]}.keys`);
    for (const isLoaded of [false, true]) {
      const job = clients.job(0);
      const outcome = await evaluators.evaluate(job);
      job.check(outcome);
      expect([outcome.loadKeysMs === 0, existsSync(copy)]).toEqual([isLoaded, true]);
    }
    await until(() => expect(evaluators.load).toMatchObject({ workers: 1, loadedKeys: 1, running: 0 }));
    await evaluators.forget(clients.hashes[0]);
    await evaluators.forget(clients.hashes[1]); // which nobody has
    expect(existsSync(copy)).toBe(false);
    await using connection = await stranger();
    const store = await new Objm(connection).open(BUCKET);
    expect((await store.info(clients.hashes[0]))?.deleted ?? true).toBe(true);
    const job = clients.job(0);
    const outcome = await evaluators.evaluate(job); // sends them again
    job.check(outcome);
    expect(outcome.loadKeysMs).toBeGreaterThan(0);
    const nowhere = { ...clients.job(1), keyFile: join(folder, 'nowhere') };
    await expect(evaluators.evaluate(nowhere)).rejects.toMatchObject({ code: 'KEYS_NOT_FOUND' });
    await expect(evaluators.evaluate({ ...job, model: 'x' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    child.kill('SIGTERM');
    await until(() => expect([child.exitCode, child.signalCode]).not.toEqual([null, null]));
    await until(() => expect(evaluators.ready).toBe(false));
  });

  test(
    'when the worker of a client is killed in the middle of 20 jobs, then another answers, all right and none twice',
    async () => {
      const both = [await start(), await start()];
      await using door = await open();
      await using connection = await stranger();
      const asked: string[] = []; // by workers, before they evaluate
      connection.subscribe('blindbeat.door.>', {
        callback: (_, { headers, subject }) => {
          if (!headers?.get(HEADER)) asked.push(subject);
        },
      });
      const { planHash } = door.evaluators.models.get('random-5')!.manifest;
      const ids = both.map(({ id }) => id);
      const owner = ownerOf(ids, planHash, partitionOf(clients.hashes[0]));
      const victim = both.find(({ id }) => id === owner)!;
      const [pid] = evaluatorsOf(victim);
      let answered = 0;
      const die = async () => {
        process.kill(pid, 'SIGSTOP'); // in the middle of a job
        await until(() => expect(door.evaluators.load.running).toBe(1));
        await kill(victim.child);
        process.kill(pid, 'SIGKILL');
      };
      let death: Promise<void> | undefined;
      const jobs = Array.from({ length: 20 }, async () => {
        const job = clients.job(0); // of one client: of one worker
        job.check(await door.evaluators.evaluate(job));
        if (++answered === 5) death = die();
      });
      await Promise.all(jobs);
      await death;
      expect(answered).toBe(20);
      expect(new Set(asked).size).toBe(20);
      expect(asked.length).toBe(21); // one worker died with a job
      await until(async () => expect(await waiting()).toBe(0));
    },
    LONG,
  );

  test(
    'when nats-server is killed and started again in the middle of 20 jobs, then all are answered right',
    async () => {
      const own = join(folder, 'restarted');
      mkdirSync(own);
      const nats = await NatsServer.start(own);
      const { child } = await startWorker(nats.url, clients.folder);
      const door = await open({ servers: nats.url });
      let answered = 0;
      let restarted: Promise<void> | undefined;
      const jobs = Array.from({ length: 20 }, async (_, k) => {
        const job = clients.job(k % 2);
        job.check(await door.evaluators.evaluate(job));
        answered++;
        if (answered === 5) restarted = nats.kill().then(() => nats.start());
      });
      await Promise.all(jobs);
      await restarted;
      expect(door.events.map(({ type }) => type)).toEqual(
        expect.arrayContaining(['disconnected', 'reconnected']),
      );
      const job = clients.job(0);
      job.check(await door.evaluators.evaluate(job));
      await nats.kill();
      await until(() => expect(door.evaluators.ready).toBe(false));
      child.kill('SIGTERM');
      await door[Symbol.asyncDispose]();
      await until(() => expect(child.exitCode).toBe(0));
    },
    LONG,
  );

  test(
    'when a front door goes with jobs that wait, then these are dropped and those of another are answered',
    async () => {
      await start();
      const first = await open();
      const left = Promise.allSettled(
        Array.from({ length: 20 }, () => first.evaluators.evaluate(clients.job(0))),
      );
      await until(async () => expect(await waiting()).toBeGreaterThan(5));
      await first.evaluators[Symbol.asyncDispose]();
      await using second = await open();
      const job = clients.job(0);
      job.check(await second.evaluators.evaluate(job));
      expect((await left).some(({ status }) => status === 'rejected')).toBe(true);
      await until(async () => expect(await waiting()).toBe(0));
    },
    LONG,
  );

  test('when many jobs wait or a client goes, then it is refused, and when it drains all are answered', async () => {
    await start();
    await using door = await open({ mostWaiting: 3 });
    const { evaluators } = door;
    const gone = new AbortController();
    const jobs = [clients.job(0), clients.job(0), { ...clients.job(0), signal: gone.signal }];
    const outcomes = Promise.allSettled(jobs.map((job) => evaluators.evaluate(job)));
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
    gone.abort(new Error('the client went away'));
    await evaluators.drain();
    await expect(evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  });

  test('when the stream has as many jobs as it may, then more are refused', async () => {
    await start();
    await using door = await open();
    for (const { child } of workers) await kill(child);
    await using connection = await stranger();
    await (await jetstreamManager(connection)).streams.update(STREAM, { max_msgs: 1 }); // until a worker comes
    const gone = new AbortController();
    const first = expect(door.evaluators.evaluate({ ...clients.job(0), signal: gone.signal })).rejects;
    await until(async () => expect(await waiting()).toBe(1));
    await expect(door.evaluators.evaluate(clients.job(0))).rejects.toMatchObject({ code: 'BUSY' });
    gone.abort(new Error('the client went away'));
    await first.toThrow('went away');
  });

  test(
    'when a request ends evaluators, or workers, then it is refused by name and others are answered',
    async () => {
      for (const { child } of workers) await kill(child);
      const { child, lines } = await start(['--workers', '2']);
      await using door = await open();
      const { evaluators } = door;
      const pids = evaluatorsOf({ lines });
      expect(pids).toHaveLength(2);
      for (const pid of pids) process.kill(pid, 'SIGSTOP'); // they never answer
      const poison = clients.job(0);
      const refusal = { code: 'POISON', message: expect.stringContaining(poison.digest.slice(0, 12)) };
      const refused = expect(evaluators.evaluate(poison)).rejects.toMatchObject(refusal);
      await until(() => expect(evaluators.load.running).toBe(1));
      const crash = (pid: number) => {
        for (const signal of ['SIGABRT', 'SIGCONT']) process.kill(pid, signal);
      };
      crash(pids[0]); // the first gets it first
      await until(() => expect(lines.some(({ evaluator }) => evaluator === 'lost')).toBe(true));
      crash(pids[1]);
      await refused;
      const good = clients.job(0);
      good.check(await evaluators.evaluate(good));

      await kill(child);
      const unlucky = clients.job(0);
      const refusal2 = { code: 'POISON', message: expect.stringContaining(unlucky.digest.slice(0, 12)) };
      const refused2 = expect(evaluators.evaluate(unlucky)).rejects.toMatchObject(refusal2);
      await using connection = await stranger();
      const { planHash } = evaluators.models.get('random-5')!.manifest;
      const name = `${planHash.slice(0, 32)}-${partitionOf(unlucky.keys)}`;
      const consumer = await jetstream(connection).consumers.get(STREAM, name);
      for (let deaths = 0; deaths < 5; deaths++) {
        const message = await consumer.next({ expires: 20_000 });
        expect(message!.info.deliveryCount).toBe(deaths + 1);
        message!.nak();
      }
      await start();
      await refused2;
      const again = clients.job(0);
      again.check(await evaluators.evaluate(again));
    },
    LONG,
  );

  test(
    'when strangers send what they like, or answers twice, then it is refused or dropped, and jobs are answered',
    async () => {
      const worker = await start();
      await using door = await open();
      const { evaluators, events } = door;
      await using connection = await stranger();
      const answers: Msg[] = [];
      connection.subscribe('blindbeat.door.>', {
        callback: (_, message) => {
          if (message.headers?.get(HEADER)) answers.push(message);
        },
      });
      const job = clients.job(0);
      job.check(await evaluators.evaluate(job));
      await until(() => expect(answers).toHaveLength(1));
      const [{ subject, data, headers: answered }] = answers;
      const again = await connection.request(subject, data, { timeout: 5000, headers: answered });
      expect(again.data).toHaveLength(0); // heard, and dropped
      expect((await connection.request(subject)).string()).toBe('0'); // nobody waits for it
      const { planHash } = evaluators.models.get('random-5')!.manifest;
      const jobs = jetstream(connection);
      const header = (json: string) => {
        const more = headers();
        more.set(HEADER, json);
        return { headers: more };
      };
      const id = 'a'.repeat(32);
      const like = JSON.stringify({ door: id, job: id, keys: job.keys });
      for (const data of ['', 'garbage', job.request])
        for (const json of ['', '{', '[]', '{"door":"../x","job":1,"keys":"*"}', like])
          await jobs.publish(jobsSubject(planHash, partitionOf(job.keys)), data, header(json));
      for (const json of ['', 'null', '{"worker":"x"}', JSON.stringify({ worker: id, models: [planHash] })]) {
        connection.publish(workerSubject(id, 'alive'), json);
        connection.publish(workerSubject('*', 'forget').replace('*', id), json);
        connection.publish(doorSubject(id, id), json, header(json));
      }
      const alive = {
        worker: id,
        models: ['0'.repeat(64)],
        workers: 1,
        running: 0,
        restarts: 0,
        loadedKeys: 0,
      };
      connection.subscribe(workerSubject(id, 'models'), {
        callback: (_, message) =>
          void message.respond('{"models":[{"manifest":{"format":"x"},"keyBytes":5}]}'),
      });
      connection.publish(workerSubject(id, 'alive'), JSON.stringify(alive));
      const next = clients.job(0);
      next.check(await evaluators.evaluate(next));
      await until(async () => expect(await waiting()).toBe(0));
      await until(() =>
        expect(events.filter(({ type }) => type === 'refused').length).toBeGreaterThanOrEqual(5),
      );
      expect([...evaluators.models.keys()]).toEqual(['random-5']);
      expect(worker.child.exitCode).toBe(null);
    },
    LONG,
  );

  test('when the store has other bytes by the name of keys, then they are not taken but replaced', async () => {
    for (const { child } of workers) await kill(child);
    await start();
    await using door = await open();
    await using connection = await stranger();
    const store = await new Objm(connection).open(BUCKET);
    const job = clients.job(1);
    await store.putBlob({ name: job.keys }, new Uint8Array(1000));
    await expect(door.evaluators.evaluate(job)).rejects.toMatchObject({ code: 'KEYS_NOT_FOUND' });
    job.check(await door.evaluators.evaluate(job));
  });

  test('when two workers have different models of one name, then one is taken, and its own worker answers', async () => {
    for (const { child } of workers) await kill(child);
    const other = join(folder, 'other');
    await saveModel(
      { ...randomModel({ samples: 64, channels: [2], kernel: 3, seed: 6 }), name: 'random-5' },
      other,
    );
    await start();
    await using door = await open();
    await start([], other);
    const isMismatch = (event: EngineEvent) =>
      event.type === 'refused' && event.reason.message.includes('two workers');
    await until(() => expect(door.events.some(isMismatch)).toBe(true));
    for (let k = 0; k < 6; k++) {
      const job = clients.job(k % 2);
      job.check(await door.evaluators.evaluate(job));
    }
  });

  test('when nats-server takes too small messages, has no JetStream, no worker or is not there, then it says so', async () => {
    const at = join(folder, 'small');
    mkdirSync(at);
    const config = join(at, 'nats.conf');
    writeFileSync(config, 'max_payload: 20000\n');
    const small = await NatsServer.start(at, ['-c', config]);
    const none = NatsEvaluators.open({ servers: small.url, firstWorkerMs: 10 });
    await expect(none).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: expect.stringContaining('no worker'),
    });
    workers.push(await startWorker(small.url, clients.folder));
    const refusal = { code: 'ENVIRONMENT', message: expect.stringContaining('max_payload') };
    await expect(NatsEvaluators.open({ servers: small.url })).rejects.toMatchObject(refusal);
    await small.kill();
    const nobody = { code: 'ENVIRONMENT', message: expect.stringContaining('nats-server -js') };
    await expect(NatsEvaluators.open({ servers: small.url })).rejects.toMatchObject(nobody);
    await expect(NatsEvaluators.open({ servers: 'http://x' })).rejects.toMatchObject({ code: 'USAGE' });
  });
});
