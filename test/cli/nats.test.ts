import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { HAS_NATS, kill, NatsServer, startWorker } from '../service/nats/machines.ts';
import { blindbeat, expectReplies, saveSmallModel, temporaryFolder } from './helpers.ts';

const BIN = resolve(import.meta.dirname, '../../bin/blindbeat.js');
const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const running: ChildProcess[] = [];
afterAll(async () => {
  for (const child of running) await kill(child);
});

/** Starts a front door as a shell does; its address once it listens. */
async function serve(nats: string, port: string): Promise<{ url: string; child: ChildProcess }> {
  const args = [BIN, 'serve', '--nats', nats, '--port', port, '--data-dir', at('door')];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  running.push(child);
  const listening = Promise.withResolvers<string>();
  child.on('exit', (code) => listening.reject(new Error(`it ended with ${code}`)));
  createInterface(child.stdout!).on('line', (line) => {
    const { listening: address } = JSON.parse(line);
    if (address) listening.resolve(address);
  });
  return { url: await listening.promise, child };
}

describe.skipIf(!HAS_NATS)(
  `serve --nats and worker${HAS_NATS ? '' : ' (nats-server is not installed)'}`,
  () => {
    test('when worker, front door and nats-server are killed among many requests, then all get their right reply', async () => {
      const model = at('small');
      await saveSmallModel(model);
      const names = Array.from({ length: 40 }, (_, k) => `r${10 + k}`);
      const [keys, requests, replies] = [at('my.keys'), at('requests'), at('replies')];
      mkdirSync(requests);
      const manifest = at('manifest.json');
      await blindbeat('plan', '--model', model, '--manifest', manifest);
      await blindbeat('keygen', '--manifest', manifest, '--out', keys);
      for (const [k, name] of names.entries())
        await blindbeat(
          ...['encrypt', '--rhythm', 'normal', '--seed', String(k), '--keys', keys],
          ...['--out', join(requests, name)],
        );
      const nats = await NatsServer.start(folder);
      const workers = [await startWorker(nats.url, model), await startWorker(nats.url, model)];
      running.push(...workers.map(({ child }) => child));
      const door = await serve(nats.url, '0');
      const sending = blindbeat(
        ...['infer', requests, '--server', door.url, '--keys', join(keys, 'evaluation.keys')],
        ...['--out', replies, '--concurrency', '2'],
      );
      const answered = (count: number) =>
        vi.waitFor(() => expect(readdirSync(replies).length).toBeGreaterThan(count), {
          timeout: 60_000,
          interval: 5,
        });
      await answered(2);
      await kill(workers[0].child);
      await answered(10);
      await kill(door.child);
      await serve(nats.url, new URL(door.url).port);
      await answered(18);
      await nats.kill();
      await nats.start();
      const { code, stdout } = await sending;
      expect([code, stdout]).toEqual([0, expect.stringContaining('40 replies')]);
      await expectReplies(replies, names, keys, model);
      await nats.kill();
    }, 180_000);

    test('when a front door is told how to evaluate, then it says whose matter that is', async () => {
      const { code, stderr } = await blindbeat('serve', '--nats', 'nats://127.0.0.1:1', '--workers', '2');
      expect([code, stderr]).toEqual([2, expect.stringContaining('blindbeat worker')]);
    });
  },
);
