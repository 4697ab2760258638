import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { blindbeat, blindbeatJson, expectReplies, saveSmallModel, temporaryFolder } from './helpers.ts';

const BIN = resolve(import.meta.dirname, '../../bin/blindbeat.js');
const folder = temporaryFolder();
const at = (...path: string[]) => join(folder, ...path);
const model = at('small');
const keys = at('my.keys');
const running: ChildProcess[] = [];

beforeAll(async () => {
  await saveSmallModel(model);
});

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

interface Line {
  listening?: string;
  method?: string;
  pid?: number;
}

/** Starts the service as a shell does; its log lines, and the address once it listens. */
async function serve(port: string): Promise<{ url: string; lines: Line[]; child: ChildProcess }> {
  const args = [BIN, 'serve', '--port', port, '--models', model, '--data-dir', at('data'), '--threads', '1'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  running.push(child);
  const lines: Line[] = [];
  const listening = Promise.withResolvers<string>();
  child.on('exit', (code) => listening.reject(new Error(`it ended with ${code}`)));
  createInterface(child.stdout!).on('line', (line) => {
    lines.push(JSON.parse(line));
    const address = lines.at(-1)!.listening;
    if (address) listening.resolve(address);
  });
  return { url: await listening.promise, lines, child };
}

describe('serve, and its clients', () => {
  test('when an ECG is classified by the service then by one POST, with the class and scores of classify here', async () => {
    const { url, lines } = await serve('0');
    const args = ['classify', '--rhythm', 'af', '--seed', '4'];
    const local = (await blindbeatJson(...args, '--model', model)).json;
    for (const sent of [true, false]) {
      const { code, json } = await blindbeatJson(...args, '--server', url, '--keys', keys);
      expect([code, json.class]).toEqual([0, local.class]);
      expect(json.ms.upKeys !== undefined).toBe(sent);
      for (const [name, score] of Object.entries<number>(local.scores))
        expect(Math.abs(json.scores[name] - score)).toBeLessThan(1e-2);
    }
    await vi.waitFor(() => expect(lines.filter(({ method }) => method === 'POST')).toHaveLength(2));
  });

  test('when the service is killed among many requests and started again then all get their right reply', async () => {
    const requests = at('requests');
    const replies = at('replies');
    mkdirSync(requests);
    const names = Array.from({ length: 20 }, (_, k) => `r${10 + k}`);
    for (const [k, name] of names.entries())
      await blindbeat(
        ...['encrypt', '--rhythm', 'normal', '--seed', String(k), '--keys', keys],
        ...['--out', join(requests, name)],
      );
    const first = await serve('0');
    const sending = blindbeat(
      ...['infer', requests, '--server', first.url, '--keys', join(keys, 'evaluation.keys')],
      ...['--out', replies, '--concurrency', '2'],
    );
    await vi.waitFor(() => expect(readdirSync(replies).length).toBeGreaterThan(2), {
      timeout: 20_000,
      interval: 5,
    });
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const there = readdirSync(replies).length;
    expect(there).toBeLessThan(20);
    await serve(new URL(first.url).port);
    const { code, stdout } = await sending;
    expect([code, stdout]).toEqual([0, expect.stringContaining('20 replies')]);
    await expectReplies(replies, names, keys, model);
  });
});
